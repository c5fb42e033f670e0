"""`synth.minimum_change`: the model's own answers, corrected with as few changes as possible."""

from dataclasses import replace

from synth.api.dataset import Dataset
from synth.api.on_ray import on_ray
from synth.api.places import Place, ShardName, Source, output_at, source_at
from synth.api.roles import VerifierChoice, roles_for
from synth.engines.base import Sampling
from synth.generation.inputs import need_references, read_prompts
from synth.generation.models import Model, ModelName
from synth.generation.pipeline import generate, prompt_job
from synth.methods.minimum_change import COLUMNS, MinimumChangeSettings
from synth.methods.minimum_change import minimum_change as method
from synth.progress import Progress
from synth.values import Count, CountFromZero, Fraction, Limit, Seed, Temperature, Tokens, TopP, checked


@checked
@on_ray
def minimum_change(
    model: Model | ModelName,
    source: Source,
    *,
    output: Place = None,
    verifier: VerifierChoice = None,
    judge: Model | ModelName | None = None,
    judge_prompt: str = "judge",
    editor: Model | ModelName | None = None,
    prompt: str = "minimum-change",
    floor: Fraction = 0.5,
    retries: CountFromZero = 2,
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
    """Correct the model's own answers with as few changes as possible (arXiv 2402.11192).

    The model answers each task; right answers are kept (method `self-output`). Wrong ones go to an editor, which
    sees the human answer and changes only what is wrong; the corrected answer is verified and must stay similar to the
    model's own.

    Args:
        model: the model, by name or from `synth.load`.
        source: the tasks, with human answers.
        output: where the rows go; an interrupted run there is continued.
        verifier: what judges answers; by default what all rows name, as known benchmarks do.
        judge: another model that judges, where `verifier` is judge.
        judge_prompt: the file of a prompt of your own, where `verifier` is judge.
        editor: the model that corrects wrong answers; by default `model` itself.
        prompt: the file of an editor's prompt of your own, with {question}, {answer} and perhaps {reference}.
        floor: least similarity to the model's answer; 1 is the same.
        retries: further tries of the editor.
        seed: decides every draw of the run.
        temperature: of the answers; 0 is greedy.
        top_p: of the answers.
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
    settings = MinimumChangeSettings(
        seed=seed,
        prompt_name=prompt,
        floor=floor,
        retries=retries,
        sampling=Sampling(max_tokens=max_tokens, temperature=temperature, top_p=top_p),
    )
    place = output_at(output, restart=restart, shard=shard)
    with source_at(source) as name:
        prompts = read_prompts(
            name, progress, prompt_column=prompt_column, reference_column=reference_column, limit=limit
        )
        if "{reference}" in settings.prompt():
            need_references(prompts, "the editor's prompt shows one")
        with roles_for(model, prompts, verifier, judge=judge, judge_prompt=judge_prompt, editor=editor) as roles:
            job = prompt_job(
                "minimum-change",
                prompts,
                COLUMNS,
                settings.record(),
                lambda open_roles: method(
                    open_roles.chat_model, open_roles.role("editor"), open_roles.verifier, settings
                ),
            )
            return Dataset.of(place, generate(job, replace(roles, scores=True), place, progress=progress))
