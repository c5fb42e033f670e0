"""`synth show`: rows drawn for a terminal.

There is no function for it: in Python rows are dictionaries, results have tables, and `synth.report` makes a page.
"""

import click

from cli.command import told
from cli.help import Command
from cli.options import Number
from synth.values import Range


@click.command(cls=Command)
@click.argument("source", metavar="[INPUT]", default="-")
@click.option("-n", "--rows", type=Number(int, Range(1, 10**12)), default=5, show_default=True, help="Rows to show.")
@click.option("--model", metavar="MODEL", help="Whose tokenizer shows scored tokens. [default: the scorer's]")
@click.option("--trust-remote-code", is_flag=True, help="Let a tokenizer run code that comes with it.")
@click.option("--plain", is_flag=True, help="Scored rows as conversations, too, without their tokens.")
def command(source: str, rows: int, model: str | None, trust_remote_code: bool, plain: bool) -> None:
    """Show the first rows of a data set, a file or standard input; or the result of an evaluation, a training, a merge.

    Rows with token scores are shown as heat maps: the likelier a token, the plainer; hard ones glow red, masked ones
    stand in brackets, and what is not scored is dim. Of preference pairs, the chosen answer stands beside the rejected
    one. What is too long for a terminal is cut, with a note.

    \b
    Examples:
      synth show replay
      synth show replay/rejected -n 20
      synth show own/pairs
      synth show masked -n 3
      synth show scores
      synth magpie --model samples/model -n 3 --quiet | synth show
    """  # noqa: D301 (\b is click's)
    from synth.engines.loading import remote_code
    from synth.reports.terminal.show import show

    with remote_code(allowed=trust_remote_code):
        show(source, rows, model, plain=plain, progress=told())
