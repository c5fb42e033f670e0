"""`synth distil`."""

from typing import Any

import click

from cli.help import Command
from cli.options import SAMPLES, Number, answering_options, input_options, verifier_options


@click.command(cls=Command)
@input_options
@click.option("--teacher", required=True, metavar="MODEL[@URL]", help="The stronger model that answers.")
@verifier_options
@click.option("--samples", type=SAMPLES, default=1, show_default=True, help="Answers drawn to each prompt.")
@click.option("--price-in", type=Number(), metavar="PRICE", help="Of a million tokens that the teacher reads.")
@click.option("--price-out", type=Number(), metavar="PRICE", help="Of a million tokens that it writes.")
@click.option("--most", type=Number(), metavar="COST", help="Stop before the answers cost more than this.")
@answering_options
def command(**given: Any) -> None:
    """Let a stronger model answer prompts, and count what that costs.

    Every distinct answer that is sound (and right, with --verifier) becomes a row. With prices, the cost stands
    in the column `cost`, in the closing lines and in run.json. A run that --most stopped goes on where it was
    when the same command is given a larger budget.

    \b
    Examples:
      synth distil prompts.jsonl --teacher big@http://localhost:8000 -o taught
      synth distil gsm8k.jsonl --teacher big@https://api.example.com --price-in 0.5 --price-out 1.5 \\
          --most 20 --samples 4 --verifier math -o taught
      synth distil prompts.jsonl --teacher Qwen/Qwen2.5-7B-Instruct --limit 20 | synth show
    """  # noqa: D301 (\b is click's)
    from dataclasses import replace

    from cli.cast import casting_of, judged, tasks_of
    from cli.generate import generate, task_job
    from cli.progress import say
    from synth.engines.base import Sampling
    from synth.errors import UsageError
    from synth.methods.distil import COLUMNS, DistilSettings, Ledger, Prices, distil

    casting = casting_of(given, model=given["teacher"])
    settings = DistilSettings(
        seed=given["seed"],
        samples=given["samples"],
        sampling=Sampling(max_tokens=given["max_tokens"], temperature=given["temperature"], top_p=given["top_p"]),
    )
    priced = given["price_in"] is not None or given["price_out"] is not None
    prices = Prices(given["price_in"] or 0.0, given["price_out"] or 0.0) if priced else None
    ledger = Ledger(prices, given["most"])
    if prices is not None and given["verifier"] == "judge" and given["judge"] is None:
        raise UsageError("what the teacher says as a judge is not counted: with prices, name another with --judge")
    tasks = tasks_of(given)
    job = task_job(
        "distil",
        tasks,
        COLUMNS,
        settings.record(),
        lambda cast: distil(cast.chat_model, cast.verifier, settings, ledger),
    )
    try:
        generate(replace(job, started=ledger.watch), judged(casting, tasks, required=False))
    finally:
        if ledger.exhausted:
            say(f"the next answers might have cost more than is left of --most {given['most']:g}", given["quiet"])
