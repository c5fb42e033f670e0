"""`synth refuse`."""

from cli.command import Call, command_of
from cli.options import Argument


@command_of("synth.api.refuse:refuse", sources=Argument("PROMPTS…"))
def command(call: Call) -> None:
    """Safety rehearsal: the model's own refusals of harmful prompts, and its answers to harmless look-alikes.

    A column `label` says what is right: unsafe, harmful or refuse; safe, harmless or comply. Without one all
    prompts of a file are taken for harmful. Prompts that the model does not refuse (or, harmless ones, does
    refuse) in any sample are rejected with that reason. About 3% of such rows in what a model is trained on
    keep its refusals.

    \b
    Examples:
      synth refuse advbench.csv xstest.csv --model M -o safety
      synth refuse harmful.jsonl --model M --samples 8 --max-tokens 512 -o refusals
      synth mix own --replay safety:3% -o train
    """  # noqa: D301 (\b is click's)
    call()
