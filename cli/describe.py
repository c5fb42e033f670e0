"""`synth describe`."""

from typing import Any

import click

from cli.call import arguments
from cli.help import Command
from cli.options import LIMIT, MODEL, Number, answering_options


@click.command(cls=Command)
@click.argument("manifest", metavar="MANIFEST")
@click.option("--limit", type=LIMIT, help="Take so many rows of the manifest.")
@MODEL
@click.option("--prompts", metavar="FILE", help="Questions, one a line; one is chosen per row. [default: the style's]")
@click.option(
    "--style",
    metavar="NAME|FILE",
    help="audio, image (a description and a question), continue (the words alone, to be continued), or a prompt with "
    "{question} and {description} or {words}. [default: by the files]",
)
@click.option("--file-column", metavar="NAME", help="The column with names of files, if not recognised.")
@click.option(
    "--attributes",
    metavar="LIST",
    help="Columns that descriptions speak of, and duration, energy, pitch, width, height. [default: all]",
)
@click.option(
    "--max-seconds",
    type=Number(above=True),
    default=300.0,
    show_default=True,
    help="Longer recordings are rejected.",
)
@answering_options
def command(prompts: str | None, attributes: str | None, **given: Any) -> None:
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
    from synth.api.describe import describe

    listed = None if attributes is None else tuple(filter(None, attributes.split(",")))
    with arguments(given | {"prompts": _lines(prompts) if prompts else None, "attributes": listed}) as call:
        describe(**call)


def _lines(name: str) -> tuple[str, ...]:
    """The prompts of a file, one a line."""
    from synth.errors import UsageError
    from synth.small_text import read_small

    try:
        lines = read_small(name).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"`prompts`: {name} cannot be read: {error}") from error
    return tuple(line.strip() for line in lines if line.strip())
