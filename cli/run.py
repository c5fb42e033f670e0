"""`synth run`."""

from typing import Any

import click

from cli.call import arguments
from cli.help import Command
from cli.options import MODEL, ROWS, answering_options, input_options, verifier_options


@click.command(cls=Command)
@click.argument("method", metavar="MODULE:FUNCTION")
@input_options
@click.option("-n", "--rows", type=ROWS, help="Without INPUT: rows wanted from nothing, after rejection.")
@MODEL
@verifier_options
@answering_options
def command(**given: Any) -> None:
    """Run a method of your own: an async function that completes, answers or rejects one row at a time.

    It is called with those of `row`, `model`, `sampling` and `verifier` that it takes, by these names, and
    returns an answer, None to reject the row, or an Outcome. Answers are judged by --verifier, unless the
    function takes it. Concurrency, seeds, rejected rows, the card, and continuing after a stop are as for
    every other command.

    With -n and no INPUT, rows are made from nothing, as magpie does: the function is given empty rows and adds
    the user's turn to `row.messages` itself.

    \b
    Examples:
      synth run methods:twice tasks.jsonl --model M -o twice
      synth run methods:twice gsm8k.jsonl --model M --verifier math --temperature 1 -o twice
      synth run methods:poem --model M -n 1000 -o poems
      synth run my_package.methods:debate prompts.jsonl --model M --limit 20 | synth show
    """  # noqa: D301 (\b is click's)
    from synth.api.run import run

    if given["rows"] is not None and given["source"] == "-":
        given["source"] = None
    with arguments(given) as call:
        run(**call)
