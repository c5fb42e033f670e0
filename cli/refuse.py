"""`synth refuse`."""

from typing import Any

import click

from cli.call import arguments
from cli.help import Command
from cli.options import LIMIT, MODEL, SAMPLES, answering_options


@click.command(cls=Command)
@click.argument("sources", metavar="PROMPTS…", nargs=-1, required=True)
@click.option("--limit", type=LIMIT, help="Take so many rows of each input.")
@click.option("--prompt-column", metavar="NAME", help="The column with the prompt, if not recognised.")
@MODEL
@click.option("--samples", type=SAMPLES, default=4, show_default=True, help="Answers drawn until one fits, at most.")
@answering_options
def command(**given: Any) -> None:
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
    from synth.api.refuse import refuse

    with arguments(given) as call:
        refuse(**call)
