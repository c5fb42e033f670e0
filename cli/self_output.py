"""`synth self-output`."""

from typing import Any

import click

from cli.call import arguments
from cli.help import Command
from cli.options import MODEL, SAMPLES, Whole, answering_options, input_options, verifier_options


@click.command(cls=Command)
@input_options
@MODEL
@verifier_options
@click.option("--samples", type=SAMPLES, default=8, show_default=True, help="Answers drawn for each task, at most.")
@click.option(
    "--select",
    default="first",
    show_default=True,
    metavar="WAY",
    help="Which right answer is taken: first (stops drawing at it), lowest-perplexity, highest-perplexity, shortest, "
    "longest, random, or all of them.",
)
@click.option(
    "--fallback",
    default="drop",
    show_default=True,
    metavar="LIST",
    help="For tasks with no right answer, tried in this order: paraphrase, minimum-change, gold, drop.",
)
@click.option("--pairs", is_flag=True, help="Also write preference pairs, right against wrong, to pairs/.")
@click.option("--few-shot", type=Whole(0), default=0, help="Demonstrations from the data before each task.")
@click.option("--answer-model", metavar="MODEL[@URL]", help="Another model answers; fallbacks stay with --model.")
@answering_options
def command(**given: Any) -> None:
    """Turn tasks with human answers into data in the model's own words: its own answers, verified.

    The model answers each task up to --samples times; answers are checked as they arrive, and of the right
    ones --select takes one. Each row has the columns `method`, `verdict`, `answer` (what the verifier read),
    `samples`, `samples_right`, `logprob`. Before the model is loaded, the human answers are checked with the
    same verifier.

    \b
    Examples:
      synth self-output gsm8k.jsonl --model M --verifier math -o own
      synth self-output gsm8k.jsonl --model M --verifier math --samples 32 \\
          --select lowest-perplexity --fallback paraphrase,gold -o own
      synth self-output mbpp.jsonl --prompt-column text --reference-column code \\
          --model M --verifier code --pairs -o own
      synth self-output questions.jsonl --model M --verifier majority --samples 16 -o own
      synth self-output tasks.jsonl --model M --verifier checks:is_right | synth show
    """  # noqa: D301 (\b is click's)
    from synth.api.self_output import self_output

    with arguments(given | {"fallback": given["fallback"].split(",")}) as call:
        self_output(**call)
