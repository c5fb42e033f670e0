"""The output of `synth train --dry-run`."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from synth.progress import printable
from synth.training.plan import ReplayPlan, TrainingPlan

TRAINED = "bold green"
MARKS = ("⟦", "⟧")
"""Around text with loss, where there are no colours."""


def print_plan(plan: TrainingPlan) -> None:
    """Print what would be trained on."""
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("source", "rows", "tokens", "with loss", "share"):
        table.add_column(name, justify="left" if name == "source" else "right")
    if plan.replay is not None:
        table.add_column("objective")
    for one in plan.sources:
        numbers = (f"{one.rows:,}", f"{one.tokens:,}", f"{one.trained:,}", f"{one.trained / one.tokens:.1%}")
        objective = () if plan.replay is None else ("replay" if one.replay else "task",)
        table.add_row(printable(one.source) or "all rows", *numbers, *objective)
    console.print(table)
    for reason, count in plan.rejected.items():
        console.print(f"left out: {count:,} rows, {reason}")
    if plan.note:
        console.print(printable(plan.note))
    console.print(
        f"{plan.steps:,} steps of up to {plan.tokens_per_step:,} tokens: {plan.tokens:,} tokens, "
        f"{plan.passes:.2f} passes over the rows"
    )
    if plan.replay is not None:
        console.print(_replay_line(plan.replay))
    marks = ("", "") if console.color_system else MARKS
    console.print(Text("\n").append(f"{marks[0]}trained on{marks[1]}", TRAINED).append(", not trained on:", "dim"))
    for example in plan.examples:
        shown = Text()
        for text, has_loss in example.spans:
            around = marks if has_loss else ("", "")
            shown.append(f"{around[0]}{printable(text)}{around[1]}", TRAINED if has_loss else "dim")
        console.print()
        console.print(Text(printable(example.name), "dim"))
        console.print(shown)


def _replay_line(replay: ReplayPlan) -> str:
    settings = replay.settings
    where = "every token" if settings.every else "the tokens trained on"
    return (
        f"replay, up to {replay.tokens_per_step:,} tokens of it beside them in each: {replay.tokens:,} tokens, "
        f"{replay.passes:.2f} passes over its rows; {settings.loss} on {where}, weight {settings.weight:g}"
    )
