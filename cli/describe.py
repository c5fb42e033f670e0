"""`synth describe`."""

from cli.command import Call, command_of
from cli.options import Argument, Option


@command_of(
    "synth.api.describe:describe",
    manifest=Argument("MANIFEST"),
    prompts=Option(
        metavar="FILE",
        help="Questions, one a line; one is chosen per row. [default: the style's]",
        once=True,
    ),
    style=Option(metavar="NAME|FILE"),
    file_column=Option(metavar="NAME"),
    attributes=Option(metavar="LIST", listed=True),
)
def command(call: Call) -> None:
    """Let a text model answer about recordings or images that are described to it in words (DeSTA2, BLSP).

    MANIFEST (JSON lines, csv, parquet, …) names files, relative to itself, and what is known of each: a
    transcript or caption, its `start` and `end` in seconds or `segments` with words and times of their own,
    and attributes such as gender, emotion or noise. Duration, energy and pitch of recordings are measured
    where it does not say them. Each row keeps the file (for `datasets` a column `audio` or `image`), the
    description, the prompt and the answer: what a model that hears is trained to say.

    The data set refers to the files where they are; loaded with `datasets` and saved again, it holds them.

    \b
    Examples:
      synth describe clips/manifest.jsonl --model meta-llama/Llama-3.1-8B-Instruct -o heard
      synth describe clips.csv --model M --prompts questions.txt --attributes gender,emotion,pitch -o heard
      synth describe clips.jsonl --model M --style continue --max-seconds 30 -o continued
      synth describe photos.parquet --model M --limit 20 | synth show
    """  # noqa: D301 (\b is click's)
    call()
