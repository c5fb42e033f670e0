"""`synth.run`: a method of a user's own, over the rows of a source."""

from dataclasses import replace

from filters.verdict import VerifierSettings
from filters.verifiers.registry import entry_of
from synth.api.dataset import Dataset
from synth.api.models import used
from synth.api.places import Place, Source, output_at, source_at
from synth.api.roles import roles_for
from synth.engines.base import Sampling
from synth.errors import UsageError
from synth.generation.inputs import read_prompts
from synth.generation.models import Model, ModelName
from synth.generation.pipeline import generate, prompt_job
from synth.methods.own import OwnMethod, own_method, own_settings
from synth.progress import Progress


def run(
    method: str | OwnMethod,
    model: Model | ModelName,
    source: Source,
    *,
    output: Place = None,
    verifier: str | VerifierSettings | None = None,
    judge: Model | ModelName | None = None,
    judge_prompt: str = "judge",
    seed: int = 0,
    temperature: float = 0.7,
    top_p: float = 0.95,
    max_tokens: int = 2048,
    prompt_column: str | None = None,
    reference_column: str | None = None,
    limit: int | None = None,
    restart: bool = False,
    progress: Progress = Progress(),  # noqa: B008 (it is frozen)
) -> Dataset:
    """Run a method of your own: an async function that completes, answers or rejects one row at a time.

    It is called with those of `row`, `model`, `sampling` and `verifier` that it takes, by these names, and returns an
    answer, None to reject the row, or an `Outcome` (`synth.data.row`). Many rows are in flight at once; what a run
    writes depends neither on that nor on how often it was stopped.

    Args:
        method: the function, or its import path as "module:function".
        model: the model, by name or from `synth.load`; the function has it as a `ChatModel`.
        source: the rows.
        output: where the rows go; an interrupted run there is gone on with.
        verifier: judges the answers, of which the right ones stay, unless the function takes it; by default what all
            rows name, as known benchmarks do.
        judge: for the verifier `judge`: another model that judges.
        judge_prompt: for the verifier `judge`: the file of a prompt of your own.
        seed: of the run; `sampling` has one of each row's own, made from it.
        temperature: in `sampling`; 0 is greedy.
        top_p: in `sampling`.
        max_tokens: in `sampling`.
        prompt_column: the column with the prompt, if it is not recognised.
        reference_column: the column with the human answer, likewise.
        limit: rows of the source to take.
        restart: throw away what an earlier run left in the output.
        progress: is told how it goes.

    Raises:
        UsageError: something is wrong with the method, the settings or the rows; no model was loaded.
        RunError: the run broke off, or the function failed; what was finished is kept.
        Stopped: a person stopped it.
    """
    sampling = Sampling(max_tokens=max_tokens, temperature=temperature, top_p=top_p)
    own_settings(method, verifier=True, seed=seed, sampling=sampling)  # refused before the rows are read
    place = output_at(output, restart=restart)
    with source_at(source) as name, used(model) as main:
        prompts = read_prompts(
            name, progress, prompt_column=prompt_column, reference_column=reference_column, limit=limit
        )
        asked = roles_for(main, prompts, verifier, judge=judge, judge_prompt=judge_prompt, required=False)
        with asked as roles:
            settings = own_settings(method, verifier=roles.verifier is not None, seed=seed, sampling=sampling)
            if roles.verifier and entry_of(roles.verifier.name).votes and "verifier" not in settings.taken:
                raise UsageError(
                    f"`verifier` {roles.verifier.name} judges samples only together: a `method` that takes it can do so"
                )
            job = prompt_job(
                "run",
                prompts,
                settings.columns,
                settings.record(),
                lambda open_roles: own_method(open_roles.chat_model, open_roles.checks, settings),
            )
            job = replace(job, rows=lambda recorded, _: prompts.rows(settings.name, recorded, settings.columns))
            return Dataset.of(place, generate(job, roles, place, progress=progress))
