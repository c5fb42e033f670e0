"""`synth reason`."""

from typing import Any

import click

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
@click.option("--think-open", default="<think>", show_default=True, metavar="TEXT", help="What opens thoughts.")
@click.option("--think-close", default="</think>", show_default=True, metavar="TEXT", help="What closes them.")
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
@answering_options
def command(**given: Any) -> None:
    """Let the model reason its way to right answers: long chains of its own, thoughts included.

    The model answers each task --samples times. What it thinks (<think>…</think>, also where its chat template
    opens the thoughts) stays in the row; only the answer after it is verified, and traces without an end are
    dropped. Each row says how it came about: `samples_right`, `tokens`, `turn_backs` (wrong attempts that
    --search put before the right one), `steps` and `step_values` (the share of rollouts from the end of each
    step that end right).

    \b
    Examples:
      synth reason gsm8k.jsonl --model M --verifier math --max-tokens 8192 -o traces
      synth reason gsm8k.jsonl --model M --verifier math --samples 16 --length-limit mean --select all -o traces
      synth reason math.jsonl --model M --verifier math --select random --search 2 -o search
      synth reason math.jsonl --model M --verifier math --step-rollouts 8 --min-step-value 0.25 -o steps
    """  # noqa: D301 (\b is click's)
    from cli.cast import casting_of, judged, tasks_of
    from cli.generate import generate, task_job
    from cli.progress import say
    from synth.engines.base import Sampling
    from synth.errors import UsageError
    from synth.methods.reason import COLUMNS, ReasonSettings, reason
    from synth.methods.thoughts import Markers, lost_thoughts

    settings = ReasonSettings(
        seed=given["seed"],
        samples=given["samples"],
        select=given["select"],
        length_limit=given["length_limit"],
        markers=Markers(given["think_open"], given["think_close"]),
        search=given["search"],
        step_rollouts=given["step_rollouts"],
        step_unit=given["step_unit"],
        min_step_value=given["min_step_value"],
        sampling=Sampling(max_tokens=given["max_tokens"], temperature=given["temperature"], top_p=given["top_p"]),
    )
    if given["verifier"] == "majority" and (settings.search or settings.step_rollouts):
        raise UsageError(
            "--verifier majority judges samples only together: it goes without --search and --step-rollouts"
        )
    casting = casting_of(given, model=given["model"])
    if note := lost_thoughts(casting.named().chat_model.chat, settings.markers):
        say(note, given["quiet"])
    tasks = tasks_of(given)
    generate(
        task_job(
            "reason",
            tasks,
            COLUMNS,
            settings.record(),
            lambda cast: reason(cast.chat_model, cast.referee, settings),
        ),
        judged(casting, tasks),
    )
