"""`synth.describe`: a text model answers about recordings or images that are described in words."""

import os
from collections.abc import Sequence
from pathlib import Path

from synth.api.dataset import Dataset
from synth.api.models import used
from synth.api.on_ray import on_ray
from synth.api.places import Place, ShardName, Source, output_at, several, source_at
from synth.data.media.manifest import open_manifest
from synth.engines.base import Sampling
from synth.errors import UsageError
from synth.generation.inputs import prompts_of
from synth.generation.models import Model, ModelName
from synth.generation.pipeline import generate, prompt_job
from synth.generation.roles import Roles
from synth.methods.describe import ADDED, COLUMNS, DescribeSettings, question_of, questions, style_name
from synth.methods.describe import describe as method
from synth.progress import Progress
from synth.values import Count, Limit, Positive, Seed, Temperature, Tokens, TopP, checked


@checked
@on_ray
def describe(
    model: Model | ModelName,
    manifest: Source,
    *,
    output: Place = None,
    prompts: str | os.PathLike[str] | Sequence[str] | None = None,
    style: str | None = None,
    file_column: str | None = None,
    attributes: str | Sequence[str] | None = None,
    max_seconds: Positive = 300.0,
    seed: Seed = 0,
    temperature: Temperature = 0.7,
    top_p: TopP = 0.95,
    max_tokens: Tokens = 2048,
    limit: Limit | None = None,
    shard: ShardName | None = None,
    ray: str | None = None,
    actors: Count | None = None,
    restart: bool = False,
    progress: Progress = Progress(),  # noqa: B008 (it is frozen)
) -> Dataset:
    """Let a text model answer about recordings or images that are described in words (DeSTA2, arXiv 2409.20007).

    Args:
        model: the text model, by name or from `synth.load`.
        manifest: rows that name files, relative to the manifest, and what is known of each; rows in memory name them
            relative to the working directory.
        output: where the rows go (not JSON lines, which hold no files); an interrupted run there is continued.
        prompts: the file of questions, one a line, or a list of them; one is chosen per row. By default that of the
            style.
        style: one of audio, image (a description and a question), continue (the words alone, to be continued), or the
            file of a prompt with {question} and {description} or {words}; by default by the files.
        file_column: the column with names of files, if it is not recognised.
        attributes: columns that descriptions speak of, and duration, energy, pitch, width, height; all by default.
        max_seconds: longer recordings are rejected.
        seed: decides every draw of the run.
        temperature: of the answers; 0 is greedy.
        top_p: of the answers.
        max_tokens: most tokens of an answer.
        limit: rows of the manifest to take.
        shard: the part of the run to make, as I/N (1/8 … 8/8), each into a directory of its own; `synth.join` makes
            the one data set of all.
        ray: the address of a Ray cluster whose actors make the rows, block by block, each with an engine of its own:
            HOST:PORT, or "auto" for the one on this machine, which is started where there is none.
        actors: with `ray`, how many; by default one for each GPU, or group of GPUs that one engine takes, and one a
            machine where there are none.
        restart: throw away what an earlier run left in the output.
        progress: is told how it goes.

    Raises:
        UsageError: something is wrong with the settings or the manifest; no model was loaded.
        RunError: the run broke off; what was finished is kept.
        Stopped: a person stopped it.
    """
    place = output_at(output, restart=restart, shard=shard)
    if Path(place.path or "").suffix.lower() == ".jsonl":
        raise UsageError("JSON lines cannot hold files: give `output` a directory, or FILE.parquet")
    spoken = None if attributes is None else several(attributes)
    folder = None if isinstance(manifest, str | os.PathLike) else Path.cwd()
    with source_at(manifest) as name, used(model) as opened:
        files = open_manifest(name, ADDED, folder=folder, file_column=file_column, attributes=spoken)
        rows = prompts_of(files.rows, progress, limit)
        style = style_name(style, files.kind)
        settings = DescribeSettings(
            style=style,
            prompts=(question_of(style, files.kind),) if prompts is None else questions(prompts),
            seed=seed,
            attributes=spoken,
            max_seconds=max_seconds,
            sampling=Sampling(max_tokens=max_tokens, temperature=temperature, top_p=top_p),
        )
        job = prompt_job(
            "describe",
            rows,
            COLUMNS[files.kind],
            settings.record() | {"file_column": file_column},
            lambda roles: method(roles.chat_model, files, settings),
        )
        return Dataset.of(place, generate(job, Roles({"model": opened}), place, progress=progress))
