"""The steps of an evaluation: check, ask the models one after the other, count, and take further measures."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from filters.verifiers.registry import entry_of
from synth.background import wait_for
from synth.data.output import Output, StreamSink
from synth.data.read import open_source
from synth.data.row import INDEX, records_of
from synth.data.run.directory import RunDirectory
from synth.data.run.record import RunRecord
from synth.data.run.shard import Shard
from synth.data.run.versions import versions
from synth.engines.loading import remote_code
from synth.errors import Stopped, UsageError
from synth.evaluation import lm_eval as harness
from synth.evaluation.divergence import add_divergences
from synth.evaluation.perplexity import Text, open_texts, perplexity
from synth.evaluation.run import EvaluationRun, Verifiers, open_verifiers
from synth.evaluation.scores import Results, as_json, pick, results_of
from synth.evaluation.sweep import merged_models
from synth.evaluation.switch import modes_for
from synth.generation.acceptance import Acceptance
from synth.generation.chat_model import ChatModel
from synth.generation.judge import JUDGE_PLACES, Judge
from synth.generation.models import Model
from synth.generation.pipeline import drive
from synth.generation.prompt_files import load_prompt
from synth.generation.roles import Roles
from synth.generation.runner import Run
from synth.progress import Progress, clock
from synth.scoring.scorer import open_scorer
from synth.stop import Stop

ANSWERS, MERGED = "answers", "merged"
"""Subdirectories of an evaluation: the answers of each model, and the models of a sweep."""
OWN_PROMPT = "judge"
"""The prompt of a judge that is not a file of the user's."""


@dataclass(frozen=True, slots=True)
class Measures:
    """What is measured in addition to the answers to suites.

    Attributes:
        texts: FILE or NAME=FILE: the perplexity of these texts.
        text_column: the column of plain texts in them; None where they are conversations.
        kl: how far each model has moved from the first on the prompts of new suites.
        lm_eval: tasks of lm-eval.
        limit: items of each of those.
        sweep: ratios at which models between the first and the second are evaluated, too.
        keep: share of the old accuracies that the model to take keeps.
    """

    texts: Sequence[str] = ()
    text_column: str | None = None
    kl: bool = False
    lm_eval: Sequence[str] = ()
    limit: int | None = None
    sweep: Sequence[float] = ()
    keep: float = 0.95


@dataclass(frozen=True, slots=True)
class EvaluationJob:
    """One evaluation.

    Attributes:
        run: what all models are asked.
        measures: what else is measured.
        output: a directory.
        judge: who judges where a suite asks for it.
        judge_prompt: how it is asked: a name of ours, or the user's file.
    """

    run: EvaluationRun
    measures: Measures
    output: Output
    judge: Model | None = None
    judge_prompt: str = OWN_PROMPT

    @property
    def folder(self) -> Path:
        """The directory of the evaluation, on this machine."""
        return self.output.local

    @property
    def total(self) -> int:
        """Items that are asked."""
        return self.run.total if self.shard is None else self.shard.size or 0

    @property
    def judges(self) -> bool:
        """Whether a suite asks for a judge."""
        return any(entry_of(item.verifier.name).asks_model for suite in self.run.suites for item in suite.items)

    def roles(self, model: Model) -> Roles:
        """The models in memory while one of them answers."""
        return Roles({"model": model, "judge": self.judge} if self.judges and self.judge else {"model": model})

    def answers(self, name: str) -> Output:
        """Where the answers of the model of that name go."""
        place = f"{str(self.output.path).rstrip('/')}/{ANSWERS}/{name}"
        return Output(place, restart=self.output.restart, shard=self.shard)

    @property
    def shard(self) -> Shard | None:
        """The part of the items that are asked: shards take turns, so that each has some of every suite."""
        return self.output.shard and replace(self.output.shard.over(self.run.total), block=1)

    def record(self, model: Model) -> RunRecord:
        """The record of a model's answers, none of which are there yet."""
        roles = Roles({"model": model})
        settings = roles.record() | self.run.settings()
        if self.judges and self.judge_prompt != OWN_PROMPT:
            settings["judge_prompt"] = load_prompt(self.judge_prompt, set(), JUDGE_PLACES)
        shard = self.shard.record() if self.shard else None
        return RunRecord("eval", settings, model.title, versions(*roles.packages()), shard=shard)


def evaluate(job: EvaluationJob, models: Mapping[str, Model], progress: Progress) -> dict[str, Any]:
    """Evaluate some models, or continue where an earlier call was stopped.

    A model that is not loaded yet is loaded for its answers alone, and freed before the next one is.

    Args:
        job: what is done.
        models: by what they are called; the first one is what the others are compared with.
        progress: is told how it goes.

    Returns:
        JSON values: `models`, as `synth.evaluation.scores.as_json` gives them, and of a sweep `sweep`, as `pick` does.

    Raises:
        UsageError: something is wrong with the settings, a suite or a text; no model was loaded.
        RunError: a model or a verifier broke off; what was answered is kept.
        Stopped: a person stopped it.
    """
    measures = job.measures
    _check(job, models)
    if job.shard is None:  # how many items a shard has depends on the modes
        _refuse_other_runs(job, models)  # needs no tokenizer, unlike what follows
    for model in models.values() if job.run.suites else ():
        model.unopened()
    if job.run.suites:
        job = _asked_in_modes(job, models, progress)
    _check_texts(job, models, progress)
    for suite in job.run.suites:
        progress.say(suite.note)
    asked = dict(models)
    if measures.sweep:
        merged = job.folder / MERGED
        asked |= merged_models(models, measures.sweep, merged, restart=job.output.restart, progress=progress)
        _refuse_other_runs(job, asked)
    stop = Stop()
    with stop.on_signals():
        with _judge(job, asked, progress) as judge, _verifiers(job, judge) as verifiers:
            results = [_results(job, name, model, verifiers, progress, stop) for name, model in asked.items()]
        if measures.kl:
            first = open_source(str(job.answers(results[0].name).path))
            add_divergences(
                results, asked, (record for batch in first.batches() for record in records_of(batch)), progress
            )
        for result in results if measures.lm_eval else ():
            _run_lm_eval(job, result, asked[result.name], progress)
    scores: dict[str, Any] = {"models": as_json(results)}
    if measures.sweep:
        scores["sweep"] = pick(scores["models"], measures.keep)
    return scores


def _check(job: EvaluationJob, models: Mapping[str, Model]) -> None:
    """Refuse settings that contradict each other, before any work is done."""
    measures, suites = job.measures, job.run.suites
    if job.shard is not None and (measures.texts or measures.kl or measures.lm_eval or measures.sweep):
        raise UsageError(
            "`texts`, `kl`, `lm_eval` and `sweep` are not done in shards: join these without them, then evaluate with "
            "them into the joined directory, where nothing is asked again"
        )
    if not suites and not measures.lm_eval and not measures.texts:
        raise UsageError("nothing to ask: name a suite, or `new`, `texts` or `lm_eval`")
    has_new = any(suite.new for suite in suites)
    if measures.kl and (len(models) < 2 or not has_new):
        raise UsageError("`kl` compares a further model with the first, on the prompts of `new` suites: give both")
    if measures.kl and any(not model.runs_in.here for model in models.values()):
        raise UsageError("`kl` needs the models' whole predictions, which servers do not give")
    if measures.sweep and (len(models) != 2 or not has_new or all(suite.new for suite in suites)):
        raise UsageError("`sweep` is between two models, and needs old suites and `new` ones to choose by")
    if measures.sweep and any(model.options.adapter is not None for model in models.values()):
        raise UsageError("`sweep` merges whole models: give the one that the adapter was merged into, not `adapter`")
    if measures.lm_eval:
        harness.check(measures.lm_eval)
    if job.judges:
        if job.judge is None:
            raise UsageError("`verifier` judge needs a model that judges: `judge` MODEL")
        Judge(job.judge.unopened(), job.judge_prompt)


def _refuse_other_runs(job: EvaluationJob, models: Mapping[str, Model]) -> None:
    """Refuse answers with other settings at once, not when it is their model's turn."""
    for name, model in models.items() if job.run.total else ():
        job.answers(name).refuse_early(partial(job.record, model))


def _asked_in_modes(job: EvaluationJob, models: Mapping[str, Model], progress: Progress) -> EvaluationJob:
    """The evaluation in the modes that the models have, where they think."""
    first, model = next(iter(models.items()))
    wanted = job.run.mode or model.asking.mode
    modes = modes_for(wanted, {name: model.chat for name, model in models.items()})
    if wanted is None and len(modes) > 1:
        progress.say(f"{first} can think before it answers, or not: all is asked in both modes (`mode` takes one)")
    return replace(job, run=job.run.asked_in(modes))


def _check_texts(job: EvaluationJob, models: Mapping[str, Model], progress: Progress) -> None:
    for model in models.values():
        for text in _texts(job, model):
            if text.rows.note:
                progress.say(f"{text.name}: {text.rows.note}")


def _texts(job: EvaluationJob, model: Model) -> list[Text]:
    measures = job.measures
    return open_texts(measures.texts, measures.text_column, model.chat) if measures.texts else []


@contextmanager
def _judge(job: EvaluationJob, models: Mapping[str, Model], progress: Progress) -> Iterator[Judge | None]:
    """The judge, where a suite needs one."""
    if not job.judges or job.judge is None:
        yield None
        return
    with _opened(job.judge, max(job.roles(model).models_here() for model in models.values()), progress) as chat_model:
        yield Judge(chat_model, job.judge_prompt)


@contextmanager
def _verifiers(job: EvaluationJob, judge: Judge | None) -> Iterator[Verifiers]:
    stack = AsyncExitStack()
    try:
        yield wait_for(open_verifiers(stack, job.run.suites, judge))
    finally:
        wait_for(stack.aclose())


@contextmanager
def _opened(model: Model, models: int, progress: Progress) -> Iterator[ChatModel]:
    """A model with its engine; one that was not loaded before is freed at the end: the next one needs the room.

    Args:
        model: the model.
        models: how many share this machine's GPU meanwhile.
        progress: is told what is loaded.
    """
    loaded = model.running is not None
    try:
        yield wait_for(model.opened(progress, models))
    finally:
        if not loaded:
            model.close()


def _results(
    job: EvaluationJob, name: str, model: Model, verifiers: Verifiers, progress: Progress, stop: Stop
) -> Results:
    """One model's answers, continued where an earlier run was stopped, and the perplexity of texts under it."""
    answers: AbstractContextManager[StreamSink | RunDirectory | None] = nullcontext()
    if job.run.total:
        schema = job.run.schema if job.shard is None else job.run.schema.append(INDEX)
        answers = job.answers(name).opened(job.record(model), schema)
    with answers as sink:
        perplexities = _perplexities(job, name, model, progress)
        if sink is not None and sink.next < job.total:
            with _opened(model, job.roles(model).models_here(), progress) as chat_model:
                run = wait_for(_ask(job, name, model, chat_model, verifiers, sink, progress, stop))
            if not run.complete:
                raise Stopped(job.output.stopped())
    batches = sink.rows() if sink is not None else ()
    results = results_of(name, model.title, (record for batch in batches for record in records_of(batch)))
    results.perplexity = perplexities
    return results


async def _ask(
    job: EvaluationJob,
    name: str,
    model: Model,
    chat_model: ChatModel,
    verifiers: Verifiers,
    sink: StreamSink | RunDirectory,
    progress: Progress,
    stop: Stop,
) -> Run:
    run = Run(
        job.run.method(chat_model, verifiers),
        job.shard.rows(job.run.rows) if job.shard else job.run.rows,
        sink,
        [chat_model.engine.usage],
        model.options.at_once,
        Acceptance(sink),
        job.total,
    )
    began = time.monotonic()
    await drive(run, f"eval {name}", progress, stop)
    if run.complete:
        seconds = max(time.monotonic() - began, 1e-6)
        progress.say(f"{name}: {clock(seconds)}, {run.completion_tokens / seconds:,.0f} tokens/s out")
    return run


def _perplexities(job: EvaluationJob, name: str, model: Model, progress: Progress) -> dict[str, float]:
    """The perplexity of each text, scored as `synth score-tokens` does it, before the model is opened to answer."""
    if not job.measures.texts:
        return {}
    texts = _texts(job, model)
    progress.say(f"loading {model.title} to score {', '.join(text.name for text in texts)}")
    values: dict[str, float] = {}
    with remote_code(allowed=model.trust_remote_code):
        options = replace(model.options, say=progress.say)
        scorer = open_scorer(model.engine, model.name, model.chat.tokenizer, options)
    try:
        for text in texts:
            result = perplexity(text, scorer)
            values[text.name] = result.value
            for reason, count in result.left_out.items():
                progress.say(f"{name}: {count:,} rows of {text.name} are left out of its perplexity: {reason}")
    finally:
        scorer.close()
    return values


def _run_lm_eval(job: EvaluationJob, results: Results, model: Model, progress: Progress) -> None:
    tasks, limit, options = job.measures.lm_eval, job.measures.limit, model.options
    progress.say(f"lm-eval: {','.join(tasks)} with {results.name}")
    with remote_code(allowed=model.trust_remote_code):
        results.harness = harness.run(model.name, options.adapter, tasks, limit, options.dtype, options.device)
