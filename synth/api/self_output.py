"""`synth.self_output`: tasks with human answers, answered by the model itself."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from filters.verdict import VerifierSettings
from filters.verifiers.registry import entry_of
from synth.api.dataset import Dataset
from synth.api.models import used
from synth.api.on_ray import on_ray
from synth.api.places import Place, ShardName, Source, output_at, several, source_at
from synth.api.roles import VerifierChoice, roles_for
from synth.engines.base import Sampling
from synth.errors import UsageError
from synth.generation.inputs import NO_VERIFIER, read_prompts
from synth.generation.models import Model, ModelName
from synth.generation.pipeline import generate, prompt_job
from synth.methods.few_shot import demonstrations
from synth.methods.minimum_change import MinimumChangeSettings
from synth.methods.paraphrase import ParaphraseSettings
from synth.methods.self_output import COLUMNS, SelfOutputSettings
from synth.methods.self_output import self_output as method
from synth.progress import Progress
from synth.values import Count, CountFromZero, Limit, Samples, Seed, Temperature, Tokens, TopP, checked


@checked
@on_ray
def self_output(
    model: Model | ModelName,
    source: Source,
    *,
    output: Place = None,
    verifier: VerifierChoice = None,
    judge: Model | ModelName | None = None,
    judge_prompt: str = "judge",
    samples: Samples = 8,
    select: str = "first",
    fallback: str | Sequence[str] = ("drop",),
    pairs: bool = False,
    few_shot: CountFromZero = 0,
    answer_model: Model | ModelName | None = None,
    seed: Seed = 0,
    temperature: Temperature = 0.7,
    top_p: TopP = 0.95,
    top_k: CountFromZero = 0,
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
    """Turn tasks with human answers into data in the model's own words: its own answers, verified.

    Args:
        model: the model, by name or from `synth.load`.
        source: the tasks.
        output: where the rows go; an interrupted run there is continued.
        verifier: what judges answers; by default what all rows name, as known benchmarks do. "none" takes answers as
            they come, right or not, as a baseline (arXiv 2604.01193): their verdict is "unverified". Left out are
            those that are none: empty, cut off, repetitive.
        judge: another model that judges, where `verifier` is judge.
        judge_prompt: the file of a prompt of your own, where `verifier` is judge.
        samples: answers drawn for each task, at most.
        select: which right answer is taken, or, with `verifier` none, which of all: first (stops drawing at it),
            lowest-perplexity, highest-perplexity, shortest, longest, random (by the seed), or all of them.
        fallback: what is tried, in this order, for tasks with no right answer: paraphrase, minimum-change, gold, drop.
        pairs: also write preference pairs, right against wrong, to pairs/.
        few_shot: demonstrations from the data before each task.
        answer_model: another model answers; fallbacks stay with `model`.
        seed: decides every draw of the run.
        temperature: of the answers; 0 is greedy.
        top_p: of the answers.
        top_k: likeliest tokens that are drawn from; 0 is all.
        max_tokens: most tokens of an answer.
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
        UsageError: something is wrong with the settings or the tasks; no model was loaded.
        RunError: the run broke off; what was finished is kept.
        Stopped: a person stopped it.
    """
    sampling = Sampling(max_tokens=max_tokens, temperature=temperature, top_p=top_p, top_k=top_k or None)
    settings = SelfOutputSettings(
        seed=seed,
        samples=samples,
        select=select,
        fallback=several(fallback),
        pairs=pairs,
        sampling=sampling,
        paraphrase=ParaphraseSettings(seed=seed, sampling=sampling),
        minimum_change=MinimumChangeSettings(seed=seed, sampling=sampling),
    )
    place = output_at(output, restart=restart, shard=shard)
    if pairs and place.path is None:
        raise UsageError("`pairs` writes a second table beside the rows: give `output` DIR or FILE")
    if answer_model and "minimum-change" in settings.fallback:
        raise UsageError("`fallback` minimum-change mends the model's own answers; with `answer_model` there are none")
    alone = answer_model if "paraphrase" not in settings.fallback else None  # nothing is left for the model to do then
    with source_at(source) as name, used(model, instead=alone) as main:
        prompts = read_prompts(
            name, progress, prompt_column=prompt_column, reference_column=reference_column, limit=limit
        )
        answers = None if alone else answer_model
        judging: dict[str, Any] = {"judge": judge, "judge_prompt": judge_prompt, "unverified": True}
        with roles_for(main, prompts, verifier, **judging, answers=answers) as roles:
            refuse_verifier(roles.verifier, settings)
            shots = demonstrations(prompts.rows("self-output", {}, COLUMNS)(0), few_shot, seed)
            job = prompt_job(
                "self-output",
                prompts,
                COLUMNS,
                settings.record() | {"few_shot": few_shot} | ({} if roles.verifier else {"verifier": NO_VERIFIER}),
                lambda open_roles: method(
                    open_roles.role("answers"),
                    open_roles.verifier if roles.verifier else None,
                    settings,
                    editor=open_roles.chat_model,
                    demonstrations=shots,
                ),
            )
            scored = replace(roles, scores="minimum-change" in settings.fallback)
            return Dataset.of(place, generate(job, scored, place, progress=progress))


def refuse_verifier(verifier: VerifierSettings | None, settings: SelfOutputSettings) -> None:
    """Refuse settings that do not go with a verifier, or with none.

    Raises:
        UsageError: they do not.
    """
    if verifier is None and settings.pairs:
        raise UsageError("`pairs` are of right and wrong answers, which `verifier` none does not tell")
    if settings.fallback == ("drop",):
        return
    if verifier is None:
        raise UsageError("`verifier` none finds no task without a right answer: it goes with `fallback` drop")
    if entry_of(verifier.name).votes:
        raise UsageError(f"`verifier` {verifier.name} judges samples only together: it goes with `fallback` drop")
