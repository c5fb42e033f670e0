"""`synth.paraphrase`: human answers, restated by the model in its own words."""

from synth.api.dataset import Dataset
from synth.api.on_ray import on_ray
from synth.api.places import Place, ShardName, Source, output_at, source_at
from synth.api.roles import VerifierChoice, roles_for
from synth.engines.base import Sampling
from synth.generation.inputs import need_references, read_prompts
from synth.generation.models import Model, ModelName
from synth.generation.pipeline import generate, prompt_job
from synth.methods.paraphrase import COLUMNS, ParaphraseSettings, style_name
from synth.methods.paraphrase import paraphrase as method
from synth.progress import Progress
from synth.values import Count, Limit, Samples, Seed, Temperature, Tokens, TopP, checked


@checked
@on_ray
def paraphrase(
    model: Model | ModelName,
    source: Source,
    *,
    output: Place = None,
    verifier: VerifierChoice = None,
    judge: Model | ModelName | None = None,
    judge_prompt: str = "judge",
    style: str = "paraphrase",
    tries: Samples = 2,
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
    """Let the model restate the human answers in its own words (SDFT, Yang et al. 2024, arXiv 2402.13669).

    A restatement is taken only if it does not talk about restating and, with a verifier, if its answer is still right;
    else the human answer is kept, as a row of method `gold` whose `note` says why.

    Args:
        model: the model, by name or from `synth.load`.
        source: questions with human answers.
        output: where the rows go; an interrupted run there is continued.
        verifier: what judges answers; by default what all rows name, as known benchmarks do, or none.
        judge: another model that judges, where `verifier` is judge.
        judge_prompt: the file of a prompt of your own, where `verifier` is judge.
        style: one of paraphrase (own words), step-by-step, detailed, concise, or the file of a prompt with {question}
            and {reference}.
        tries: restatements drawn before the original is kept.
        seed: decides every draw of the run.
        temperature: of the restatements; 0 is greedy.
        top_p: of the restatements.
        max_tokens: most tokens of a restatement.
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
        UsageError: something is wrong with the settings or the source; no model was loaded.
        RunError: the run broke off; what was finished is kept.
        Stopped: a person stopped it.
    """
    settings = ParaphraseSettings(
        seed=seed,
        style=style_name(style),
        tries=tries,
        sampling=Sampling(max_tokens=max_tokens, temperature=temperature, top_p=top_p),
    )
    place = output_at(output, restart=restart, shard=shard)
    with source_at(source) as name:
        prompts = read_prompts(
            name, progress, prompt_column=prompt_column, reference_column=reference_column, limit=limit
        )
        need_references(prompts, "there is nothing else to restate")
        with roles_for(model, prompts, verifier, judge=judge, judge_prompt=judge_prompt, required=False) as roles:
            job = prompt_job(
                "paraphrase",
                prompts,
                COLUMNS,
                settings.record(),
                lambda open_roles: method(open_roles.chat_model, open_roles.checks, settings),
            )
            return Dataset.of(place, generate(job, roles, place, progress=progress))
