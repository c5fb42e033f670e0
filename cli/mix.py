"""`synth mix`."""

from cli.command import Call, command_of
from cli.options import Argument, Option


@command_of(
    "synth.api.mix:mix",
    of_model=("prefix", "stop", "trust_remote_code"),
    target=Argument("TARGET"),
    replay=Option(
        metavar="SET:SHARE",
        help="A replay set and how much of it, as a share of the target: replay:5%.",
    ),
    form=Option(("--as",)),
    model=Option(metavar="MODEL"),
)
def command(call: Call) -> None:
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
    call()
