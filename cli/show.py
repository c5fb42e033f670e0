"""`synth show`."""

import unicodedata
from itertools import islice

import click

COLOURS = {"system": "magenta", "user": "cyan", "assistant": "green"}


@click.command()
@click.argument("source", metavar="[INPUT]", default="-")
@click.option("-n", "--rows", type=click.IntRange(1), default=5, show_default=True, help="Rows to show.")
def command(source: str, rows: int) -> None:
    """Show the first rows of a data set, a file or standard input.

    \b
    Examples:
      synth show replay
      synth show replay/rejected -n 20
      synth magpie --model samples/model -n 3 --quiet | synth show
    """  # noqa: D301 (\b is click's)
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    from synth.read import open_rows

    console = Console(highlight=False)
    found = open_rows(source)
    for note in found.notes:
        click.echo(note, err=True)
    records = (record for batch in found.batches() for record in batch.to_pylist())
    for number, record in enumerate(islice(records, rows)):
        if number:
            console.print()
        facts = [f"{name} {_short(value)}" for name, value in record.items() if _is_fact(name, value)]
        console.print(Text(printable(" · ".join(facts)), style="dim"))
        turns = Table.grid(Column(width=9, justify="right"), Column(overflow="fold"), padding=(0, 2, 0, 0))
        for turn in record.get("messages") or []:
            role = turn["role"] or ""
            style = f"bold {COLOURS.get(role, 'yellow')}"
            turns.add_row(Text(printable(role), style), Text(printable(turn["content"] or "")))
        console.print(turns)


def _short(value: object) -> object:
    return f"{value:.4g}" if isinstance(value, float) else value


def _is_fact(name: str, value: object) -> bool:
    """Whether a column is worth a place in the line above a conversation: short, and known."""
    return name != "messages" and value is not None and not isinstance(value, list | dict) and len(str(value)) <= 80


def printable(text: str) -> str:
    """A text that cannot move the cursor or colour the terminal: control characters shown as their escapes."""
    return "".join(
        char if char in "\n\t" or unicodedata.category(char)[0] != "C" else repr(char)[1:-1] for char in text
    )
