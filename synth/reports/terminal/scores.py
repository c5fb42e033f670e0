"""What `synth eval` prints: the retention table."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from synth.evaluation.table import Line, score_table
from synth.progress import printable


def print_scores(scores: dict[str, Any]) -> None:
    """Print what `synth.evaluation.pipeline.evaluate` found, on standard output."""
    found = score_table(scores)
    console = Console(highlight=False, soft_wrap=True)
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
