"""`synth distil`."""

from typing import Any

import click

from cli.call import arguments
from cli.help import Command
from cli.options import SAMPLES, Number, answering_options, input_options, verifier_options


@click.command(cls=Command)
@input_options
@click.option("--teacher", required=True, metavar="MODEL[@URL]", help="The stronger model that answers.")
@verifier_options
@click.option("--samples", type=SAMPLES, default=1, show_default=True, help="Answers drawn for each prompt.")
@click.option("--price-in", type=Number(), metavar="PRICE", help="Price of a million input tokens of the teacher.")
@click.option("--price-out", type=Number(), metavar="PRICE", help="Price of a million output tokens.")
@click.option("--most", type=Number(), metavar="COST", help="Stop before the answers cost more than this.")
@answering_options
def command(**given: Any) -> None:
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
    from synth.api.distil import distil

    with arguments(given) as call:
        distil(**call)
