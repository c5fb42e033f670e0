"""`synth.lamol`: pseudo-replay by a model that was trained to write examples of its old tasks."""

import math
from collections.abc import Sequence
from contextlib import ExitStack

import pyarrow as pa

from synth.api.dataset import Dataset
from synth.api.models import used
from synth.api.on_ray import on_ray
from synth.api.places import Place, ShardName, Source, output_at, several, source_at
from synth.data.output import Output
from synth.data.read import open_source
from synth.data.row import BASE
from synth.engines.base import Sampling
from synth.errors import UsageError
from synth.generation.acceptance import Quota, Rules
from synth.generation.inputs import read_prompts
from synth.generation.models import Model, ModelName
from synth.generation.pipeline import Job, generate
from synth.generation.roles import Roles
from synth.methods.lamol import COLUMNS, TOKEN, LamolSettings, before_answer, before_question, lamol_rows
from synth.methods.lamol import lamol as method
from synth.methods.lamol_preparing import preparing_job
from synth.progress import Progress
from synth.values import Count, CountFromZero, Limit, Rows, Seed, Share, Temperature, Tokens, checked


@checked
@on_ray
def lamol(
    model: Model | ModelName,
    *,
    rows: Rows | None = None,
    output: Place = None,
    prepare: Source | None = None,
    tokens: str | Sequence[str] = ("[GEN]",),
    answer_token: str = "[ANS]",
    of: Source | None = None,
    gamma: Share = 0.2,
    seed: Seed = 0,
    temperature: Temperature = 1.0,
    top_k: CountFromZero = 20,
    max_tokens: Tokens = 1024,
    prompt_column: str | None = None,
    reference_column: str | None = None,
    limit: Limit | None = None,
    shard: ShardName | None = None,
    ray: str | None = None,
    actors: Count | None = None,
    restart: bool = False,
    progress: Progress = Progress(),  # noqa: B008 (it is frozen)
) -> Dataset:
    """Let a model write examples of its old tasks (LAMOL, arXiv 1909.03329), or prepare the data that trains it to.

    Args:
        model: the model, by name or from `synth.load`; for `prepare`, only its tokenizer is used.
        rows: rows wanted, after rejection; or `gamma` of the rows of `of`.
        output: where they go; an interrupted run there is continued.
        prepare: a task's data to write in LAMOL's form, to be trained on, instead of sampling.
        tokens: a task's generation token, once for each task to sample; rows to prepare that name none get the first.
            It may also be one of the tokenizer's own, such as <s>.
        answer_token: the text between question and answer.
        of: the new task's data.
        gamma: with `of`: rows for each row of the new task.
        seed: decides every draw of the run.
        temperature: of the examples.
        top_k: likeliest tokens that are drawn from; 0 is all.
        max_tokens: most tokens of an example.
        prompt_column: for `prepare`: the column with the question, if it is not recognised.
        reference_column: for `prepare`: the column with the answer.
        limit: for `prepare`: rows to take.
        shard: the part of the run to make, as I/N (1/8 … 8/8), each into a directory of its own; `synth.join` makes
            the one data set of all.
        ray: the address of a Ray cluster whose actors make the rows, block by block, each with an engine of its own:
            HOST:PORT, or "auto" for the one on this machine, which is started where there is none.
        actors: with `ray`, how many; by default one for each GPU, or group of GPUs that one engine takes, and one a
            machine where there are none.
        restart: throw away what an earlier run left in the output.
        progress: is told how it goes.

    Raises:
        UsageError: something is wrong with the settings or the data; no model was loaded.
        RunError: the run broke off, or too few rows can be used; what was finished is kept.
        Stopped: a person stopped it.
    """
    settings = LamolSettings(
        seed=seed,
        tokens=several(tokens),
        answer_token=answer_token,
        sampling=Sampling(max_tokens=max_tokens, temperature=temperature, top_k=top_k or None),
    )
    place = output_at(output, restart=restart, shard=shard)
    with ExitStack() as stack:
        opened = stack.enter_context(used(model))
        if prepare is None:
            wanted = _wanted(rows, None if of is None else stack.enter_context(source_at(of)), gamma)
            return _sampled(opened, settings, wanted, place, progress)
        if rows is not None or of is not None:
            raise UsageError("`rows` and `of` say how many rows to sample; `prepare` takes all rows of its data")
        if place.path is None:
            raise UsageError("`prepare` needs a place for its rows: `output` DIR or FILE")
        prompts = read_prompts(
            stack.enter_context(source_at(prepare)),
            progress,
            prompt_column=prompt_column,
            reference_column=reference_column,
            limit=limit,
        )
        job = preparing_job(prompts, opened.tokenizer, settings)
        return Dataset.of(place, generate(job, Roles({}), place, progress=progress))


def _sampled(model: Model, settings: LamolSettings, wanted: int, place: Output, progress: Progress) -> Dataset:
    job = Job(
        command="lamol",
        settings=settings.record(),
        method=lambda roles: method(roles.chat_model.engine, roles.chat_model.chat.tokenizer, settings),
        rows=lamol_rows(settings.tokens),
        schema=pa.schema([*BASE, *COLUMNS]),
        target=wanted,
        rules=Rules(unique=True, quota=Quota(TOKEN, settings.tokens)),
        answers=False,
    )
    writer = model.written(before_question(settings.tokens[0]), before_answer(settings.answer_token))
    return Dataset.of(place, generate(job, Roles({"model": writer}), place, progress=progress))


def _wanted(rows: int | None, new_data: str | None, gamma: float) -> int:
    """Rows to sample: so many, or a share of the new task's."""
    if (rows is None) == (new_data is None):
        raise UsageError("say how many rows: `rows`, or `gamma` SHARE and `of` NEW_DATA")
    if rows is not None:
        return rows
    if not gamma > 0:
        raise UsageError(f"`gamma` is a share above 0, not {gamma}")
    found = open_source(str(new_data))
    size: int = sum(batch.num_rows for batch in found.batches())
    if not size:
        raise UsageError(f"{found.source} has no rows")
    return math.ceil(gamma * size)
