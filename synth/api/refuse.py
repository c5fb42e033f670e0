"""`synth.refuse`: safety rehearsal, the model's own refusals of harmful prompts."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from filters.verdict import VerifierSettings
from synth.api.dataset import Dataset
from synth.api.models import used
from synth.api.on_ray import on_ray
from synth.api.places import Place, ShardName, Source, output_at, source_at, sources_of
from synth.engines.base import Sampling
from synth.generation.inputs import prompts_of
from synth.generation.models import Model, ModelName
from synth.generation.pipeline import generate, prompt_job
from synth.generation.roles import Roles
from synth.methods.refuse import COLUMNS, RefuseSettings, open_labelled
from synth.methods.refuse import refuse as method
from synth.progress import Progress
from synth.values import Count, Limit, Samples, Seed, Temperature, Tokens, TopP, checked


@checked
@on_ray
def refuse(
    model: Model | ModelName,
    sources: Source | Sequence[Source],
    *,
    output: Place = None,
    samples: Samples = 4,
    seed: Seed = 0,
    temperature: Temperature = 0.7,
    top_p: TopP = 0.95,
    max_tokens: Tokens = 2048,
    prompt_column: str | None = None,
    limit: Limit | None = None,
    shard: ShardName | None = None,
    ray: str | None = None,
    actors: Count | None = None,
    restart: bool = False,
    progress: Progress = Progress(),  # noqa: B008 (it is frozen)
) -> Dataset:
    """Safety rehearsal: a model's own refusals of harmful prompts, and its answers to harmless look-alikes.

    Their column `label` says what is right: unsafe, harmful or refuse; safe, harmless or comply. Without one all
    prompts of a source are taken for harmful.

    Args:
        model: the model, by name or from `synth.load`.
        sources: the prompts, in one place or several.
        output: where the rows go; an interrupted run there is continued.
        samples: answers drawn until one fits, at most.
        seed: decides every draw of the run.
        temperature: of the answers; 0 is greedy.
        top_p: of the answers.
        max_tokens: most tokens of an answer.
        prompt_column: the column with the prompt, if it is not recognised.
        limit: rows of each source to take.
        shard: the part of the run to make, as I/N (1/8 … 8/8), each into a directory of its own; `synth.join` makes
            the one data set of all.
        ray: the address of a Ray cluster whose actors make the rows, block by block, each with an engine of its own:
            HOST:PORT, or "auto" for the one on this machine, which is started where there is none.
        actors: with `ray`, how many; by default one for each GPU, or group of GPUs that one engine takes, and one a
            machine where there are none.
        restart: throw away what an earlier run left in the output.
        progress: is told how it goes.

    Raises:
        UsageError: something is wrong with the settings or the prompts; no model was loaded.
        RunError: the run broke off; what was finished is kept.
        Stopped: a person stopped it.
    """
    settings = RefuseSettings(
        seed=seed,
        samples=samples,
        sampling=Sampling(max_tokens=max_tokens, temperature=temperature, top_p=top_p),
    )
    place = output_at(output, restart=restart, shard=shard)
    with ExitStack() as stack, used(model) as opened:
        names = [stack.enter_context(source_at(source)) for source in sources_of(sources)]
        prompts = prompts_of(open_labelled(names, prompt_column=prompt_column, limit=limit), progress)
        job = prompt_job(
            "refuse",
            prompts,
            COLUMNS,
            settings.record(),
            lambda roles: method(roles.chat_model, roles.verifier, settings),
        )
        job = replace(job, check_references=False, also_read=names)
        roles = Roles({"model": opened}, VerifierSettings("refusal"))
        return Dataset.of(place, generate(job, roles, place, progress=progress))
