"""The steps of an evaluation: check, ask the models one after the other, count, and take further measures."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Any

from synth.data.read import open_source
from synth.data.row import records_of
from synth.data.run.record import RunRecord
from synth.data.run.shards import read_shards
from synth.engines.loading import remote_code
from synth.errors import UsageError
from synth.evaluation import lm_eval as harness
from synth.evaluation.asking import Asking
from synth.evaluation.divergence import add_divergences
from synth.evaluation.job import MERGED, EvaluationJob
from synth.evaluation.perplexity import Text, open_texts, perplexity
from synth.evaluation.scores import Results, as_json, pick, results_of
from synth.evaluation.sweep import merged_models
from synth.evaluation.switch import modes_for
from synth.generation.judge import Judge
from synth.generation.models import Model
from synth.progress import Progress
from synth.scoring.scorer import open_scorer
from synth.stop import Stop

Elsewhere = Callable[[EvaluationJob, str, Model], RunRecord]
"""Has a model, which has a name, answer the items of an evaluation in other processes."""


def evaluate(
    job: EvaluationJob, models: Mapping[str, Model], progress: Progress, elsewhere: Elsewhere | None = None
) -> dict[str, Any]:
    """Evaluate some models, or continue where an earlier call was stopped.

    A model that is not loaded yet is loaded for its answers alone, and freed before the next one is.

    Args:
        job: what is done.
        models: by what they are called; the first one is what the others are compared with.
        progress: is told how it goes.
        elsewhere: has models answer; None is here.

    Returns:
        JSON values: `models`, as `synth.evaluation.scores.as_json` gives them, and of a sweep `sweep`, as `pick` does.

    Raises:
        UsageError: something is wrong with the settings, a suite or a text; no model was loaded.
        RunError: a model or a verifier broke off; what was answered is kept.
        Stopped: a person stopped it.
    """
    measures = job.measures
    _check(job, models)
    if job.output.shard is None:  # how many items a shard has depends on the modes
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
        with Asking(job, asked, progress, stop) as asking:
            results = [_results(asking, elsewhere, job, name, model, progress) for name, model in asked.items()]
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
    if job.output.shard is not None and (measures.texts or measures.kl or measures.lm_eval or measures.sweep):
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
        place = job.answers(name)
        place.refuse_early(partial(job.record, model, place))


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


def _results(
    asking: Asking, elsewhere: Elsewhere | None, job: EvaluationJob, name: str, model: Model, progress: Progress
) -> Results:
    """One model's answers, continued where an earlier run was stopped, and the perplexity of texts under it."""
    place = job.answers(name)
    perplexities = cache(lambda: _perplexities(job, name, model, progress))
    shards: list[str] = []
    if job.run.total:
        record = elsewhere(job, name, model) if elsewhere else asking.ask(name, model, place, before=perplexities)
        shards = record.shards
    answers = (row for batch in read_shards(place.folder, shards) for row in records_of(batch))
    results = results_of(name, model.title, answers)
    results.perplexity = perplexities()
    return results


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
