"""`synth rate`."""

from cli.command import Call, command_of
from cli.options import Option


@command_of("synth.api.rate:rate", by=Option(metavar="LIST", listed=True))
def command(call: Call) -> None:
    """Rate rows once, as columns of numbers; then filter by any threshold with synth filter.

    Every row comes out, with a column for each item of --by, and NAME_fault, which says why a number is missing: only
    a clear score counts. perplexity and ifd (how little the prompt helps with the answer, arXiv 2308.12032) are
    measured under --model. Of plain texts (rows without turns, but with a column `text`) there is perplexity alone,
    that of the whole text. For reward --model is a reward model: a sequence classifier with one output. Thoughts are
    not shown to it; calls of tools are, as its chat template writes them.

    \b
    Examples:
      synth rate own --model JUDGE --by quality,complexity -o rated
      synth rate rated --model M --by perplexity,ifd -o measured
      synth rate own --model REWARD-MODEL --by reward -o rewarded
      synth filter rewarded --keep top:reward,10% -o best
    """  # noqa: D301 (\b is click's)
    call()
