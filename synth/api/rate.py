"""`synth.rate`: scores for every row, to filter by."""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack

from synth.api.dataset import Dataset
from synth.api.models import used
from synth.api.on_ray import on_ray
from synth.api.places import Place, ShardName, Source, output_at, several, source_at
from synth.curation.rewards import COLUMNS
from synth.data.output import Output
from synth.data.prompts import PromptSet
from synth.data.run.record import RunRecord
from synth.errors import UsageError
from synth.generation.inputs import read_prompts
from synth.generation.models import Model, ModelName
from synth.generation.pipeline import Job, generate
from synth.generation.rewards import rate_rewards
from synth.generation.roles import Roles
from synth.methods.rate import RateSettings, check_rows
from synth.methods.rate import rate as method
from synth.progress import Progress
from synth.values import Count, Limit, ReplyTokens, checked


@checked
@on_ray
def rate(
    model: Model | ModelName,
    source: Source,
    *,
    by: str | Sequence[str],
    output: Place = None,
    max_tokens: ReplyTokens = 512,
    prompt_column: str | None = None,
    reference_column: str | None = None,
    limit: Limit | None = None,
    shard: ShardName | None = None,
    ray: str | None = None,
    actors: Count | None = None,
    restart: bool = False,
    progress: Progress = Progress(),  # noqa: B008 (it is frozen)
) -> Dataset:
    """Rate rows once, as columns of numbers, to filter by any threshold.

    Every row is kept, with a column for each item of `by`, and NAME_fault, which says why a number is missing.

    Args:
        model: the model, by name or from `synth.load`; for reward, a sequence classifier with one output.
        source: the rows; of plain texts there is perplexity alone.
        by: one or several of quality, complexity, difficulty, safety (asked of the model, 1 to 5), the file of a
            prompt, perplexity, ifd (how little the prompt helps with the answer, arXiv 2308.12032); or reward, which
            goes alone. Perplexity and ifd are of all that was drawn, thoughts and calls included, the others of what is
            said and called.
        output: where the rows go; an interrupted run there is continued.
        max_tokens: most tokens of a reply, where the model is asked.
        prompt_column: the column with the prompt, if it is not recognised.
        reference_column: the column with the answer, likewise.
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
        UsageError: something is wrong with the settings or the rows; no model was loaded.
        RunError: the run broke off; what was finished is kept.
        Stopped: a person stopped it.
    """
    aspects = several(by)
    if "reward" in aspects and aspects != ("reward",):
        raise UsageError("`by` reward goes alone: `model` is a reward model then")
    settings = None if "reward" in aspects else RateSettings(aspects, max_tokens)
    place = output_at(output, restart=restart, shard=shard)
    missing: Counter[str] = Counter()
    with ExitStack() as stack:
        opened = stack.enter_context(used(model))
        if settings is not None and settings.measured:
            measures = opened.that_scores(f"`by` {settings.measured[0]}")
            opened = opened if measures is opened else stack.enter_context(measures)
        prompts = read_prompts(
            stack.enter_context(source_at(source)),
            progress,
            prompt_column=prompt_column,
            reference_column=reference_column,
            limit=limit,
            texts=True,
        )
        check_rows(prompts, aspects, COLUMNS if settings is None else settings.columns)
        if settings is None:
            record = rate_rewards(opened, prompts, place, missing, progress=progress)
        else:
            record = _rate(opened, settings, prompts, place, missing, progress)
    for name, count in (+missing).items():
        progress.say(f"{count:,} rows have no {name}: {name}_fault says why")
    return Dataset.of(place, record)


def _rate(
    model: Model, settings: RateSettings, prompts: PromptSet, place: Output, missing: Counter[str], progress: Progress
) -> RunRecord:
    answered = prompts.answered(settings.columns)
    job = Job(
        command="rate",
        settings=settings.record() | {"input": prompts.fingerprint},
        method=lambda roles: method(roles.chat_model, settings, missing),
        rows=lambda *_: answered,
        schema=prompts.schema(settings.columns),
        prompts=prompts,
        answers=False,
    )
    return generate(job, Roles({"model": model}), place, progress=progress)
