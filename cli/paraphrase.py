"""`synth paraphrase`."""

from typing import Any

import click

from cli.call import arguments
from cli.help import Command
from cli.options import MODEL, SAMPLES, answering_options, input_options, verifier_options


@click.command(cls=Command)
@input_options
@MODEL
@verifier_options
@click.option(
    "--style",
    default="paraphrase",
    show_default=True,
    metavar="NAME|FILE",
    help="paraphrase (own words), step-by-step, detailed, concise, or a prompt with {question} and {reference}.",
)
@click.option(
    "--tries", type=SAMPLES, default=2, show_default=True, help="Restatements drawn before the original is kept."
)
@answering_options
def command(**given: Any) -> None:
    """Let the model restate the human answers in its own words (SDFT).

    A restatement is taken only if it does not talk about restating and, with --verifier, if its answer is
    still right; else the human answer is kept, as a row of method `gold` whose `note` says why.

    \b
    Examples:
      synth paraphrase gsm8k.jsonl --model M --verifier math -o para
      synth paraphrase alpaca.json --model M --style step-by-step -o para.jsonl
      synth paraphrase faq.csv --model M --style my-prompt.txt --limit 20 | synth show
    """  # noqa: D301 (\b is click's)
    from synth.api.paraphrase import paraphrase

    with arguments(given) as call:
        paraphrase(**call)
