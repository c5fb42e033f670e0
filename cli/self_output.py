"""`synth self-output`."""

from typing import Any

import click

from cli.options import MODEL, SAMPLES, Whole, answering_options, input_options, verifier_options


@click.command()
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
    ones --select takes one. Each row says what it is: `method`, `verdict`, `answer` (what the verifier read),
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
    from dataclasses import replace

    from cli.cast import casting_of, judged, tasks_of
    from cli.generate import generate, task_job
    from synth.engines.base import Sampling
    from synth.errors import UsageError
    from synth.methods.few_shot import demonstrations
    from synth.methods.minimum_change import MinimumChangeSettings
    from synth.methods.paraphrase import ParaphraseSettings
    from synth.methods.self_output import COLUMNS, SelfOutputSettings, self_output

    sampling = Sampling(max_tokens=given["max_tokens"], temperature=given["temperature"], top_p=given["top_p"])
    settings = SelfOutputSettings(
        seed=given["seed"],
        samples=given["samples"],
        select=given["select"],
        fallback=tuple(given["fallback"].split(",")),
        pairs=given["pairs"],
        sampling=sampling,
        paraphrase=ParaphraseSettings(seed=given["seed"], sampling=sampling),
        minimum_change=MinimumChangeSettings(seed=given["seed"], sampling=sampling),
    )
    if given["pairs"] and given["output"] in (None, "-"):
        raise UsageError("--pairs writes a second table beside the rows: give -o DIR or -o FILE")
    if given["answer_model"] and "minimum-change" in settings.fallback:
        raise UsageError("--fallback minimum-change mends the model's own answers; with --answer-model there are none")
    if given["verifier"] == "majority" and settings.fallback != ("drop",):
        raise UsageError("--verifier majority judges samples only together: it goes with --fallback drop")
    if given["answer_model"] and "paraphrase" not in settings.fallback:  # then nothing is left for --model to do
        casting = casting_of(given, model=given["answer_model"])
    else:
        casting = casting_of(given, model=given["model"], answers=given["answer_model"])
    casting = replace(casting, scores="minimum-change" in settings.fallback)
    tasks = tasks_of(given)
    rows = tasks.rows("self-output", {}, COLUMNS)
    shots = demonstrations(rows(0), given["few_shot"], given["seed"])
    generate(
        task_job(
            "self-output",
            tasks,
            COLUMNS,
            settings.record() | {"few_shot": given["few_shot"]},
            lambda cast: self_output(
                cast.part("answers"), cast.referee, settings, editor=cast.chat_model, demonstrations=shots
            ),
        ),
        judged(casting, tasks),
    )
