"""`synth continue`."""

from cli.command import Call, command_of
from cli.options import Argument


@command_of("synth.api.continuation:continuation", source=Argument("[DOCS]", default="-"))
def command(call: Call) -> None:
    """Let the model continue passages: conversations in which nothing is asked for.

    Documents are cut into passages, each into halves at the end of a sentence. The first half is the user's
    turn, the model's continuation the assistant's; the original second half is kept as `reference`.
    Continuations much shorter than it, or that copy either half or repeat themselves, are rejected.

    \b
    Examples:
      synth continue pages.jsonl --model M -o continued
      synth continue pages.parquet --model M --answer-model big@http://localhost:8000 -o taught
      synth continue books.jsonl --model M --text-column body --limit 20 | synth show
    """  # noqa: D301 (\b is click's)
    call()
