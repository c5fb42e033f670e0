"""The retention table: a row a suite, a column a model."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.show import printable
from synth.evaluation.scores import harness_lines, share_of
from synth.evaluation.statistics import POOR, SOUND

MARGIN = 2
"""Models whose intervals are shown, too; with more there is no room for them."""

WHY = 200
"""Characters of a reason that are shown."""

Model = dict[str, Any]


def score_table(scores: dict[str, Any]) -> None:
    """Print what `synth.evaluation.scores.as_json` tells, on standard output."""
    console = Console(highlight=False, soft_wrap=True)
    models: list[Model] = scores["models"]
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    table.add_column("suite")
    for model in models:
        table.add_column(printable(model["name"]), justify="left")
    suites: dict[str, Any] = models[0]["suites"]
    for new in (True, False):
        names = [name for name, suite in suites.items() if suite["new"] is new]
        for name in names:
            cells = [_cell(model["suites"][name], len(models) <= MARGIN) for model in models]
            table.add_row(Text(printable(name) + (" (new)" if new else "")), *cells)
        if not new and len(names) > 1:
            table.add_row("old average", *(_percent(model["old"]) for model in models), style="bold")
    _summary(table, models)
    console.print(table)
    for model in models:
        for suite, found in model["suites"].items():
            if found["unscorable"]:
                what = f"{model['name']}: {found['unscorable']:,} answers of {suite} could not be judged"
                why = found.get("unscorable_reason")
                console.print(Text(printable(f"{what}: {why[:WHY]}" if why else what), "dim"))
        for alarm in model["alarms"]:
            console.print(Text(f"! {model['name']}, {alarm}", "yellow"))
    if picked := scores.get("sweep"):
        why = (
            f"the best of those that keep {picked['keep']:.0%}"
            if picked["enough"]
            else "what keeps most: none is enough"
        )
        console.print(f"take {picked['name']}: {why} ({picked['model']})", style="bold")


def _summary(table: Table, models: list[Model]) -> None:
    """What all suites come to, in the lines below them."""
    if len(models) > 1 and any(model["kept"] is not None for model in models):
        kept = [Text("") if model["kept"] is None else _kept(model["kept"]) for model in models]
        table.add_row(Text("kept of the old", "bold"), *kept)
    refused = [share_of(model, "refused") for model in models]
    if any(refused):
        table.add_row("refusals", *(f"{share:.1%}" for share in refused))
    if any(model["divergence"] is not None for model in models):
        table.add_row(
            "KL, nats a token",
            *("" if model["divergence"] is None else f"{model['divergence']:.3f}" for model in models),
        )
    for name in models[0]["perplexity"]:
        table.add_row(f"perplexity of {printable(name)}", *(f"{model['perplexity'][name]:.2f}" for model in models))
    for name, values in harness_lines(models):
        table.add_row(name, *("" if value is None else f"{value:.4g}" for value in values))


def _cell(suite: dict[str, Any], wide: bool) -> Text:
    """An accuracy, its interval, and the items that changed."""
    text = Text(_percent(suite["accuracy"]).rjust(6))
    if wide:
        low, high = suite["interval"]
        text.append(f"  {low * 100:.0f}–{high * 100:.0f}".ljust(9), "dim")
    moved = suite.get("transitions")
    if moved and moved["lost"]:
        text.append(f" ↓{moved['lost']}", "red")
    if moved and moved["gained"]:
        text.append(f" ↑{moved['gained']}", "green")
    return text


def _kept(share: float) -> Text:
    return Text(
        _percent(share).rjust(6), "bold green" if share >= SOUND else "bold red" if share < POOR else "bold yellow"
    )


def _percent(share: float | None) -> str:
    return ("–" if share is None else f"{share:.1%}").rjust(6)
