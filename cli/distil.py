"""`synth distil`."""

from cli.command import Call, command_of
from cli.options import Option


@command_of(
    "synth.api.distil:distil",
    teacher=Option(help="The stronger model that answers."),
    price_in=Option(metavar="PRICE"),
    price_out=Option(metavar="PRICE"),
    most=Option(metavar="COST"),
)
def command(call: Call) -> None:
    """Let a stronger model answer prompts, and count the cost.

    Every distinct usable answer (and right, with --verifier) becomes a row. With prices, the cost is in
    the column `cost`, in the closing lines and in run.json. A run that --most stopped continues
    when the same command is given a larger budget.

    \b
    Examples:
      synth distil prompts.jsonl --teacher big@http://localhost:8000 -o taught
      synth distil gsm8k.jsonl --teacher big@https://api.example.com --price-in 0.5 --price-out 1.5 \\
          --most 20 --samples 4 --verifier math -o taught
      synth distil prompts.jsonl --teacher Qwen/Qwen2.5-7B-Instruct --limit 20 | synth show
    """  # noqa: D301 (\b is click's)
    call()
