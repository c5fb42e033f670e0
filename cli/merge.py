"""`synth merge`."""

from cli.command import Call, command_of
from cli.options import DIRECTORY, Argument, Option


@command_of(
    "synth.api.merge:merge",
    base=Argument("BASE"),
    tuned=Argument("TUNED"),
    pushed="model",
    output=DIRECTORY,
    add=Option(metavar="CHAT"),
)
def command(call: Call) -> None:
    """Merge the weights of a model before and after training, to recover some of what it forgot.

    BASE and TUNED are directories or Hub ids of one family. Weights are interpolated: BASE at --ratio 0, TUNED at 1.
    With --add, the difference between CHAT and BASE is added to TUNED instead.

    \b
    Examples:
      synth merge Qwen/Qwen2.5-7B-Instruct tuned --ratio 0.7 -o merged
      synth merge Qwen/Qwen2.5-7B-Instruct tuned -o merged --push USER/merged
      synth merge meta-llama/Llama-3.1-8B my-pretrained --add meta-llama/Llama-3.1-8B-Instruct -o merged
    """  # noqa: D301 (\b is click's)
    call()
