"""Plots for the pages of `synth report`, in the page's own light and dark colours."""

import math
import re
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, ScalarFormatter, StrMethodFormatter

from synth.reports.evaluation_plots import draw_scores
from synth.reports.plot_labels import Floats
from synth.reports.plots import GREY, INK, PALE, PALETTE, STYLE, CurvePoint, draw_curve

COLOURS = {INK: "--ink", GREY: "--soft", PALE: "--line", "#ffffff": "--back"} | {
    colour: f"--c{number}" for number, colour in enumerate(PALETTE)
}
"""The page's variables in place of the plots' colours."""
Value = tuple[int, float]
"""A step, and what was logged there."""

MOST_POINTS = 1_000
SMOOTH = 25
"""A smoothed loss is the mean over one SMOOTH-th of the steps."""


def score_plots(scores: dict[str, Any]) -> list[str]:
    """The plots of an evaluation, as SVG elements."""
    return _drawn(lambda folder: draw_scores(scores, folder))


def curve_plot(points: Sequence[CurvePoint], floor: float | None) -> list[str]:
    """The learning-forgetting curve as an SVG element; none where nothing was measured.

    Args:
        points: the evaluations.
        floor: the old average (0 to 1) below which the training forgets too much.
    """
    if not points:
        return []

    def draw(folder: Path) -> list[Path]:
        draw_curve(points, folder / "curve.svg", floor)
        return [folder / "curve.svg"]

    return _drawn(draw)


def loss_plot(
    losses: Sequence[Value], others: Mapping[str, Sequence[Value]] | None = None, *, unit: str = "nats a token"
) -> list[str]:
    """The loss over the steps as an SVG element, each value and smoothed; none where there is no loss.

    Args:
        losses: (step, loss), in order.
        others: what else was logged, by the name of its axis; each has a lower panel of its own.
        unit: of the loss.
    """
    first = f"Loss, {unit}" if unit else "Loss"
    drawn = {name: _finite(values) for name, values in {first: losses, **(others or {})}.items()}
    panels = {name: values for name, values in drawn.items() if values}
    if not drawn[first]:
        return []
    heights = [3.0, *[1.0] * (len(panels) - 1)]
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.0 + 1.3 * (len(panels) - 1)), layout="constrained")
        columns = figure.subplots(len(panels), sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        for axes, (name, values) in zip(columns, panels.items(), strict=True):
            _draw_values(axes, values, smooth=axes is columns[0] or "rate" not in name)
            axes.set_ylabel(name, fontsize=None if axes is columns[0] else 8.5)
        columns[-1].set_xlabel("Step")
        columns[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        columns[-1].xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        figure.align_ylabels()
        image = StringIO()
        figure.savefig(image, format="svg", metadata={"Date": None, "Creator": None})
    return [_themed(image.getvalue())]


def _finite(values: Sequence[Value]) -> list[Value]:
    return [(step, value) for step, value in values if math.isfinite(value)]


def _draw_values(axes: Axes, values: Sequence[Value], *, smooth: bool) -> None:
    """Values over steps, zero included; many of them as means, and, where they jump, smoothed as well."""
    parts = np.array_split(np.array(values), min(len(values), MOST_POINTS))
    steps, means = np.array([part.mean(axis=0) for part in parts]).T
    if smooth:
        axes.plot(steps, means, color=GREY, linewidth=0.8, alpha=0.6)
    axes.plot(steps, _smooth(means) if smooth else means, color=PALETTE[0], linewidth=1.8)
    axes.set_ylim(None if means.min() < 0 else 0, None if means.any() else 1)
    axes.yaxis.set_major_formatter(EngFormatter(sep="") if means.max() >= 1_000 else ScalarFormatter())
    axes.grid(axis="y")


def _smooth(values: Floats) -> Floats:
    """Means over a window around each value, which is cut at the ends."""
    half = len(values) // SMOOTH // 2
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    first, last = np.maximum(places - half, 0), np.minimum(places + half + 1, len(values))
    smoothed: Floats = (sums[last] - sums[first]) / (last - first)
    return smoothed


def _drawn(draw: Callable[[Path], list[Path]]) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="synth-report-") as folder, warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "Glyph"
        )  # text stays text: the reader's fonts may have glyphs that ours lacks
        return [_themed(path.read_text(encoding="utf-8")) for path in draw(Path(folder))]


def _themed(image: str) -> str:
    """An SVG file of matplotlib's as an element of the page: its colours are the page's, its size is what there is."""
    element = image[image.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", element, flags=re.DOTALL)
    element = re.sub(r' id="[\w.]+_\d+"', "", element)  # of several plots they would be the same; none is referred to
    element = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r'<svg class="plot" \1>', element, count=1)
    return re.sub(r'style="[^"]*"', lambda style: re.sub(r"#[0-9a-f]{6}", _themed_colour, style[0]), element)


def _themed_colour(colour: re.Match[str]) -> str:
    return f"var({COLOURS[colour[0]]})" if colour[0] in COLOURS else colour[0]
