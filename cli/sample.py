"""`synth sample`."""

from cli.command import LOAD, Call, command_of
from cli.options import Option
from cli.parameters import parameters_of

OF_CHAT = {"prefix", "stop", "template_args", "mode", "thinking_share", "thought_tokens"}
"""Parameters of `synth.load` that say how conversations are written; here none is."""


@command_of(
    "synth.api.sample:sample",
    of_model=parameters_of(LOAD).keys() - OF_CHAT,
    length=Option(metavar="TOKENS"),
    start=Option(metavar="TEXT"),
)
def command(call: Call) -> None:
    """Sample a model from nothing: what it writes after its beginning-of-sequence token alone.

    Such context-free samples are replay for any causal language model; it needs no chat template. Rows are
    texts with the very tokens that were drawn, for synth train, score-tokens, filter and mix. Nothing is rejected
    for what it says: samples are from the model's own distribution.

    \b
    Examples:
      synth sample --model M -n 10000 -o samples
      synth train task --model M --replay samples --replay-loss kl -o tuned
      synth sample --model M -n 2000 --length 1024 --stop-at-end -o documents
      synth sample --model Qwen/Qwen2.5-7B-Instruct -n 5000 --start "<|im_start|>" -o conversations
    """  # noqa: D301 (\b is click's)
    call()
