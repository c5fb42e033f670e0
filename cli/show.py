"""`synth show`."""

import unicodedata
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from cli.options import TRUST

if TYPE_CHECKING:
    from rich.text import Text

    from synth.token_cells import Cell

COLOURS = {"system": "magenta", "user": "cyan", "assistant": "green"}
HEAT = ((1.5, ""), (2.5, "on #5c4a00"), (10.0, "on #8a4500"), (100.0, "on #a02000"), (float("inf"), "bold on #c00000"))
"""Perplexities up to which a token has a background, for white letters."""


@click.command()
@click.argument("source", metavar="[INPUT]", default="-")
@click.option("-n", "--rows", type=click.IntRange(1), default=5, show_default=True, help="Rows to show.")
@click.option("--model", metavar="MODEL", help="Whose tokenizer shows scored tokens. [default: the scorer's]")
@TRUST
@click.option("--plain", is_flag=True, help="Scored rows as conversations, too, without their tokens.")
def command(source: str, rows: int, model: str | None, plain: bool) -> None:
    """Show the first rows of a data set, a file or standard input.

    Rows with token scores are shown as heat maps: the likelier a token, the plainer; hard ones glow red, masked ones
    are struck through, and what is not scored is dim.

    \b
    Examples:
      synth show replay
      synth show replay/rejected -n 20
      synth show masked -n 3
      synth magpie --model samples/model -n 3 --quiet | synth show
    """  # noqa: D301 (\b is click's)
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    from synth.read import open_rows
    from synth.token_cells import Tokenizers, cells

    console = Console(highlight=False)
    found = open_rows(source)
    for note in found.notes:
        click.echo(note, err=True)
    tokenizers = Tokenizers(model)
    explained = False
    for number, record in enumerate(islice(_records(found.batches()), rows)):
        if number:
            console.print()
        facts = [f"{name} {_short(value)}" for name, value in record.items() if _is_fact(name, value)]
        scored = not plain and _is_scored(record)
        tokenizer = tokenizers.of(record["scorer"]) if scored else None
        if tokenizer is not None:
            if not explained:
                console.print(_legend())
                explained = True
            facts.append(_perplexity(record["logprobs"]))
        console.print(Text(printable(" · ".join(facts)), style="dim"))
        if tokenizer is not None:
            console.print(_heat_map(record, cells(tokenizer, record["input_ids"])))
            continue
        turns = Table.grid(Column(width=9, justify="right"), Column(overflow="fold"), padding=(0, 2, 0, 0))
        for turn in record.get("messages") or []:
            role = turn["role"] or ""
            style = f"bold {COLOURS.get(role, 'yellow')}"
            turns.add_row(Text(printable(role), style), Text(printable(turn["content"] or "")))
        console.print(turns)
    for note in tokenizers.notes:
        click.echo(note, err=True)


def _records(batches: Iterator[Any]) -> Iterator[dict[str, Any]]:
    return (
        record for batch in batches for start in range(batch.num_rows) for record in batch.slice(start, 1).to_pylist()
    )


def _is_scored(record: dict[str, Any]) -> bool:
    """Whether a row has scores of ours, as many as tokens."""
    lists = [record.get(name) for name in ("input_ids", "labels", "logprobs")]
    same = all(isinstance(values, list) for values in lists) and len({len(values or ()) for values in lists}) == 1
    return same and isinstance(record.get("scorer"), str) and any(value is not None for value in record["logprobs"])


def _perplexity(logprobs: Sequence[float | None]) -> str:
    import math

    nats = [-value for value in logprobs if value is not None]
    return f"perplexity {math.exp(min(sum(nats) / len(nats), 700)):.4g}"


def _legend() -> "Text":
    from rich.text import Text

    legend = Text("perplexity: ", style="dim")
    low = 1.0
    for high, style in HEAT:
        legend.append(f" {low:g}–{high:g} " if high < float("inf") else f" above {low:g} ", f"white {style}".strip())
        low = high
    return legend.append("  ").append("masked", "strike").append("  ").append("not scored", "dim").append("\n")


def _heat_map(record: dict[str, Any], cells: "Sequence[Cell]") -> "Text":
    """A row's tokens, coloured by how likely each is; a cell of several tokens by the least likely of them."""
    from math import exp

    from rich.text import Text

    shown = Text()
    at = 0
    for cell in cells:
        own = slice(at, at + cell.tokens)
        at += cell.tokens
        scores = [value for value in record["logprobs"][own] if value is not None]
        text = printable(cell.text)
        if not scores:
            shown.append(text, "dim")
            continue
        perplexity = exp(min(-min(scores), 700))
        heat = next(style for high, style in HEAT if perplexity <= high)
        masked = "strike" if -100 in record["labels"][own] else ""
        shown.append(text, f"{'white' if heat else ''} {heat} {masked}".strip())
    return shown


def _short(value: object) -> object:
    return f"{value:.4g}" if isinstance(value, float) else value


def _is_fact(name: str, value: object) -> bool:
    """Whether a column is worth a place in the line above a conversation: short, and known."""
    return (
        name not in ("messages", "scorer")
        and value is not None
        and not isinstance(value, list | dict)
        and len(str(value)) <= 80
    )


def printable(text: str) -> str:
    """A text that cannot move the cursor or colour the terminal: control characters shown as their escapes."""
    return "".join(
        char if char in "\n\t" or unicodedata.category(char)[0] != "C" else repr(char)[1:-1] for char in text
    )
