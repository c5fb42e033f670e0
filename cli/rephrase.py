"""`synth rephrase`."""

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
    "--style",
    multiple=True,
    default=["wikipedia"],
    show_default=True,
    metavar="NAME|FILE",
    help="wikipedia, easy, hard, question-answer, or a prompt with {text}; may be repeated: one row each.",
)
@click.option("--chunk-tokens", type=TOKENS, default=300, show_default=True, help="Most tokens of a chunk.")
@click.option(
    "--originals",
    metavar="A:B",
    default="0:1",
    show_default=True,
    help="Ratio of original chunks to rephrased ones, before any of these are rejected.",
)
@answering_options
def command(**given: Any) -> None:
    """Let the model restate documents in other styles, for continued pre-training (WRAP).

    Documents are cut into chunks at the ends of sentences. Each row has the new `text`, its `style`, the
    number of its `chunk`, the chunk itself (`reference`) and its document's id (`parent`). Texts that were cut
    off, are much shorter or longer than their chunk, copy it or talk about the task are rejected. Chunks that
    stand as they are (--originals) have the style `original` and the method `gold`.

    \b
    Examples:
      synth rephrase pages.jsonl --model M -o rephrased
      synth rephrase pages.parquet --model M --style easy --style hard --originals 1:2 -o mixed
      synth train mixed --model M -o tuned
    """  # noqa: D301 (\b is click's)
    from synth.api.rephrase import rephrase

    with arguments(given | {"originals": _ratio(given["originals"])}) as call:
        rephrase(**call)


def _ratio(text: str) -> float:
    """How many originals there are to a rephrased text, of A:B."""
    from synth.errors import UsageError

    try:
        originals, rephrased = map(float, text.split(":"))
        ratio = originals / rephrased
    except (ValueError, ZeroDivisionError):
        ratio = -1.0
    if not 0 <= ratio < float("inf"):
        raise UsageError(f"`originals` {text} is no ratio; write 1:1 for as many originals as rephrased texts")
    return ratio
