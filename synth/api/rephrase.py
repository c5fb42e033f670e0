"""`synth.rephrase`: documents restated in other styles, for continued pre-training."""

from collections.abc import Sequence

from synth.api.dataset import Dataset
from synth.api.models import used
from synth.api.on_ray import on_ray
from synth.api.places import Place, ShardName, Source, output_at, several, source_at
from synth.engines.base import Sampling
from synth.generation.inputs import read_passages
from synth.generation.models import Model, ModelName
from synth.generation.pipeline import generate, prompt_job
from synth.generation.roles import Roles
from synth.methods.rephrase import CHUNKS, COLUMNS, RephraseSettings, chunking, ratio, style_name
from synth.methods.rephrase import rephrase as method
from synth.progress import Progress
from synth.values import Count, Limit, Seed, Temperature, Tokens, TopP, checked


@checked
@on_ray
def rephrase(
    model: Model | ModelName,
    source: Source,
    *,
    output: Place = None,
    text_column: str = "text",
    style: str | Sequence[str] = ("wikipedia",),
    chunk_tokens: Tokens = 300,
    originals: str | float = "0:1",
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
    """Let a model restate documents in other styles (WRAP, arXiv 2401.16380).

    Args:
        model: the model, by name or from `synth.load`.
        source: the documents.
        output: where the rows go; an interrupted run there is continued.
        text_column: the column with the texts.
        style: one of wikipedia, easy, hard, question-answer, or the file of a prompt with {text}; of several, each
            chunk gives a row.
        chunk_tokens: most tokens of a chunk.
        originals: so many chunks as people wrote them to so many rephrased ones, as A:B or their ratio, before any of
            these are rejected.
        seed: decides every draw of the run.
        temperature: of the texts; 0 is greedy.
        top_p: of the texts.
        max_tokens: most tokens of a text.
        limit: documents of the source to take.
        shard: the part of the run to make, as I/N (1/8 … 8/8), each into a directory of its own; `synth.join` makes
            the one data set of all.
        ray: the address of a Ray cluster whose actors make the rows, block by block, each with an engine of its own:
            HOST:PORT, or "auto" for the one on this machine, which is started where there is none.
        actors: with `ray`, how many; by default one for each GPU, or group of GPUs that one engine takes, and one a
            machine where there are none.
        restart: throw away what an earlier run left in the output.
        progress: is told how it goes.

    Raises:
        UsageError: something is wrong with the settings or the documents; no model was loaded.
        RunError: the run broke off; what was finished is kept.
        Stopped: a person stopped it.
    """
    settings = RephraseSettings(
        seed=seed,
        style=tuple(map(style_name, several(style))),
        chunk_tokens=chunk_tokens,
        originals=ratio(originals),
        sampling=Sampling(max_tokens=max_tokens, temperature=temperature, top_p=top_p),
    )
    recorded = settings.record()
    place = output_at(output, restart=restart, shard=shard)
    with source_at(source) as name, used(model) as opened:
        cut = chunking(opened.chat.tokenizer, settings)
        prompts = read_passages(name, progress, CHUNKS, cut, text_column=text_column, limit=limit)
        job = prompt_job("rephrase", prompts, COLUMNS, recorded, lambda roles: method(roles.chat_model, settings))
        return Dataset.of(place, generate(job, Roles({"model": opened}), place, progress=progress))
