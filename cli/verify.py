"""`synth verify`."""

from typing import Any

import click

from cli.help import Command
from cli.options import engine_options, input_options, output_options, verifier_options


@click.command(cls=Command)
@input_options
@verifier_options
@click.option("--references", is_flag=True, help="Judge the references themselves instead of the answers.")
@engine_options
@output_options
def command(**given: Any) -> None:
    """Judge the answers that a data set has: right, wrong or unscorable.

    Every row comes out, with `verdict`, `answer` (what the verifier read in it) and `verdict_reason`. Answers
    are the last assistant turns; they are checked against `reference`, or against tests, choices or schemas in
    the row's other columns; what stands in a model's thoughts never counts. Of data with human answers only,
    the answers are the references. Files of known benchmarks are read as they are published; each brings its
    verifier.

    \b
    Examples:
      synth verify gsm8k.jsonl --references -o checked
      synth verify mbpp.jsonl | synth show
      synth verify answers.jsonl --verifier judge --judge M@http://localhost:8000 -o judged.parquet
      synth verify answers.jsonl --verifier checks:is_right -o judged
    """  # noqa: D301 (\b is click's)
    from cli.cast import casting_of, judged, tasks_of
    from cli.generate import Job, generate
    from synth.errors import UsageError
    from synth.methods.verify import COLUMNS, nothing_to_judge, verify

    given |= {"prefix": None, "stop": None}
    tasks = tasks_of(given)
    casting = judged(casting_of(given), tasks)
    if fault := nothing_to_judge(tasks, casting.verifier, references=given["references"]):
        raise UsageError(fault)
    answered = tasks.answered(COLUMNS)
    generate(
        Job(
            command="verify",
            settings={"references": given["references"], "input": tasks.fingerprint},
            method=lambda cast: verify(cast.referee, lambda: answered(0), references=given["references"]),
            rows=lambda *_: answered,
            schema=tasks.schema(COLUMNS),
            tasks=tasks,
            check_references=False,
        ),
        casting,
    )
