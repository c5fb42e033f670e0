"""`synth continue`."""

from typing import Any

import click

from cli.call import arguments
from cli.help import Command
from cli.options import LIMIT, MODEL, TOKENS, answering_options


@click.command(cls=Command)
@click.argument("source", metavar="[DOCS]", default="-")
@click.option("--limit", type=LIMIT, help="Take so many documents of the input.")
@click.option("--text-column", default="text", show_default=True, metavar="NAME", help="The column with the texts.")
@MODEL
@click.option(
    "--answer-model", metavar="MODEL[@URL]", help="Another model, a teacher, that continues the passages instead."
)
@click.option("--passage-tokens", type=TOKENS, default=600, show_default=True, help="Most tokens of a passage.")
@answering_options
def command(**given: Any) -> None:
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
    from synth.api.continuation import continuation

    with arguments(given) as call:
        continuation(**call)
