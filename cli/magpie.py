"""`synth magpie`."""

from cli.command import Call, command_of
from cli.options import Option


@command_of(
    "synth.api.magpie:magpie",
    system=Option(
        metavar="TEXT|@FILE",
        help='A system prompt for the conversations, or JSON lines {"text": …, "weight": …}, one chosen per row.',
        once=True,
    ),
    tools=Option(metavar="FILE", once=True),
)
def command(call: Call) -> None:
    """Let a chat model ask itself questions and answer them (Magpie).

    Needs nothing but the model: given the text that its chat template puts before a user message, it
    continues with a question of the kind it was trained to answer. Unusable rows (empty, cut off, repetitive,
    duplicate, …) are rejected with their reason and replaced; -n counts what is left.

    \b
    Examples:
      synth magpie --model samples/model -n 1000 -o replay
      synth magpie --model Qwen/Qwen2.5-7B-Instruct -n 10000 --turns 2 -o replay
      synth magpie --model M -n 500 --domain algebra --domain geometry -o maths.parquet
      synth magpie --model M -n 2000 --tools tools.json -o calls
      synth magpie --model M -n 9000 --engine vllm --engine-arg quantization=fp8 --engine-arg kv_cache_dtype=fp8 -o d
      synth magpie --model M --adapter tuned/adapter -n 1000 -o from-tuned
      synth magpie --model M -n 1000000 --ray 10.0.0.1:6379 -o /shared/replay
      synth magpie --model M -n 100 --engine http://localhost:8000 | jq -c .messages
      synth magpie --model M -n 100000 --engine http://gpu1:8000 --engine http://gpu2:8000 -o replay
    """  # noqa: D301 (\b is click's)
    call()
