"""The output of `synth train --dry-run`."""

from collections.abc import Mapping
from dataclasses import fields

from rich.console import Console
from rich.table import Table
from rich.text import Text

from synth.errors import with_options
from synth.progress import printable
from synth.training.fit import Fit, gib
from synth.training.plan import ReplayPlan, TrainingPlan

TRAINED = "bold green"
MARKS = ("⟦", "⟧")
"""Around text with loss, where there are no colours."""


def print_plan(plan: TrainingPlan, options: Mapping[str, str]) -> None:
    """Print what would be trained on; settings are written as in `options`, see `synth.errors.with_options`."""
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
    _print_memory(console, plan.memory, options)
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


def _print_memory(console: Console, memory: Fit, options: Mapping[str, str]) -> None:
    """Print what a training takes of each device's memory, whether it fits, and what would make it fit."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for part in fields(memory.taken):
        if bytes_of_it := getattr(memory.taken, part.name):
            table.add_row(part.name, gib(bytes_of_it))
    table.add_row("memory, together", gib(memory.taken.total))
    console.print()
    console.print(table)
    fits = "fits" if memory.fits else "does not fit"
    console.print(f"{fits}: {memory.device} has {gib(memory.there)}")
    if memory.advice:
        console.print(with_options(memory.advice, options), soft_wrap=True)
