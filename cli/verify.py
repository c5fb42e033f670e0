"""`synth verify`."""

from cli.command import Call, command_of


@command_of("synth.api.verify:verify")
def command(call: Call) -> None:
    """Judge the answers of a data set: right, wrong or unscorable.

    Every row is kept, with `verdict`, `answer` (what the verifier read in it) and `verdict_reason`. Answers
    are the last assistant turns; they are checked against `reference`, or against tests, choices or schemas in
    the row's other columns; the thoughts of a model never count. Of data with human answers only,
    the answers are the references. Files of known benchmarks are read as they are published; each brings its
    verifier.

    \b
    Examples:
      synth verify gsm8k.jsonl --references -o checked
      synth verify mbpp.jsonl | synth show
      synth verify answers.jsonl --verifier judge --judge M@http://localhost:8000 -o judged.parquet
      synth verify answers.jsonl --verifier checks:is_right -o judged
    """  # noqa: D301 (\b is click's)
    call()
