"""What `synth rate` does: ask a model about rows or measure them, or take a reward model's word."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from cli.cast import Casting, engine_settings, tasks_of
from cli.generate import Job, claimed_stdout, closing_lines, generate
from cli.progress import Meter, clock, going_on, say
from synth.curation.rewards import COLUMNS, open_reward_model, rewarded
from synth.data.output import open_output
from synth.data.plain import only_texts
from synth.data.prompts import PromptSet
from synth.data.run.record import RunRecord
from synth.data.run.versions import versions
from synth.engines.open import model_revision
from synth.errors import UsageError
from synth.methods.rate import MEASURES, RateSettings, rate


def rate_rows(given: dict[str, Any]) -> None:
    """Run the command with its options.

    Raises:
        UsageError: something is wrong with the settings or the input; no model was loaded.
        RunError: the run broke off; what was finished is kept.
        click.exceptions.Exit: status 1 where the run was stopped.
    """
    aspects = tuple(filter(None, (part.strip() for part in given["by"].split(","))))
    if "reward" in aspects:
        if aspects != ("reward",):
            raise UsageError("--by reward goes alone: --model is a reward model then")
        _reward(given)
        return
    if measured := [aspect for aspect in aspects if aspect in MEASURES]:
        if given["engine"] == "vllm":
            raise UsageError(
                f"--by {measured[0]}: vLLM in process does not score texts; leave --engine at auto, or name a server"
            )
        given |= {"engine": "transformers" if given["engine"] == "auto" else given["engine"]}
    settings = RateSettings(aspects, given["max_tokens"])
    tasks = _tasks(given, aspects)
    _refuse_rated(tasks, settings.columns)
    answered = tasks.answered(settings.columns)
    missing: Counter[str] = Counter()
    generate(
        Job(
            command="rate",
            settings=settings.record() | {"input": tasks.fingerprint},
            method=lambda cast: rate(cast.chat_model, settings, missing),
            rows=lambda *_: answered,
            schema=tasks.schema(settings.columns),
            tasks=tasks,
        ),
        Casting({"model": given["model"]}, given | {"prefix": None, "stop": None}),
    )
    _say_missing(missing, given["quiet"])


def _tasks(given: dict[str, Any], aspects: Sequence[str]) -> PromptSet:
    """The rows; what is said of answers alone is refused where no row has one."""
    tasks = tasks_of(given, texts=True)
    of_answers = [aspect for aspect in aspects if aspect != "perplexity"]
    if of_answers and only_texts(tasks.source):
        raise UsageError(
            f"--by {of_answers[0]} is said of an answer to a question, and {tasks.source.source} holds plain texts: "
            "take --by perplexity"
        )
    return tasks


def _say_missing(missing: Counter[str], quiet: bool) -> None:
    for name, count in missing.items():
        say(f"{count:,} rows have no {name}: {name}_fault says why", quiet)


def _refuse_rated(tasks: PromptSet, added: pa.Schema) -> None:
    there = [name for name in added.names if name in tasks.source.schema.names]
    if there:
        raise UsageError(
            f"{tasks.source.source} has a column {there[0]} already: filter by it, or rate by something else"
        )


def _reward(given: dict[str, Any]) -> None:
    quiet: bool = given["quiet"]
    if given["engine"] not in ("auto", "transformers"):
        raise UsageError("--by reward: reward models run in transformers; leave --engine at auto")
    tasks = _tasks(given, ("reward",))
    _refuse_rated(tasks, COLUMNS)
    name: str = given["model"]
    settings = {
        "by": "reward",
        "revision": model_revision(name),
        "dtype": given["dtype"],
        "max_length": given["max_length"],
        "input": tasks.fingerprint,
    }
    record = RunRecord("rate", settings, name, versions("transformers"), source=tasks.source.source)
    schema = tasks.schema(COLUMNS)
    with claimed_stdout() as stream:
        sink = open_output(given["output"], stream, record, schema, restart=given["restart"])
        if sink.next >= tasks.total:
            sink.finish()
            say(f"{given['output']} already holds {sink.record.accepted:,} rows", quiet)
            return
        before, missing = sink.next, Counter[str]()
        with going_on(sink, given):
            say(f"loading {name}", quiet)
            model = open_reward_model(name, engine_settings(given))
            say(model.description, quiet)
            began = time.monotonic()
            with Meter("rate", quiet=quiet) as meter:
                for batch, rejected in rewarded(model, tasks, before):
                    missing["reward"] += batch["reward"].null_count
                    sink.extend(batch, rejected)
                    meter.show(sink.next, tasks.total, "")
        sink.finish()
    closing_lines(sink.record, sink.next, given["output"], quiet)
    _say_missing(+missing, quiet)
    seconds = max(time.monotonic() - began, 1e-6)
    say(f"{clock(seconds)}: {(sink.next - before) / seconds:,.1f} rows/s", quiet)
