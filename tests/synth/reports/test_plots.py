"""Plots: the format asked for, the same bytes each time, odd input, and names that do not overlap."""

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from synth.reports.plot_labels import far, place
from synth.reports.plots import Arm, CurvePoint, draw_curve, draw_skills, draw_tradeoff

CURVE = [CurvePoint(400, 0.7, 0.5), CurvePoint(0, 0.05, 0.62), CurvePoint(200, 0.5, 0.55)]
ARMS = [
    Arm("plain SFT", 0.21, 0.85, 0.03, 0.01, "baseline"),
    Arm("lower rate", 0.38, 0.73, group="baseline"),
    Arm("Magpie 10 %", 0.9, 0.83, 0.01, group="replay"),
    Arm("Magpie 20 %", 0.96, 0.82, new_spread=0.02),
]
SKILLS = {"base": {"GSM8K": 0.52, "Law": 0.06}, "tuned": {"GSM8K": 0.0, "Law": 0.85, "MMLU": 0.3}}
INTERVALS = {"tuned": {"GSM8K": (0.0, 0.04), "Law": (0.8, 0.89)}}

DRAWN: dict[str, Callable[[Path], None]] = {
    "curve": lambda path: draw_curve(CURVE, path, floor=0.56),
    "tradeoff": lambda path: draw_tradeoff(ARMS, path, 0.12),
    "skills": lambda path: draw_skills(SKILLS, path, INTERVALS),
}
LABELS = {
    "curve": {"New task", "Old suites, average", "Floor of the old average", "Step", "Accuracy", "0%", "100%"},
    "tradeoff": {
        "plain SFT",
        "lower rate",
        "Magpie 10 %",
        "Magpie 20 %",
        "baseline",
        "replay",
        "other",
        "before training",
        "0%",
        "100%",
    },
    "skills": {"base", "tuned", "GSM8K", "Law", "MMLU", "Accuracy"},
}


@pytest.fixture(autouse=True)
def no_warning() -> Iterator[None]:
    """What matplotlib warns of (an empty legend, a layout that failed) is a fault of the plot."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def texts(path: Path) -> set[str]:
    """The texts of an SVG file, which must parse."""
    return {node.text or "" for node in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")}


@pytest.mark.parametrize("name", DRAWN)
def test_svg_has_the_labels_as_text(name: str, tmp_path: Path) -> None:
    DRAWN[name](tmp_path / "plot.svg")
    assert texts(tmp_path / "plot.svg") >= LABELS[name]


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_the_same_bytes_each_time(name: str, suffix: str, tmp_path: Path) -> None:
    for copy in "ab":
        DRAWN[name](tmp_path / f"{copy}.{suffix}")
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_png_is_one(tmp_path: Path) -> None:
    draw_curve(CURVE, tmp_path / "plot.PNG")
    assert (tmp_path / "plot.PNG").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_svg_says_neither_when_nor_by_what(tmp_path: Path) -> None:
    draw_curve(CURVE, tmp_path / "plot.svg")
    written = (tmp_path / "plot.svg").read_text(encoding="utf-8")
    assert "<dc:date>" not in written
    assert "Matplotlib" not in written


@pytest.mark.parametrize("name", ["plot.pdf", "plot"])
def test_other_formats_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"neither \.svg nor \.png"):
        draw_curve(CURVE, tmp_path / name)
    assert not (tmp_path / name).exists()


def test_nothing_to_draw(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no point"):
        draw_curve([], tmp_path / "plot.svg")
    with pytest.raises(ValueError, match="no arm"):
        draw_tradeoff([], tmp_path / "plot.svg")
    with pytest.raises(ValueError, match="no suite"):
        draw_skills({"base": {}}, tmp_path / "plot.svg")
    with pytest.raises(ValueError, match="7 models"):
        draw_skills({f"model {index}": {"Law": 0.5} for index in range(7)}, tmp_path / "plot.svg")


@pytest.mark.parametrize(
    ("points", "labels", "missing"),
    [
        ([CurvePoint(0, 0.1, 0.6)], {"New task", "Old suites, average"}, set()),
        ([CurvePoint(0, None, 0.6), CurvePoint(1, None, 0.5)], {"Old suites, average"}, {"New task"}),
        ([CurvePoint(0, None, 0.6), CurvePoint(9, 0.3, None)], {"New task", "Old suites, average"}, set()),
        ([CurvePoint(5, None, None)], {"Step"}, {"New task", "Old suites, average"}),
    ],
)
def test_curve_of_little(points: list[CurvePoint], labels: set[str], missing: set[str], tmp_path: Path) -> None:
    draw_curve(points, tmp_path / "plot.svg")
    found = texts(tmp_path / "plot.svg")
    assert found >= labels
    assert not found & missing


def test_one_arm_needs_no_legend(tmp_path: Path) -> None:
    draw_tradeoff([Arm("only", 1.0, 1.0)], tmp_path / "plot.svg")
    found = texts(tmp_path / "plot.svg")
    assert "only" in found
    assert "other" not in found


def test_an_axis_that_does_not_begin_at_zero_says_so(tmp_path: Path) -> None:
    close = [Arm(f"arm {index}", 0.9 + index / 200, 0.8 + index / 200) for index in range(15)]
    draw_tradeoff(close[:3], tmp_path / "few.svg", 0.5)
    assert {"0%", "100%"} <= texts(tmp_path / "few.svg")
    draw_tradeoff(close, tmp_path / "many.svg")
    assert any(", from 8" in text for text in texts(tmp_path / "many.svg"))


def test_arms_at_the_same_place(tmp_path: Path) -> None:
    draw_tradeoff([Arm(f"arm {index}", 0.5, 0.5) for index in range(30)], tmp_path / "plot.svg")
    assert texts(tmp_path / "plot.svg") >= {f"arm {index}" for index in range(30)}


def test_more_groups_than_colours(tmp_path: Path) -> None:
    draw_tradeoff([Arm(f"arm {i}", i / 20, i / 20, group=f"group {i}") for i in range(15)], tmp_path / "plot.svg")
    assert texts(tmp_path / "plot.svg") >= {f"group {i}" for i in range(15)}


def test_odd_names(tmp_path: Path) -> None:
    odd = "<b> & $x_1$"
    draw_tradeoff([Arm(odd, 0.5, 0.5, group=odd), Arm("a long name " * 8, 0.6, 0.5)], tmp_path / "plot.svg")
    draw_skills({odd: {odd: 0.5}, "m" * 90: {"a long name " * 8: 0.5}, "_base": {}}, tmp_path / "skills.svg")
    assert odd in texts(tmp_path / "plot.svg")
    assert texts(tmp_path / "skills.svg") >= {odd, "_base"}


def test_names_do_not_overlap() -> None:
    draw = np.random.default_rng(0)
    for total in (1, 2, 12, 30):
        points = np.column_stack([draw.normal(350, 60, total), draw.normal(300, 60, total)])
        sizes = np.column_stack([draw.uniform(30, 90, total), np.full(total, 10.0)])
        frame = np.array([0.0, 0.0, 600.0, 460.0])
        centres = place(points, sizes, np.empty((0, 4)), frame)
        low, high = centres - sizes / 2, centres + sizes / 2
        assert (low >= frame[:2]).all()
        assert (high <= frame[2:]).all()
        apart = (low[:, None] >= high[None]) | (high[:, None] <= low[None])
        assert (apart[..., 0] | apart[..., 1] | np.eye(total, dtype=bool)).all()
        hidden = (points > low[:, None]) & (points < high[:, None])
        assert not hidden.all(axis=2).any()


def test_a_name_alone_is_beside_its_point() -> None:
    point, size = np.array([50.0, 50.0]), np.array([20.0, 10.0])
    centre = place(point[None], size[None], np.empty((0, 4)), np.array([0.0, 0.0, 100.0, 100.0]))[0]
    assert centre.tolist() == [64.0, 59.0]
    assert not far(point, centre, size)
    assert far(point, centre + 10, size)


def test_no_global_figures() -> None:
    code = "import sys, synth.reports.plots; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", ["a.svg", "a.png"])
def test_a_plot_takes_the_place_of_what_is_there(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)  # written into, it would be waited for
    draw_curve(CURVE, tmp_path / name)
    assert (tmp_path / name).is_file() and [file.name for file in tmp_path.iterdir()] == [name]
