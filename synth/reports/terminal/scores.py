"""Tables in the terminal: what `synth eval` prints, and what commands with tables of their own do."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from synth.evaluation.table import Line, ScoreTable, score_table
from synth.progress import printable

WIDEST = 1_000
"""Columns of text that are written where standard output is no terminal."""


def print_scores(scores: dict[str, Any]) -> None:
    """Print what `synth.evaluation.pipeline.evaluate` found, on standard output."""
    print_table(score_table(scores))


def print_table(found: ScoreTable) -> None:
    """Print a table, and the remarks below it, on standard output."""
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = WIDEST  # in a file no column is cut to what a terminal would hold
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    for name in found.header:
        table.add_column(Text(printable(name)))
    for row in found.rows:
        table.add_row(*map(_text, row))
    console.print(table)
    for line in found.remarks:
        console.print(_text(line))


def _text(line: Line) -> Text:
    return Text.assemble(*((printable(span.text), span.style) for span in line))
