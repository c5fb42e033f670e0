"""`synth.evaluate`: accuracies of models, and what was kept and lost between them."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

from filters.verdict import VerifierSettings
from synth.api.evaluation import Evaluation
from synth.api.on_ray import refuse_apart
from synth.api.places import ShardName, Source, path_of, several, source_at, sources_of
from synth.api.roles import VerifierChoice
from synth.data.destination import check_directory
from synth.data.output import Output, TemporaryFolder
from synth.data.run.record import RunRecord
from synth.data.run.shard import Shard
from synth.engines.base import Sampling
from synth.errors import UsageError
from synth.evaluation.job import EvaluationJob, Measures
from synth.evaluation.names import AnyModel, name_adapters, name_models
from synth.evaluation.pipeline import Elsewhere
from synth.evaluation.pipeline import evaluate as evaluate_models
from synth.evaluation.run import EvaluationRun
from synth.evaluation.suites import open_suites
from synth.evaluation.sweep import check_ratios
from synth.generation.inputs import verifier_for, verifier_of
from synth.generation.models import Model, ModelName
from synth.progress import Progress
from synth.values import Asked, Count, Limit, Seed, Share, Temperature, Tokens, checked

Sources = Source | Sequence[Source] | Mapping[str, Source]
"""One or several sources, as FILE or NAME=FILE where they are files; or sources by what they are to be called."""


@checked
def evaluate(
    suites: Sources = (),
    *,
    models: AnyModel | Sequence[AnyModel] | Mapping[str, AnyModel],
    adapter: str | Sequence[str] | Mapping[str, str | os.PathLike[str]] = (),
    new: Sources = (),
    output: str | os.PathLike[str] | None = None,
    limit: Limit | None = None,
    max_tokens: Tokens = 1024,
    temperature: Temperature = 0.0,
    mode: Asked | None = None,
    seed: Seed = 0,
    texts: Sources = (),
    text_column: str | None = None,
    kl: bool = False,
    lm_eval: str | Sequence[str] = (),
    sweep: str | Sequence[float] | None = None,
    keep: Share = 0.95,
    verifier: VerifierChoice = None,
    judge: Model | ModelName | None = None,
    judge_prompt: str = "judge",
    shard: ShardName | None = None,
    ray: str | None = None,
    actors: Count | None = None,
    restart: bool = False,
    progress: Progress = Progress(),  # noqa: B008 (it is frozen)
) -> Evaluation:
    """Count right answers, suite by suite and item by item, and compare models with the first one.

    A suite is a source of prompts, references and what judges the answers: a column called verifier, or `verifier`;
    files of known benchmarks are read as they are published. A model that is not loaded yet is loaded for its answers
    alone, and freed before the next one is.

    Args:
        suites: what the models could do before.
        models: the models: names, paths, models from `synth.load` (which says how they are run), or what `synth.train`
            returns; NAME=MODEL, or a dictionary, says what they are called.
        adapter: also the first of the models with this adapter, as `synth.train` leaves it in DIR/adapter: a directory
            or a Hub id; or with several, each by itself. NAME=ADAPTER, or a dictionary, says what it is called.
        new: a suite of the new task, listed apart; or several.
        output: the directory for answers, `scores.json` and plots; an interrupted evaluation there is continued.
            By default a temporary one, which lasts as long as what is returned.
        limit: items of each suite.
        max_tokens: most tokens of an answer.
        temperature: of the answers; 0 is greedy.
        mode: for models that think: `thinking`, `plain` (they answer at once) or `both`; by default both where the
            models have both. Whether they do as the mode says counts among the old abilities.
        seed: decides every draw of the run.
        texts: also the perplexity of these conversations or, with `text_column`, plain texts.
        text_column: the column with plain texts in `texts`.
        kl: also the KL divergence of each model from the first, in nats per token, along its answers to new suites.
        lm_eval: also these tasks of lm-eval, if it is installed.
        sweep: also merge the first and the second model, as `synth.merge` does, at these ratios: "0.2,0.4".
        keep: with `sweep`: take the best at the new task of those that keep this share of the old.
        verifier: what judges the answers to all suites; by default what their rows name.
        judge: another model that judges, where `verifier` is judge.
        judge_prompt: the file of a prompt of your own, where `verifier` is judge.
        shard: the part of the items to ask, as I/N (1/8 … 8/8), each into a directory of its own; `synth.join` makes
            the evaluation of all.
        ray: the address of a Ray cluster whose actors ask the models, one model after the other, block by block, each
            with an engine of its own: HOST:PORT, or "auto" for the one on this machine, which is started where there is
            none. What is measured beside the answers is done here.
        actors: with `ray`, how many; by default one for each GPU, or group of GPUs that one engine takes, and one a
            machine where there are none.
        restart: throw away what an earlier run left in the output.
        progress: is told how it goes.

    Raises:
        UsageError: something is wrong with the settings, a suite or a text; no model was loaded.
        RunError: a model or a verifier broke off; what was answered is kept.
        Stopped: a person stopped it.
    """
    refuse_apart({"ray": ray, "actors": actors, "shard": shard})
    if output is not None:
        check_directory(os.fspath(output), "an evaluation")
    elif sweep is not None:
        raise UsageError("`sweep` makes models: say where they go with `output` DIR")
    elif ray is not None:
        raise UsageError("`ray`: answers that several machines give go through files: give `output` DIR")
    named = {name: model if isinstance(model, Model) else Model(model) for name, model in name_models(models).items()}
    for name, adapted in name_adapters(adapter).items():
        if name in named:
            raise UsageError(f"two models are called {name}: give the adapter another name, as in other={adapted}")
        named[name] = next(iter(named.values())).with_adapter(adapted)
    ratios = () if sweep is None else check_ratios(sweep, list(named))
    settings = verifier if isinstance(verifier, VerifierSettings) else verifier_of(verifier)
    chosen = verifier_for(None, settings)
    limits = replace(settings, name="", function=None, language=None, schema=None, pattern=None)
    with ExitStack() as stack:
        old = list(_names(suites, "suite", stack))
        opened = open_suites(old, list(_names(new, "new", stack)), chosen, limits, limit)
        measures = Measures(
            texts=list(_names(texts, "text", stack)),
            text_column=text_column,
            kl=kl,
            lm_eval=several(lm_eval),
            limit=limit,
            sweep=ratios,
            keep=keep,
        )
        place = replace(_place(output, restart), shard=Shard.parse(shard) if isinstance(shard, str) else shard)
        job = EvaluationJob(
            EvaluationRun(opened, Sampling(max_tokens=max_tokens, temperature=temperature, seed=seed), mode),
            measures,
            place,
            judge=judge if judge is None or isinstance(judge, Model) else next(iter(named.values())).other(judge),
            judge_prompt=judge_prompt,
        )
        elsewhere = None if ray is None else _asked_on_ray(ray, actors, stack, progress)
        scores = evaluate_models(job, named, progress, elsewhere)
    return Evaluation.written(scores, place)


def _place(output: str | os.PathLike[str] | None, restart: bool) -> Output:
    if output is not None:
        return Output(os.fspath(output), restart=restart)
    folder = TemporaryFolder("synth-eval-")
    return Output(str(folder.path), keep=folder)


def _asked_on_ray(address: str, actors: int | None, stack: ExitStack, progress: Progress) -> Elsewhere:
    """Has models answer in actors of a Ray cluster, which is left when the stack is closed."""
    from synth.distributed.call import Call
    from synth.distributed.cluster import connected
    from synth.distributed.run import run_on_ray

    def ask(job: EvaluationJob, name: str, model: Model) -> RunRecord:
        items = replace(job, judge=None, output=Output())
        given = {"model": model, "job": items, "name": name, "judge": job.judge}
        stack.enter_context(connected(address))  # once for all models
        return run_on_ray(Call("synth.evaluation.asking:answers", given), job.answers(name), address, actors, progress)

    return ask


def _names(sources: Sources, kind: str, stack: ExitStack) -> Iterator[str]:
    """Sources as FILE or NAME=FILE; rows in memory are files until the stack is closed, called by their number."""
    if isinstance(sources, Mapping):
        for name, source in sources.items():
            if not name or "=" in name:
                raise UsageError(f"{name!r} is no name for a {kind}: it is empty, or holds an equals sign")
            yield f"{name}={stack.enter_context(source_at(source))}"
        return
    for number, source in enumerate(sources_of(sources), 1):
        file = stack.enter_context(source_at(source))
        yield file if path_of(source) else f"{kind}-{number}={file}"
