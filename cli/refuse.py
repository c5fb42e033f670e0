"""`synth refuse`."""

from typing import Any

import click

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

    A column `label` tells what is right: unsafe, harmful or refuse; safe, harmless or comply. Without one all
    prompts of a file are taken for harmful. Prompts that the model does not refuse (or, harmless ones, does
    refuse) in any sample are rejected with that reason. About 3% of such rows in what a model is trained on
    keep its refusals.

    \b
    Examples:
      synth refuse advbench.csv xstest.csv --model M -o safety
      synth refuse harmful.jsonl --model M --samples 8 --max-tokens 512 -o refusals
      synth mix own --replay safety:3% -o train
    """  # noqa: D301 (\b is click's)
    from dataclasses import replace

    from cli.cast import Casting
    from cli.generate import generate, task_job
    from cli.progress import say
    from filters.verdict import VerifierSettings
    from synth.data.prompts import open_prompts
    from synth.data.read import Rows, open_source
    from synth.engines.base import Sampling
    from synth.errors import UsageError
    from synth.methods.refuse import COLUMNS, RefuseSettings, labelled, refuse, together

    settings = RefuseSettings(
        seed=given["seed"],
        samples=given["samples"],
        sampling=Sampling(max_tokens=given["max_tokens"], temperature=given["temperature"], top_p=given["top_p"]),
    )

    def opened(source: str) -> Rows:
        rows = labelled(open_source(source), given["prompt_column"])
        return Rows(rows.source, rows.schema, lambda: rows.judged(given["limit"]), rows.notes)

    if given["sources"].count("-") > 1:
        raise UsageError("standard input is one set: only one of PROMPTS can be -")
    prompts = together([opened(source) for source in given["sources"]])
    tasks = open_prompts(prompts)
    for note in prompts.notes:
        say(note, given["quiet"])
    if not tasks.total:
        raise UsageError(f"{prompts.source} has no rows")
    job = task_job(
        "refuse", tasks, COLUMNS, settings.record(), lambda cast: refuse(cast.chat_model, cast.referee, settings)
    )
    job = replace(job, check_references=False, also_read=given["sources"])
    generate(job, Casting({"model": given["model"]}, given, VerifierSettings("refusal")))
