"""Plots of what a model learned and kept, as SVG or PNG files that are byte-identical for the same data.

Every share is 0 to 1 and shown in per cent. Nothing here touches `pyplot`, whose figures are global.
"""

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from synth.data.write import replace_bytes
from synth.reports.plot_labels import Floats, far, place

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P")
"""Colours that people who are colour-blind can tell apart, after Okabe and Ito 2008, and shapes that go with them."""
INK, GREY, FAINT, PALE = "#222222", "#6b6b6b", "#b5b5b5", "#e3e3e3"

STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],  # the first comes with matplotlib; both are as wide
    "font.size": 10,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.axisbelow": True,
    "grid.color": PALE,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "text.parse_math": False,  # a "$" in a name is a "$"
    "xtick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.color": GREY,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "figure.facecolor": "white",  # legible on a dark page, too
    "svg.fonttype": "none",  # text stays text, to be searched and read aloud
    "svg.hashsalt": "synth",
}
PNG_DPI = 200
LONGEST = 26
"""Characters of a name in one line."""
CROWD = 12
"""Points whose names fit in a plot of the usual size, with axes that begin at 0."""
START = "before training"
"""The name of the point that all arms begin at."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One evaluation during a training.

    Attributes:
        step: optimizer steps done.
        new: accuracy on the new task, 0 to 1; None where it was not measured.
        old: mean accuracy on the old suites, 0 to 1; None where it was not measured.
    """

    step: int
    new: float | None
    old: float | None


@dataclass(frozen=True, slots=True)
class Arm:
    """One way of training, on average over its seeds.

    Attributes:
        name: what it is called in the plot.
        kept: share of the old average that is still there, 1 being all of it.
        new: accuracy on the new task, 0 to 1.
        kept_spread: spread of `kept` over the seeds, to either side.
        new_spread: spread of `new` over the seeds, to either side.
        group: arms of the same group look the same.
    """

    name: str
    kept: float
    new: float
    kept_spread: float = 0
    new_spread: float = 0
    group: str = ""


def draw_curve(points: Sequence[CurvePoint], path: Path, floor: float | None = None) -> None:
    """Draw the learning-forgetting curve: the new task and the old average over the steps of a training.

    Args:
        points: the evaluations, in any order.
        path: the file to write, `.svg` or `.png`.
        floor: the old average (0 to 1) below which the training forgets too much.

    Raises:
        ValueError: there is no point, or `path` has another suffix.
    """
    if not points:
        raise ValueError("no point to draw")
    ordered = sorted(points, key=lambda point: point.step)
    with rc_context(STYLE):
        figure, axes = _figure(6.4, 4.0)
        new = [(point.step, point.new) for point in ordered if point.new is not None]
        old = [(point.step, point.old) for point in ordered if point.old is not None]
        for values, name, colour, marker in (
            (new, "New task", PALETTE[0], MARKERS[0]),
            (old, "Old suites, average", PALETTE[1], MARKERS[1]),
        ):
            if values:
                axes.plot(*zip(*values, strict=True), color=colour, marker=marker, markersize=4.5, lw=1.8, label=name)
        if floor is not None:
            axes.axhline(
                floor, color=GREY, linestyle=(0, (5, 4)), linewidth=1.2, zorder=1, label="Floor of the old average"
            )
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("Step")
        axes.set_ylabel("Accuracy")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(axis="y")
        _legend(figure, *axes.get_legend_handles_labels())
        _save(figure, path)


def draw_tradeoff(arms: Sequence[Arm], path: Path, before: float | None = None) -> None:
    """Plot, for several ways of training, the share of old skills kept against the accuracy on the new one.

    Both axes go from 0 to 100 %. Where so many arms have to be told apart that an axis begins elsewhere, it says so.

    Args:
        arms: up to about 30 can be told apart.
        path: the file to write, `.svg` or `.png`.
        before: accuracy on the new task before any training, 0 to 1, where all of the old is kept.

    Raises:
        ValueError: there is no arm, or `path` has another suffix.
    """
    if not arms:
        raise ValueError("no arm to draw")
    groups = list(dict.fromkeys(arm.group for arm in arms))
    look = {  # every colour with its own shape, then every colour with the next shape
        group: (PALETTE[index % len(PALETTE)], MARKERS[(index + index // len(PALETTE)) % len(MARKERS)])
        for index, group in enumerate(groups)
    }
    with rc_context(STYLE):
        figure, axes = _figure(7.2, 5.2) if len(arms) <= CROWD else _figure(9.0, 7.2)
        for arm in arms:
            colour, marker = look[arm.group]
            axes.errorbar(
                arm.kept,
                arm.new,
                xerr=arm.kept_spread or None,
                yerr=arm.new_spread or None,
                color=colour,
                ecolor=(colour, 0.5),
                marker=marker,
                markersize=6.5,
                markeredgecolor="white",
                markeredgewidth=0.6,
                elinewidth=1,
                zorder=3,
            )
        if before is not None:
            for line, place_of in ((axes.axhline, before), (axes.axvline, 1.0)):
                line(place_of, color=FAINT, linestyle=(0, (5, 4)), linewidth=1.2, zorder=1)
            axes.plot(1, before, color="white", markeredgecolor=INK, marker="*", markersize=15, zorder=3)
            arms = [*arms, Arm(START, 1, before)]
        crowded = len(arms) > CROWD
        left, right = _limits([arm.kept for arm in arms], [arm.kept_spread for arm in arms], crowded)
        low, high = _limits([arm.new for arm in arms], [arm.new_spread for arm in arms], crowded)
        axes.set_xlim(left, right)
        axes.set_ylim(low, min(high, 1.02))
        axes.set_xlabel("Old skills kept, share of the average before" + _begins(left) + " (further right is better) →")
        axes.set_ylabel("New skill, accuracy" + _begins(low) + " (higher is better) →")
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.grid()
        if any(groups):
            handles = [Line2D([], [], color=colour, marker=marker, linestyle="") for colour, marker in look.values()]
            _legend(figure, handles, [group or "other" for group in groups])
        _name_arms(figure, axes, arms)
        _save(figure, path)


def draw_skills(
    models: Mapping[str, Mapping[str, float]],
    path: Path,
    intervals: Mapping[str, Mapping[str, tuple[float, float]]] | None = None,
) -> None:
    """Draw the accuracies of some models on some suites as bars, a group of them for each suite.

    The bars lie, so that long names of suites can be read.

    Args:
        models: for each model its accuracies (0 to 1) by suite; a suite that is missing has no bar.
        path: the file to write, `.svg` or `.png`.
        intervals: for each model the lower and the upper bound of its accuracies, by suite, where they are known.

    Raises:
        ValueError: there is nothing to draw, there are more models than colours, or `path` has another suffix.
    """
    suites = list(dict.fromkeys(suite for scores in models.values() for suite in scores))
    if not suites:
        raise ValueError("no suite to draw")
    if len(models) > len(PALETTE):
        raise ValueError(f"{len(models)} models, of which {len(PALETTE)} can be told apart")
    thick = 0.8 / len(models)
    with rc_context(STYLE):
        names = [_wrapped(suite) for suite in suites]
        lines = max(name.count("\n") + 1 for name in names)
        figure, axes = _figure(6.4, 1.2 + len(suites) * max(0.2 + 0.15 * len(models), 0.18 * lines))
        handles = []
        for index, (name, scores) in enumerate(models.items()):
            known = [at for at, suite in enumerate(suites) if suite in scores]
            heights = [at + (index - (len(models) - 1) / 2) * thick for at in known]
            values = [scores[suites[at]] for at in known]
            colour = PALETTE[index]
            # With an edge, and before the axis, a bar of 0 can be told from none.
            handles.append(
                axes.barh(heights, values, 0.88 * thick, color=colour, edgecolor=colour, linewidth=1.2, zorder=3)
            )
            bounds = (intervals or {}).get(name, {})
            for height, suite in zip(heights, (suites[at] for at in known), strict=True):
                if suite in bounds:
                    for width, shade in ((2.6, "white"), (1.2, INK)):  # light around dark shows on any bar
                        axes.plot(bounds[suite], [height] * 2, color=shade, linewidth=width, zorder=4)
        axes.set_ylim(len(suites) - 0.5, -0.5)
        axes.set_yticks(range(len(suites)), names)
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(0, 1)
        axes.set_xlabel("Accuracy")
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(axis="x")
        _legend(figure, handles, list(models))
        _save(figure, path)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure, in inches, with one pair of axes that fill it."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _wrapped(name: str) -> str:
    """A name in as many lines as it needs."""
    return textwrap.fill(name, LONGEST, break_on_hyphens=False)


def _legend(figure: Figure, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Put the legend above the axes, where it hides nothing, in as many columns as fit."""
    names = [_wrapped(label) for label in labels]
    for columns in range(len(names), 0, -1):
        legend = figure.legend(
            handles, names, loc="outside upper left", ncols=columns, handlelength=1.8, columnspacing=1.5
        )
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            break
        legend.remove()


def _limits(values: Sequence[float], spreads: Sequence[float], crowded: bool) -> tuple[float, float]:
    """Ends of an axis of shares: from 0 to 1 and beyond if need be; of a crowd, what there is with room for names."""
    low = min(value - spread for value, spread in zip(values, spreads, strict=True))
    high = max(value + spread for value, spread in zip(values, spreads, strict=True))
    if not crowded:
        return min(-0.02, low - 0.02), max(1.05, high + 0.05)
    room = max(0.12 * (high - low), (0.1 - (high - low)) / 2, 0.02)
    return max(-0.02, low - room), high + room


def _begins(low: float) -> str:
    """The part of an axis label that says where an axis begins, if not at 0."""
    return f", from {low:.0%} on" if low > 0 else ""


def _name_arms(figure: Figure, axes: Axes, arms: Sequence[Arm]) -> None:
    """Write the arms' names beside their points, or near them with a line to the point."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # names must not move the axes that they were placed in
    scale = 72 / figure.dpi
    texts = [axes.annotate(_wrapped(arm.name), (arm.kept, arm.new), fontsize=8.5) for arm in arms]
    sizes = np.array([(box.width * scale, box.height * scale) for box in (text.get_window_extent() for text in texts)])
    for text in texts:
        text.remove()
    points = _to_points(axes, [(arm.kept, arm.new) for arm in arms])
    bars = []
    for x, y in ((1, 0), (0, 1)):
        low = _to_points(axes, [(arm.kept - x * arm.kept_spread, arm.new - y * arm.new_spread) for arm in arms])
        high = _to_points(axes, [(arm.kept + x * arm.kept_spread, arm.new + y * arm.new_spread) for arm in arms])
        bars.append(np.concatenate([low - 1, high + 1], axis=1))
    frame = np.array(axes.get_window_extent().extents) * scale
    centres = place(points, sizes, np.concatenate(bars), frame)
    for arm, point, centre, size in zip(arms, points, centres, sizes, strict=True):
        axes.annotate(
            _wrapped(arm.name),
            (arm.kept, arm.new),
            xytext=tuple(centre - point),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8.5,
            zorder=4,
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3}
            if far(point, centre, size)
            else None,
        )


def _to_points(axes: Axes, shares: Sequence[tuple[float, float]]) -> Floats:
    """Where data lie on the page, in typographic points, (n, 2)."""
    points: Floats = axes.transData.transform(np.array(shares)) * (72 / axes.figure.dpi)
    return points


def _save(figure: Figure, path: Path) -> None:
    """Write a figure in the format that the path's suffix says, without the date and the program."""
    drawn = io.BytesIO()
    match path.suffix.lower():
        case ".svg":
            figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
        case ".png":
            figure.savefig(drawn, format="png", dpi=PNG_DPI, metadata={"Software": None})
        case suffix:
            raise ValueError(f"{path}: {suffix or 'no suffix'} is neither .svg nor .png")
    replace_bytes(path, drawn.getvalue())
