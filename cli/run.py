"""`synth run`."""

from cli.command import Call, command_of
from cli.options import Argument


@command_of("synth.api.run:run", method=Argument("MODULE:FUNCTION"))
def command(call: Call) -> None:
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
    nothing = call.given["rows"] is not None and call.given["source"] == "-"
    call(**({"source": None} if nothing else {}))
