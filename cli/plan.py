"""`synth plan`, and what `--preview` shows."""

from typing import TYPE_CHECKING

import click

from cli.command import Call, command_of
from cli.options import Argument

if TYPE_CHECKING:
    from synth.api.dataset import Dataset
    from synth.progress import Progress

REJECTED = 3
"""Rejected rows that a preview shows."""


@command_of("synth.api.plan:plan", source=Argument("DIR"))
def command(call: Call) -> None:
    """What runs of any size take: attempts, tokens, hours on GPUs, and money where prices were given.

    DIR is what a run wrote, finished or not: the rates, the share of accepted rows and the tokens of each attempt are
    taken from its record. Before a run starts, its own option --preview tells the same from a few rows.

    \b
    Examples:
      synth magpie --model M -n 2000 -o pilot && synth plan pilot
      synth plan pilot -n 1000000 -n 3000000
      synth magpie --model M -n 1000000 --preview 50
    """  # noqa: D301 (\b is click's)
    click.echo(call())


def print_preview(data: "Dataset", progress: "Progress") -> None:
    """Print the rows of a preview, some of those rejected, and what the whole run takes.

    Raises:
        UsageError: none of the rows was accepted, so that nothing can be told of the whole run.
    """
    from synth.api.plan import plan
    from synth.reports.terminal.rows import print_rows

    print_rows(str(data), len(data), None, plain=False, progress=progress)
    if data.rejected is not None:
        click.echo(click.style("\nrejected, for example:", bold=True))
        print_rows(str(data.rejected), REJECTED, None, plain=False, progress=progress)
    click.echo()
    click.echo(plan(data))
