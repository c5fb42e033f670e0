"""`synth.run`: a method of a user's own, over the rows of a source or from nothing."""

from contextlib import ExitStack
from dataclasses import replace

import pyarrow as pa

from filters.verifiers.registry import entry_of
from synth.api.dataset import Dataset
from synth.api.models import used
from synth.api.on_ray import on_ray
from synth.api.places import Place, ShardName, Source, output_at, source_at
from synth.api.roles import VerifierChoice, roles_for
from synth.data.prompts import PromptSet
from synth.data.row import BASE
from synth.engines.base import Sampling
from synth.errors import UsageError
from synth.generation.inputs import read_prompts
from synth.generation.models import Model, ModelName
from synth.generation.pipeline import Job, generate, prompt_job
from synth.generation.roles import OpenRoles
from synth.generation.runner import Method, empty_rows
from synth.methods.own import OwnMethod, OwnSettings, own_method, own_settings
from synth.progress import Progress
from synth.values import Count, Limit, Rows, Seed, Temperature, Tokens, TopP, checked


@checked
@on_ray
def run(
    method: str | OwnMethod,
    model: Model | ModelName,
    source: Source | None = None,
    *,
    rows: Rows | None = None,
    output: Place = None,
    verifier: VerifierChoice = None,
    judge: Model | ModelName | None = None,
    judge_prompt: str = "judge",
    seed: Seed = 0,
    temperature: Temperature = 0.7,
    top_p: TopP = 0.95,
    max_tokens: Tokens = 2048,
    prompt_column: str | None = None,
    reference_column: str | None = None,
    limit: Limit | None = None,
    shard: ShardName | None = None,
    ray: str | None = None,
    actors: Count | None = None,
    restart: bool = False,
    progress: Progress = Progress(),  # noqa: B008 (it is frozen)
) -> Dataset:
    """Run a method of your own: an async function that completes, answers or rejects one row at a time.

    It is called with those of `row`, `model`, `sampling` and `verifier` that it takes, by these names, and returns an
    answer, None to reject the row, or an `Outcome` (`synth.data.row`). Many rows are in flight at once; what a run
    writes depends neither on that nor on how often it was stopped.

    Without a source, rows are made from nothing: the function is given empty rows, and adds what is asked to
    `row.messages` itself, until `rows` of them are accepted.

    Args:
        method: the function, or its import path as "module:function".
        model: the model, by name or from `synth.load`; the function has it as a `ChatModel`.
        source: the rows; None makes rows from nothing.
        rows: without a source: rows wanted, after rejection.
        output: where the rows go; an interrupted run there is continued.
        verifier: judges the answers, of which the right ones stay, unless the function takes it; by default what all
            rows name, as known benchmarks do.
        judge: another model that judges, where `verifier` is judge.
        judge_prompt: the file of a prompt of your own, where `verifier` is judge.
        seed: decides every draw of the run; `sampling` has one of each row's own, made from it.
        temperature: what `sampling` has; 0 is greedy.
        top_p: what `sampling` has.
        max_tokens: what `sampling` has: most tokens of an answer.
        prompt_column: the column with the prompt, if it is not recognised.
        reference_column: the column with the human answer, likewise.
        limit: rows of the source to take.
        shard: the part of the run to make, as I/N (1/8 … 8/8), each into a directory of its own; `synth.join` makes
            the one data set of all.
        ray: the address of a Ray cluster whose actors make the rows, block by block, each with an engine of its own:
            HOST:PORT, or "auto" for the one on this machine, which is started where there is none.
        actors: with `ray`, how many; by default one for each GPU, or group of GPUs that one engine takes, and one a
            machine where there are none.
        restart: throw away what an earlier run left in the output.
        progress: is told how it goes.

    Raises:
        UsageError: something is wrong with the method, the settings or the rows; no model was loaded.
        RunError: the run broke off, or the function failed; what was finished is kept.
        Stopped: a person stopped it.
    """
    if (source is None) == (rows is None):
        raise UsageError("give either a source, whose rows are worked on, or `rows`, to make so many from nothing")
    sampling = Sampling(max_tokens=max_tokens, temperature=temperature, top_p=top_p)
    own_settings(method, verifier=True, seed=seed, sampling=sampling)  # refused before the rows are read
    place = output_at(output, restart=restart, shard=shard)
    with ExitStack() as stack:
        prompts = None
        if source is not None:
            name = stack.enter_context(source_at(source))
            prompts = read_prompts(
                name, progress, prompt_column=prompt_column, reference_column=reference_column, limit=limit
            )
        main = stack.enter_context(used(model))
        asked = roles_for(main, prompts, verifier, judge=judge, judge_prompt=judge_prompt, required=False)
        roles = stack.enter_context(asked)
        settings = own_settings(method, verifier=roles.verifier is not None, seed=seed, sampling=sampling)
        if roles.verifier:
            _check_verifier(roles.verifier.name, settings, nothing=prompts is None)
        return Dataset.of(place, generate(own_job(settings, prompts, rows), roles, place, progress=progress))


def _check_verifier(name: str, settings: OwnSettings, *, nothing: bool) -> None:
    """Refuse a verifier that could not judge the answers of this method.

    Raises:
        UsageError: it could not.
    """
    if "verifier" in settings.taken:
        return
    if entry_of(name).votes:
        raise UsageError(f"`verifier` {name} judges samples only together: a `method` that takes it can do so")
    if nothing and entry_of(name).needs_reference:
        raise UsageError(f"`verifier` {name} compares with a reference, which rows made from nothing do not have")


def own_job(settings: OwnSettings, prompts: PromptSet | None, rows: int | None) -> Job:
    """The job of a user's method: over a data set, or to make so many rows from nothing."""

    def method(roles: OpenRoles) -> Method:
        return own_method(roles.chat_model, roles.checks, settings)

    if prompts is None:
        return Job(
            "run",
            settings.record(),
            method,
            rows=lambda recorded, model: empty_rows(settings.name, recorded, model),
            schema=pa.schema([*BASE, *settings.columns]),
            target=rows,
        )
    job = prompt_job("run", prompts, settings.columns, settings.record(), method)
    return replace(job, rows=lambda recorded, _: prompts.rows(settings.name, recorded, settings.columns))
