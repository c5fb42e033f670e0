"""Prepares the figures for the template: tiles, the table, charts and counts.

These charts are drawn by the template, and not by matplotlib as the plots of evaluations and trainings are
(`page_plots`), which are files as well: here each bar says what it counts when it is pointed at, and long names wrap.
With matplotlib a page would take 0.6 s more for the import, and 0.09 s and 12 kB for each of up to 48 histograms.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from synth.evaluation.statistics import POOR, SOUND
from synth.reports.figures import BIN_NATS, BINS, DataSet, Figures, figures

WIDTH, HEIGHT = 320.0, 178.0
LEFT, RIGHT, TOP, BOTTOM = 38.0, 8.0, 26.0, 34.0
"""Geometry of a chart, in pixels of its view box."""

MOST_PANELS = 24
MOST_CARDS = 12
MOST_BARS = 20
COLOURS = 8


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table: one method of one data set."""

    name: str
    colour: int
    method: str
    figures: Figures


@dataclass(frozen=True, slots=True)
class Tile:
    """A key figure, and what more there is to say of it."""

    label: str
    value: str
    more: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """One bar of a histogram."""

    x: float
    y: float
    width: float
    height: float
    hard: bool
    title: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One histogram. Ticks are (position, text); `mark` is where the hard tokens begin."""

    name: str
    colour: int
    note: str
    columns: list[Column]
    across: list[tuple[float, str]]
    up: list[tuple[float, str]]
    mark: float | None = None


@dataclass(slots=True)
class Bar:
    """One value with its count; `parts` are (colour, percent of the widest bar, title)."""

    label: str
    count: int
    parts: list[tuple[int, float, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Card:
    """Bars under a heading."""

    name: str
    bars: list[Bar]
    note: str = ""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """Accepted and rejected rows of one run, with their counts by reason, method and verdict."""

    name: str
    colour: int
    accepted: int
    rejected: int
    made: str
    note: str
    cards: list[Card]
    command_line: str = ""


def figure(value: float | None) -> str:
    """A figure at a readable precision: 1.02, 12.4, 1,234, 1.2e+09."""
    if value is None or not math.isfinite(value):
        return "–"
    if abs(value) < 10:
        return f"{value:.2f}"
    if abs(value) < 1000:
        return f"{value:.1f}"
    return f"{value:,.0f}" if abs(value) < 1e6 else f"{value:.1e}"


def percent(value: float | None) -> str:
    """A share as a percentage."""
    return "–" if value is None else f"{value:.1%}"


def points(share: float | None) -> str:
    """A share in points of a hundred."""
    return "–" if share is None else f"{100 * share:.1f}"


def retention_colour(kept: float | None) -> str:
    """The class of a share of the old accuracy that is left; none where it is not known."""
    if kept is None:
        return ""
    return "good" if kept >= SOUND else "bad" if kept < POOR else "fair"


def short(text: str, most: int = 80) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def table(sets: Sequence[DataSet]) -> list[Line]:
    """A line for each method of each data set; an empty data set has one, too."""
    lines = []
    for number, item in enumerate(sets):
        scan = item.accepted
        if scan is None:
            continue
        for code, method in enumerate(scan.methods):
            lines.append(Line(item.name, number % COLOURS, short(method, 40), figures(scan, code)))
        if not scan.methods:
            lines.append(Line(item.name, number % COLOURS, "–", figures(scan)))
    return lines


def tiles(sets: Sequence[DataSet], lines: Sequence[Line]) -> list[Tile]:
    """The key figures: how much there is, and the range of perplexity and hard tokens over the table's lines."""
    rows = sum(line.figures.rows for line in lines)
    rejected = sum(scan.rows for item in sets for _, scan in item.tables if scan.rejected)
    shown = [Tile("Rows", f"{rows:,}", f"in {len(sets)} data sets" if len(sets) > 1 else "")]
    if rejected:
        shown.append(Tile("Rejected", f"{rejected:,}", f"{percent(rejected / (rows + rejected))} of all"))
    tokens = sum(line.figures.tokens for line in lines)
    if tokens:
        scored = sum(line.figures.scored for line in lines)
        shown.append(Tile("Tokens", f"{tokens:,}", f"{scored:,} scored"))
    ranked = sorted(
        (line for line in lines if line.figures.perplexity is not None), key=lambda line: line.figures.perplexity or 0
    )
    if ranked:
        low, high = ranked[0], ranked[-1]
        names = _kind(low, lines), _kind(high, lines)
        one = low is high
        for label, least, most in (
            ("Perplexity", figure(low.figures.perplexity), figure(high.figures.perplexity)),
            ("Hard tokens", percent(low.figures.hard), percent(high.figures.hard)),
        ):
            if one:
                shown.append(Tile(label, least, "of the scored tokens" if label != "Perplexity" else "per token"))
            else:
                shown.append(Tile(label, f"{least} – {most}", f"{names[0]} – {names[1]}"))
    return shown


def _kind(line: Line, lines: Sequence[Line]) -> str:
    """The name of a line: its method if that is unique, else its data set."""
    same = [other for other in lines if other.method == line.method]
    return short(line.method if len(same) == 1 else line.name, 24)


def perplexity_panels(sets: Sequence[DataSet]) -> list[Panel]:
    """Histograms of token perplexity, one a method, on common axes; heights on a square-root scale."""
    histograms = []
    for number, item in enumerate(sets):
        scan = item.accepted
        for code, counts in enumerate(scan.histogram if scan else ()):
            if total := int(counts.sum()):
                histograms.append(
                    (item.name, number % COLOURS, scan.methods[code] if scan else "", counts / total, total)
                )
    histograms = histograms[:MOST_PANELS]
    if not histograms:
        return []
    used = max(int(np.flatnonzero(shares)[-1]) + 1 for *_, shares, _ in histograms)
    bins = min(BINS, max(used, 21))  # 21 bins reach to 100
    top = _above(max(float(shares.max()) for *_, shares, _ in histograms))
    width = (WIDTH - LEFT - RIGHT) / bins
    marks = [value for value in (1, 2.5, 10, 100, 1000) if math.log(value) / BIN_NATS <= bins]
    across = [(_round(LEFT + math.log(value) / BIN_NATS * width), f"{value:,g}") for value in marks]
    if bins == BINS:
        across.append((WIDTH - RIGHT, "more"))
    up = [(_height(share, top, 0.5), f"{share:.0%}") for share in (0, 0.01, 0.05, 0.2, 0.5, 1) if share <= top + 1e-9]
    panels = []
    for name, colour, method, shares, total in histograms:
        columns = []
        for index, share in enumerate(shares[:bins]):
            if share:
                low, high = (math.exp(edge * BIN_NATS) for edge in (index, index + 1))
                reach = f"{low:,.3g} to {high:,.3g}" if index < BINS - 1 else f"above {low:,.3g}"
                y = _height(float(share), top, 0.5)
                title = f"perplexity {reach}: {percent(float(share))} of tokens"
                columns.append(_column(LEFT + index * width, y, width, index >= 4, title))
        hard = percent(float(shares[4:].sum()))
        note = f"{hard} hard of {total:,} tokens"
        panels.append(Panel(_title(name, method), colour, note, columns, across, up, _round(LEFT + 4 * width)))
    return panels


def length_panels(sets: Sequence[DataSet]) -> tuple[str, list[Panel]]:
    """The unit of length (tokens, where all rows have them), and a histogram for each data set on common axes."""
    scans = [(number, item.name, item.accepted) for number, item in enumerate(sets)]
    filled = [(number, name, scan) for number, name, scan in scans if scan is not None and scan.rows][:MOST_PANELS]
    if not filled:
        return "characters", []
    unit = "tokens" if all(scan.columns["tokens"].all() for _, _, scan in filled) else "characters"
    lengths = [scan.columns["tokens" if unit == "tokens" else "chars"].astype(np.int64) for *_, scan in filled]
    step = _step(max(float(np.quantile(values, 0.99)) for values in lengths) / 24)
    most = max(int(np.quantile(values, 0.99)) for values in lengths) // step
    most = min(most, max(int(values.max()) for values in lengths) // step)
    counts = [np.bincount(np.minimum(values // step, most), minlength=most + 1) for values in lengths]
    shares = [one / one.sum() for one in counts]
    top = _above(max(float(one.max()) for one in shares))
    width = (WIDTH - LEFT - RIGHT) / (most + 1)
    every = _step((most + 1) * step / 4)
    across = [(_round(LEFT + value / step * width), f"{value:,}") for value in range(0, (most + 1) * step, every)]
    up = [(_height(share, top, 1), f"{share:.0%}") for share in (0.0, top / 2, top)]
    panels = []
    for (number, name, _), values, one in zip(filled, lengths, shares, strict=True):
        columns = []
        for index, share in enumerate(one):
            if share:
                reach = f"{index * step:,} to {(index + 1) * step - 1:,}" if index < most else f"from {index * step:,}"
                title = f"{reach} {unit}: {percent(float(share))} of rows"
                columns.append(_column(LEFT + index * width, _height(float(share), top, 1), width, False, title))
        note = f"median {int(np.median(values)):,}, longest {int(values.max()):,}"
        panels.append(Panel(short(name, 40), number % COLOURS, note, columns, across, up))
    return unit, panels


def _title(name: str, method: str) -> str:
    return short(name, 40) if name == method else f"{short(name, 30)} · {short(method, 30)}"


def _column(x: float, y: float, width: float, hard: bool, title: str) -> Column:
    gap = min(1.0, width / 5)
    y = min(y, HEIGHT - BOTTOM - 0.8)  # even a single token can be seen
    return Column(_round(x + gap / 2), _round(y), _round(width - gap), _round(HEIGHT - BOTTOM - y), hard, title)


def _height(share: float, top: float, power: float) -> float:
    """Where a share lies in a chart that ends at `top`, from above."""
    return _round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (share / top) ** power)


def _above(share: float) -> float:
    return next(top for top in (0.05, 0.1, 0.2, 0.5, 1.0, math.inf) if share <= top + 1e-9)


def _step(least: float) -> int:
    """The next of 1, 2, 5, 10, 20, …."""
    power: int = 10 ** max(0, math.floor(math.log10(max(least, 1))))
    return next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= least)


def _round(value: float) -> float:
    return round(float(value), 2)


def outcomes(sets: Sequence[DataSet]) -> list[RunSummary]:
    """Accepted and rejected rows of each run, from its record, or from the rejected rows where there is none."""
    runs = []
    for number, item in enumerate(sets):
        record, rejected = item.record, item.rejected
        if record is not None:
            cards = [
                Card(name, _bars(counts, number % COLOURS))
                for name, counts in (
                    ("reasons of rejection", record.reasons),
                    ("accepted by method", record.methods),
                    ("accepted by verdict", record.verdicts),
                )
                if counts
            ]
            made = f"synth {record.command}" + (f", model {short(record.model)}" if record.model else "")
            note = short(record.note, 400) if record.note else ""
            counts = record.accepted, record.rejected
            line = short(record.command_line or "", 2_000)
            runs.append(RunSummary(item.name, number % COLOURS, *counts, made, note, cards, line))
        elif rejected is not None:
            accepted = item.accepted.rows if item.accepted else 0
            cards = [Card("reasons of rejection", _bars(rejected.reasons, number % COLOURS))] if rejected.rows else []
            runs.append(RunSummary(item.name, number % COLOURS, accepted, rejected.rows, "", "", cards))
    return runs


def _bars(counts: dict[str, int], colour: int) -> list[Bar]:
    return _stacked([(colour, "", counts)])[0]


def _stacked(sources: Iterable[tuple[int, str, dict[str, int]]]) -> tuple[list[Bar], int]:
    """The most frequent values, each with the parts that its sources have; and how many more there are."""
    sources = list(sources)
    totals: dict[str, int] = {}
    for _, _, counts in sources:
        for value, count in counts.items():
            totals[value] = totals.get(value, 0) + count
    ranked = sorted(totals, key=lambda value: (-totals[value], value))
    widest = max(totals.values(), default=0) or 1
    bars = []
    for value in ranked[:MOST_BARS]:
        bar = Bar(short(value) or "(empty)", totals[value])
        for colour, name, counts in sources:
            if count := counts.get(value, 0):
                bar.parts.append((colour, _round(100 * count / widest), f"{name} {count:,}".strip()))
        bars.append(bar)
    return bars, len(ranked) - len(bars)


def category_cards(sets: Sequence[DataSet]) -> list[Card]:
    """A card for each string column with few values and more than one, over all data sets."""
    scans = [(number % COLOURS, item.name, item.accepted) for number, item in enumerate(sets) if item.accepted]
    names = dict.fromkeys(name for *_, scan in scans if scan for name in scan.categories)
    cards = []
    for name in names:
        sources = [(colour, title, scan.categories[name]) for colour, title, scan in scans if name in scan.categories]
        known = sum(sum(counts.values()) for *_, counts in sources)
        values = {value for *_, counts in sources for value in counts}
        if len(values) < 2 or len(values) > max(10, known / 2):
            continue
        bars, more = _stacked(sources)
        cards.append(Card(short(name, 60), bars, f"and {more:,} more values" if more else ""))
    return cards[:MOST_CARDS]
