"""`synth rephrase`."""

from cli.command import Call, command_of
from cli.options import Argument, Option


@command_of(
    "synth.api.rephrase:rephrase",
    source=Argument("[DOCS]", default="-"),
    style=Option(metavar="NAME|FILE"),
    originals=Option(metavar="A:B"),
)
def command(call: Call) -> None:
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
    call()
