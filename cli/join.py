"""`synth join`."""

from cli.command import Call, command_of
from cli.options import Argument


@command_of("synth.api.join:join", shards=Argument("DIR..."))
def command(call: Call) -> None:
    """Make one data set of the shards of a run.

    Each DIR is one that a command made with --shard I/N; all N are needed, in any order. The data set is the one that
    a single process makes of all the rows, byte for byte. Rows over the number that was asked for are cut. Of
    score-tokens and rate --by reward it is the same rows in the same order, where they are more than a file of 5,000.

    \b
    Examples:
      synth magpie --model M -n 100000 --shard 1/2 -o parts/1   # on one machine
      synth magpie --model M -n 100000 --shard 2/2 -o parts/2   # on another
      synth join parts/1 parts/2 -o replay
    """  # noqa: D301 (\b is click's)
    call()
