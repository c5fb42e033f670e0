"""`synth rate`."""

from typing import Any

import click

from cli.call import arguments
from cli.help import Command
from cli.options import MODEL, Whole, engine_options, input_options, output_options
from synth.engines.loading import LARGEST_WINDOW


@click.command(cls=Command)
@input_options
@MODEL
@click.option(
    "--by",
    required=True,
    metavar="LIST",
    help="quality, complexity, difficulty, safety (asked of the model, 1 to 5), a prompt FILE of yours, perplexity, "
    "ifd, or reward, which goes alone.",
)
@click.option(
    "--max-tokens",
    type=Whole(8, LARGEST_WINDOW),
    default=512,
    show_default=True,
    help="Most tokens of a reply, where asked.",
)
@engine_options
@output_options
def command(**given: Any) -> None:
    """Rate rows once, as columns of numbers; then filter by any threshold with synth filter.

    Every row comes out, with a column for each item of --by, and NAME_fault, which says why a number is missing: only
    a clear score counts. perplexity and ifd (how little the prompt helps with the answer, arXiv 2308.12032) are
    measured under --model. Of plain texts (rows without turns, but with a column `text`) there is perplexity alone,
    that of the whole text. For reward --model is a reward model: a sequence classifier with one output.

    \b
    Examples:
      synth rate own --model JUDGE --by quality,complexity -o rated
      synth rate rated --model M --by perplexity,ifd -o measured
      synth rate own --model REWARD-MODEL --by reward -o rewarded
      synth filter rewarded --keep top:reward,10% -o best
    """  # noqa: D301 (\b is click's)
    from synth.api.rate import rate

    aspects = [part.strip() for part in given["by"].split(",")]
    with arguments(given | {"by": tuple(filter(None, aspects))}) as call:
        rate(**call)
