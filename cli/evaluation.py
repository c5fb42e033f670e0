"""What `synth eval` does: read the suites, ask the models, count, compare, show."""

import asyncio
import json
import shutil
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cli.cast import Cast, Casting, engine_settings, verifier_settings
from cli.generate import claimed_stdout, ended, interruptible
from cli.progress import clock, how_to_go_on, progress, say
from cli.score_table import score_table
from filters.verdict import VerifierSettings
from filters.verifiers.registry import entry_of
from synth.data.read import open_source
from synth.data.row import BASE
from synth.data.run.directory import RunDirectory
from synth.data.run.invocation import command_line
from synth.data.run.record import RunRecord, refuse_other_run
from synth.data.run.versions import versions
from synth.data.write import replace_text
from synth.engines.base import Sampling
from synth.errors import RequestError, UsageError
from synth.evaluation import lm_eval as harness
from synth.evaluation.perplexity import Text, open_texts, perplexity
from synth.evaluation.run import COLUMNS, EvaluationRun, Verifiers, open_verifiers
from synth.evaluation.scores import Results, as_json, pick, results_of
from synth.evaluation.suites import Suite, open_suites
from synth.generation.runner import Run
from synth.scoring.scorer import open_scorer


def evaluate(given: dict[str, Any]) -> None:
    """Run the command with its options.

    Raises:
        UsageError: something is wrong with the settings or a suite; no model was loaded.
        RunError: a model or a verifier broke off; what was answered is kept.
        click.exceptions.Exit: status 1 where the run was stopped.
    """
    if given["output"] is not None:
        _evaluate(given, Path(given["output"]))
        return
    if given["sweep"]:
        raise UsageError("--sweep makes models: say where they go with -o DIR")
    with tempfile.TemporaryDirectory(prefix="synth-eval-") as folder:
        _evaluate(given, Path(folder))


def _evaluate(given: dict[str, Any], folder: Path) -> None:
    quiet: bool = given["quiet"]
    suites = suites_of(given, given["suites"], given["new_suites"])
    if not suites and not given["tasks"] and not given["texts"]:
        raise UsageError("nothing to ask: name a SUITE, or --new, --text or --lm-eval")
    models = _named(given["models"])
    sampling = Sampling(max_tokens=given["max_tokens"], temperature=given["temperature"], seed=given["seed"])
    examination = _Examination(given, EvaluationRun(suites, sampling), folder)
    _check(given, suites, models)
    examination.refuse_other_runs(models)
    for model in models.values():
        chat = examination.casting(model).named().chat_model.chat
        for text in open_texts(given["texts"], given["text_column"], chat):
            if text.rows.note:
                say(f"{text.name}: {text.rows.note}", quiet)
    if given["tasks"]:
        harness.check()
    for suite in suites:
        say(suite.note, quiet)
    models |= (made := _merged(given, models, folder, quiet))
    examination.refuse_other_runs(made)
    with claimed_stdout():
        results = asyncio.run(examination.run(models))
        if given["kl"]:
            examination.divergences(results)
        for found in results if given["tasks"] else ():
            say(f"lm-eval: {given['tasks']} with {found.name}", quiet)
            found.harness = harness.run(found.model, given["tasks"], given["limit"], given["dtype"], given["device"])
    scores: dict[str, Any] = {"models": as_json(results)}
    if given["sweep"]:
        scores["sweep"] = pick(scores["models"], given["keep"])
    if given["output"] is not None:
        _write(folder, scores)
    if given["as_json"]:
        click.echo(json.dumps(scores, indent=2, ensure_ascii=False))
    else:
        score_table(scores)


def suites_of(given: dict[str, Any], old: tuple[str, ...], new: tuple[str, ...]) -> list[Suite]:
    """The suites of a command line, with the verifiers that `verifier_options` name, where the command has them.

    Raises:
        UsageError: see `open_suites`.
    """
    limits = VerifierSettings(
        "",
        time_limit=given["time_limit"],
        memory_limit=given["memory_limit"],
        unsafe_no_sandbox=given["unsafe_no_sandbox"],
    )
    return open_suites(old, new, verifier_settings(given), limits, given["limit"])


def _check(given: dict[str, Any], suites: list[Suite], models: dict[str, str]) -> None:
    """Find settings that cannot work together, before any time is spent."""
    has_new = any(suite.new for suite in suites)
    if given["kl"] and (len(models) < 2 or not has_new):
        raise UsageError("--kl compares a further --model with the first, on the prompts of --new suites: give both")
    if given["kl"] and given["engine"].startswith("http"):
        raise UsageError("--kl needs the models' whole predictions, which servers do not give")
    if given["sweep"] and (len(models) != 2 or not has_new or all(suite.new for suite in suites)):
        raise UsageError("--sweep is between two models, and needs old suites and --new ones to choose by")


def _named(given: tuple[str, ...]) -> dict[str, str]:
    """What the models are called in tables: NAME of NAME=MODEL, or else the last part of the path."""
    models: dict[str, str] = {}
    for text in given:
        name, _, model = text.partition("=")
        if not model or Path(text).exists():
            name, model = Path(text).name, text
        if not name or name in (".", "..") or "/" in name:
            raise UsageError(f"--model {text}: give it a name of its own, as in tuned={model}")
        if name in models:
            raise UsageError(f"two models are called {name}: call one otherwise, as in other={model}")
        models[name] = model
    return models


def _merged(given: dict[str, Any], models: dict[str, str], folder: Path, quiet: bool) -> dict[str, str]:
    """The models of --sweep, made where they are not there yet."""
    from synth.training.merge import is_merge_of, merge

    made: dict[str, str] = {}
    base, tuned = [*models.values(), "", ""][:2]
    for ratio in given["sweep"] or ():
        name = str(ratio)
        path = folder / "merged" / name
        if path.exists() and given["restart"]:
            shutil.rmtree(path)
        if path.exists():
            if not is_merge_of(path, base, tuned, ratio):
                raise UsageError(f"{path} was made of other models: give --restart, or another -o")
        else:
            say(f"merging at ratio {name}", quiet)
            merge(base, tuned, path, ratio=ratio)
        made[name] = str(path)
    return made


@dataclass(frozen=True, slots=True)
class _Examination:
    """All models take the same exam."""

    given: dict[str, Any]
    exam: EvaluationRun
    folder: Path

    def casting(self, model: str) -> Casting:
        """How one model is run."""
        judge = self._judge()
        return Casting({"model": model}, self.given, beside=judge.models_here() if judge is not None else 0)

    async def run(self, models: dict[str, str]) -> list[Results]:
        """Ask every model everything, one model after the other.

        Raises:
            click.exceptions.Exit: status 1 where the run was stopped.
        """
        async with AsyncExitStack() as stack:
            judge, chat_model = self._judge(), None
            if judge is not None:
                here = any(self.casting(model).engine("model")[:4] != "http" for model in models.values())
                cast = await replace(judge, beside=int(here)).open(stack, None, self.given["quiet"])
                chat_model = cast.chat_models["judge"]
            verifiers = await open_verifiers(stack, self.exam.suites, chat_model)
            return [await self._ask(name, model, verifiers) for name, model in models.items()]

    def _judge(self) -> Casting | None:
        """Who judges beside the model that answers, where a suite asks for it."""
        if not any(entry_of(item.verifier.name).asks_model for suite in self.exam.suites for item in suite.items):
            return None
        if self.given["judge"] is None:
            raise UsageError("the verifier judge needs a model that judges: --judge MODEL")
        return Casting({"judge": self.given["judge"]}, self.given)

    async def _ask(self, name: str, model: str, verifiers: Verifiers) -> Results:
        """One model's answers, going on where an earlier run was stopped."""
        casting = self.casting(model)
        chat = casting.named().chat_model.chat
        texts = open_texts(self.given["texts"], self.given["text_column"], chat)
        sink = self._sink(name, model) if self.exam.total else None
        async with AsyncExitStack() as stack:
            try:
                perplexities = self._perplexities(name, model, texts) if texts else {}
                asks = sink is not None and sink.next < self.exam.total
                cast = await casting.open(stack, None, self.given["quiet"]) if asks else None
            except BaseException:
                if sink is not None:
                    sink.pause()
                raise
            if sink is not None and cast is not None:
                await self._fill(sink, cast, verifiers, name)
            elif sink is not None:
                sink.finish()
        batches = sink.rows() if sink is not None else ()
        found = results_of(name, model, (record for batch in batches for record in batch.to_pylist()))
        found.perplexity = perplexities
        return found

    def _perplexities(self, name: str, model: str, texts: list[Text]) -> dict[str, float]:
        """The perplexity of each text, scored as `synth score-tokens` does it, before the model is opened to answer."""
        quiet: bool = self.given["quiet"]
        chat_model, engine = self.casting(model).named().chat_model, self.casting(model).engine("model")
        say(f"loading {chat_model.name} to score {', '.join(text.name for text in texts)}", quiet)
        scorer = open_scorer(engine, chat_model.name, chat_model.chat.tokenizer, engine_settings(self.given))
        found: dict[str, float] = {}
        try:
            for text in texts:
                result = perplexity(text, scorer)
                found[text.name] = result.value
                for reason, count in result.left_out.items():
                    say(f"{name}: {count:,} rows of {text.name} are left out of its perplexity: {reason}", quiet)
        finally:
            scorer.close()
        return found

    def refuse_other_runs(self, models: dict[str, str]) -> None:
        """Find answers of other settings at once, not when it is their model's turn.

        Raises:
            UsageError: there are some.
        """
        if self.exam.total and not self.given["restart"]:
            for name, model in models.items():
                refuse_other_run(self._answers(name), partial(self._fresh, model))

    def _fresh(self, model: str) -> RunRecord:
        casting = self.casting(model)
        settings = casting.settings() | self.exam.settings()
        return RunRecord("eval", settings, model, versions(*casting.packages()))

    def _sink(self, name: str, model: str) -> RunDirectory:
        schema = pa.schema([*BASE, *COLUMNS])
        return RunDirectory.open(self._answers(name), self._fresh(model), schema, restart=self.given["restart"])

    def _answers(self, name: str) -> Path:
        return self.folder / "answers" / name

    async def _fill(self, sink: RunDirectory, cast: Cast, verifiers: Verifiers, name: str) -> None:
        quiet: bool = self.given["quiet"]
        method = self.exam.method(cast.chat_model, verifiers)
        usages, concurrency = [cast.chat_model.engine.usage], self.given["concurrency"]
        run = Run(method, self.exam.rows, sink, usages, concurrency, total=self.exam.total)
        began = time.monotonic()
        with interruptible(run, quiet):
            async with progress(run, f"eval {name}", quiet=quiet):
                await ended(run)
        if not run.complete:
            kept = f"; {how_to_go_on(restart=self.given['restart'])}" if self.given["output"] else ""
            say(f"stopped{kept}", quiet)
            raise click.exceptions.Exit(1)
        seconds = max(time.monotonic() - began, 1e-6)
        say(f"{name}: {clock(seconds)}, {run.completion_tokens / seconds:,.0f} tokens/s out", quiet)

    def divergences(self, results: list[Results]) -> None:
        """How far each model has moved from the first, along the first one's answers to the new suites."""
        from synth.engines.hf.engine import load_model
        from synth.scoring.divergence import forward_divergences

        quiet: bool = self.given["quiet"]
        options = engine_settings(self.given)
        first = results[0]
        chat = self.casting(first.model).named().chat_model.chat
        answered, left_out = [], Counter[str]()
        for batch in open_source(str(self._answers(first.name))).batches():
            for record in batch.to_pylist():
                if record["new"] and record["tokens"]:
                    try:
                        answered.append(chat.encode(record["messages"]))
                    except RequestError as error:
                        left_out[str(error).split(":", 1)[0]] += 1
        for reason, count in left_out.items():
            say(f"{count:,} answers of {first.name} are left out of the KL: {reason}", quiet)
        if not answered:
            say(f"no KL: {first.name} gave no answer to a new suite that can be scored", quiet)
            return
        say(f"KL from {first.name} along {len(answered):,} of its answers", quiet)
        sequences = [np.array(encoded.input_ids, np.int32) for encoded in answered]
        wanted = [_between(len(encoded.input_ids), *encoded.spans[-1]) for encoded in answered]
        foundation = load_model(first.model, options)
        for found in results[1:]:
            means = forward_divergences(foundation, load_model(found.model, options), sequences, wanted)
            found.divergence = sum(means) / len(means)


def _between(length: int, start: int, end: int) -> NDArray[np.bool_]:
    """True at the tokens from `start` to `end`, of so many."""
    return (np.arange(length) >= start) & (np.arange(length) < end)


def _write(folder: Path, scores: dict[str, Any]) -> None:
    """scores.json, and the plots."""
    from synth.reports.evaluation_plots import draw_scores

    folder.mkdir(parents=True, exist_ok=True)
    scores = {"command_line": command_line()} | scores
    replace_text(folder / "scores.json", json.dumps(scores, indent=2, ensure_ascii=False) + "\n")
    for suffix in (".svg", ".png"):
        draw_scores(scores, folder, suffix)
