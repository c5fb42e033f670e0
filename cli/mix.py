"""`synth mix`."""

from typing import Any

import click

from cli.call import arguments
from cli.help import Command
from cli.options import ROWS, SEEDS, TRUST, Share, announced, output_options


@click.command(cls=Command)
@announced
@click.argument("target", metavar="TARGET")
@click.option(
    "--replay",
    multiple=True,
    required=True,
    metavar="SET:SHARE",
    help="A replay set and how much of it, as a share of the target: replay:5%. May be given several times.",
)
@click.option(
    "--by",
    type=click.Choice(["rows", "tokens"]),
    default="rows",
    show_default=True,
    help="What shares are of. Tokens of sets that are not scored are those of --model.",
)
@click.option(
    "--order",
    type=click.Choice(["interleave", "shuffle", "append"]),
    default="interleave",
    show_default=True,
    help="Replay evenly among the target's rows; all at random; or after them.",
)
@click.option("--oversample", is_flag=True, help="Take rows of a replay set that is too small more than once.")
@click.option("--as", "form", type=click.Choice(["messages"]), help="Leave tokens and labels behind.")
@click.option("--model", metavar="MODEL", help="For --by tokens: the model whose tokens are counted.")
@TRUST
@click.option("--limit", type=ROWS, help="Take so many rows of the target.")
@click.option("--seed", type=SEEDS, default=0, show_default=True)
@output_options
def command(**given: Any) -> None:
    """Mix the rows of a task with replay, so that training keeps the old abilities.

    All of TARGET is taken, and of each replay set as many rows (or tokens) as its share of the target says, at random
    and none twice. Replay rows that ask what a target row asks are left out, and kept in `rejected/`. Each row says in
    `source` which set it is of. Sets of scored tokens keep their labels; all sets must be scored, or none.

    \b
    Examples:
      synth mix own --replay replay:5% -o train
      synth mix own --replay replay:5% --replay refusals:3% --order shuffle -o train
      synth mix masked --replay replay-scored:10% --by tokens -o train
      synth mix own --replay replay:5% --by tokens --model M | synth score-tokens --model M -o train
    """  # noqa: D301 (\b is click's)
    from synth.api.mix import mix

    with arguments(given | {"replay": [_share(text) for text in given["replay"]]}) as call:
        mix(**call)


def _share(text: str) -> tuple[str, float]:
    """A replay set and its share of the target."""
    from synth.errors import UsageError

    source, colon, share = text.rpartition(":")
    if not colon or not source:
        raise UsageError(f"`replay` {text} does not say how much: write {text}:5%")
    try:
        return source, Share().convert(share, None, None)
    except click.UsageError as error:
        raise UsageError(f"`replay` {text}: {error.message}") from error
