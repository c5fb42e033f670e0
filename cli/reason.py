"""`synth reason`."""

from typing import Any

import click

from cli.call import arguments
from cli.help import Command
from cli.options import MODEL, SAMPLES, Number, Whole, answering_options, input_options, verifier_options


@click.command(cls=Command)
@input_options
@MODEL
@verifier_options
@click.option("--samples", type=SAMPLES, default=8, show_default=True, help="Traces drawn for each task, at most.")
@click.option(
    "--select",
    default="shortest",
    show_default=True,
    metavar="WAY",
    help="Which right trace is taken: shortest, first (stops drawing at it), random, or all of them.",
)
@click.option(
    "--length-limit",
    metavar="mean|TOKENS",
    help="Drop right traces that are longer: than the mean of the task's right ones, or than so many tokens.",
)
@click.option(
    "--think-open", default="<think>", show_default=True, metavar="TEXT", help="The text that opens thoughts."
)
@click.option("--think-close", default="</think>", show_default=True, metavar="TEXT", help="The text that closes them.")
@click.option(
    "--search",
    type=Whole(0),
    default=0,
    metavar="K",
    help="Put up to K wrong attempts before the right one, and turn back from each.",
)
@click.option(
    "--step-rollouts",
    type=Whole(0, 1 << 16),
    default=0,
    metavar="K",
    help="Value each step by K completions that go on from it.",
)
@click.option(
    "--step-unit",
    default="line",
    show_default=True,
    metavar="UNIT",
    help="What a step is: line, paragraph, sentence.",
)
@click.option(
    "--min-step-value", type=Number(0, 1), metavar="SHARE", help="Reject traces with a step of a lower value, 0 to 1."
)
@click.option("--explain", is_flag=True, help="Write thoughts for the human answers, which stay.")
@answering_options
def command(**given: Any) -> None:
    """Let the model reason its way to right answers: its own chains of thought.

    The model answers each task --samples times. Its thoughts (<think>…</think>, also where its chat template
    opens them) stay in the row; only the answer after them is verified, and unfinished traces are
    dropped. Each row says how it came about: `samples_right`, `tokens`, `turn_backs` (wrong attempts that
    --search put before the right one), `steps` and `step_values` (the share of rollouts from the end of each
    step that end right).

    With --explain the human answers stay, and the model writes the thoughts that lead there: it is shown question
    and answer, and its thoughts are kept if it comes to a right answer from them alone.

    \b
    Examples:
      synth reason gsm8k.jsonl --model M --verifier math --max-tokens 8192 -o traces
      synth reason gsm8k.jsonl --model M --verifier math --samples 16 --length-limit mean --select all -o traces
      synth reason math.jsonl --model M --verifier math --select random --search 2 -o search
      synth reason human.jsonl --model M --verifier math --explain --samples 4 --select first -o explained
      synth reason math.jsonl --model M --verifier math --step-rollouts 8 --min-step-value 0.25 -o steps
    """  # noqa: D301 (\b is click's)
    from synth.api.reason import reason

    with arguments(given) as call:
        reason(**call)
