"""The retention table: a row per suite, a column per model, and remarks below it.

Its cells serve plain text, the terminal and other displays.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from synth.evaluation.scores import abilities_of, harness_lines, share_of, thought_lines
from synth.evaluation.statistics import POOR, SOUND

MARGIN = 2
"""Models whose intervals are shown, too; with more there is no room for them."""

WHY = 200
"""Characters of a reason that are shown."""

GAP = 3
"""Spaces between columns of the text."""


class Span(NamedTuple):
    """Text and how it stands out: "", "dim", "bold", or a colour, as in "bold green"."""

    text: str
    style: str = ""


Line = tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """The table of some models' scores.

    Attributes:
        header: of each column.
        rows: of cells, one for each column.
        remarks: the lines below the rows.
    """

    header: list[str]
    rows: list[list[Line]]
    remarks: list[Line]

    def __str__(self) -> str:
        """The table as plain text."""
        lines = [self.header, *([_plain(cell) for cell in row] for row in self.rows)]
        widths = [max(map(len, column)) + GAP for column in zip(*lines, strict=True)]
        rows = ["".join(map(str.ljust, line, widths)).rstrip() for line in lines]
        return "\n".join([*rows, *map(_plain, self.remarks)])


def score_table(scores: Mapping[str, Any]) -> ScoreTable:
    """The table of what an evaluation found.

    Args:
        scores: as `synth.evaluation.pipeline.evaluate` gives them.
    """
    models: list[dict[str, Any]] = scores["models"]
    rows = [*_suite_rows(models), *_summary_rows(models)]
    return ScoreTable(["suite", *(model["name"] for model in models)], rows, list(_remarks(scores)))


def _plain(line: Line) -> str:
    return "".join(span.text for span in line)


def _suite_rows(models: Sequence[dict[str, Any]]) -> Iterator[list[Line]]:
    abilities = [abilities_of(model) for model in models]
    for new in (True, False):
        names = [name for name, ability in abilities[0].items() if ability["new"] is new]
        for name in names:
            cells = [_cell(ability[name], len(models) <= MARGIN) for ability in abilities]
            yield [(Span(name + (" (new)" if new else "")),), *cells]
        if not new and len(names) > 1:
            averages = [(Span(_percent(model["old"]), "bold"),) for model in models]
            yield [(Span("old average", "bold"),), *averages]


def _summary_rows(models: Sequence[dict[str, Any]]) -> Iterator[list[Line]]:
    """The summary lines below the suites."""
    if len(models) > 1 and any(model["kept"] is not None for model in models):
        kept = [() if model["kept"] is None else (_kept(model["kept"]),) for model in models]
        yield [(Span("kept of the old", "bold"),), *kept]
    for name, values in thought_lines(models):
        yield _numbers(name, values)
    refused = [share_of(model, "refused") for model in models]
    if any(refused):
        yield _numbers("refusals", [f"{share:.1%}" for share in refused])
    if any(model["divergence"] is not None for model in models):
        values = [model["divergence"] for model in models]
        yield _numbers("KL, nats a token", ["" if value is None else f"{value:z.3f}" for value in values])
    for name in models[0]["perplexity"]:
        yield _numbers(f"perplexity of {name}", [f"{model['perplexity'][name]:.2f}" for model in models])
    for name, metrics in harness_lines(models):
        yield _numbers(name, ["" if value is None else f"{value:.4g}" for value in metrics])


def _numbers(name: str, cells: Sequence[str]) -> list[Line]:
    return [(Span(name),), *((Span(cell),) for cell in cells)]


def _remarks(scores: Mapping[str, Any]) -> Iterator[Line]:
    """Remarks: what could not be judged, alarms, and the chosen model of a sweep."""
    for model in scores["models"]:
        for suite, counts in model["suites"].items():
            if counts["unscorable"]:
                what = f"{model['name']}: {counts['unscorable']:,} answers of {suite} could not be judged"
                why = counts.get("unscorable_reason")
                yield (Span(f"{what}: {why[:WHY]}" if why else what, "dim"),)
        for alarm in model["alarms"]:
            yield (Span(f"! {model['name']}, {alarm}", "yellow"),)
    if picked := scores.get("sweep"):
        why = (
            f"the best of those that keep {picked['keep']:.0%}"
            if picked["enough"]
            else "the one that keeps most: none keeps enough"
        )
        yield (Span(f"take {picked['name']}: {why} ({picked['model']})", "bold"),)


def _cell(suite: Mapping[str, Any], wide: bool) -> Line:
    """An accuracy, its interval, and the items that changed."""
    spans = [Span(_percent(suite["accuracy"]))]
    if wide:
        low, high = suite["interval"]
        spans.append(Span(f"  {low * 100:.0f}–{high * 100:.0f}".ljust(9), "dim"))
    moved = suite.get("transitions")
    if moved and moved["lost"]:
        spans.append(Span(f" ↓{moved['lost']}", "red"))
    if moved and moved["gained"]:
        spans.append(Span(f" ↑{moved['gained']}", "green"))
    return tuple(spans)


def _kept(share: float) -> Span:
    return Span(_percent(share), "bold green" if share >= SOUND else "bold red" if share < POOR else "bold yellow")


def _percent(share: float | None) -> str:
    return ("–" if share is None else f"{share:.1%}").rjust(6)
