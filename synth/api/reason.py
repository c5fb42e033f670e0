"""`synth.reason`: reasoning traces of the model's own that end in a right answer."""

from filters.verifiers.registry import entry_of
from synth.api.dataset import Dataset
from synth.api.on_ray import on_ray
from synth.api.places import Place, ShardName, Source, output_at, source_at
from synth.api.roles import VerifierChoice, roles_for
from synth.engines.base import Sampling
from synth.errors import UsageError
from synth.generation.inputs import read_prompts
from synth.generation.models import Model, ModelName
from synth.generation.pipeline import generate, prompt_job
from synth.methods.explain import COLUMNS as EXPLAINED
from synth.methods.explain import explain as explaining
from synth.methods.reason import COLUMNS, ReasonSettings
from synth.methods.reason import reason as method
from synth.methods.thoughts import Markers
from synth.progress import Progress
from synth.values import Count, CountFromZero, Fraction, Limit, Samples, Seed, Temperature, Tokens, TopP, checked


@checked
@on_ray
def reason(
    model: Model | ModelName,
    source: Source,
    *,
    output: Place = None,
    verifier: VerifierChoice = None,
    judge: Model | ModelName | None = None,
    judge_prompt: str = "judge",
    samples: Samples = 8,
    select: str = "shortest",
    length_limit: str | int | None = None,
    think_open: str = "<think>",
    think_close: str = "</think>",
    search: CountFromZero = 0,
    step_rollouts: CountFromZero = 0,
    step_unit: str = "line",
    min_step_value: Fraction | None = None,
    explain: bool = False,
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
    """Let the model reason its way to right answers: its own chains of thought.

    Only the answer after the thoughts is verified; traces whose thoughts have no end are dropped. By default the
    shortest right trace is taken (arXiv 2502.20122); `search` follows arXiv 2404.03683, `step_rollouts` Math-Shepherd
    (arXiv 2312.08935).

    Args:
        model: the model, by name or from `synth.load`.
        source: the tasks.
        output: where the rows go; an interrupted run there is continued.
        verifier: what judges answers; by default what all rows name, as known benchmarks do.
        judge: another model that judges, where `verifier` is judge.
        judge_prompt: the file of a prompt of your own, where `verifier` is judge.
        samples: traces drawn for each task, at most.
        select: which right trace is taken: shortest, first (stops drawing at it), random, or all of them.
        length_limit: drop right traces that are longer: than the mean of the task's right ones, or than so many tokens.
        think_open: the text that opens thoughts, where the chat template has none of its own.
        think_close: the text that closes them, likewise.
        search: put up to so many wrong attempts before the right one, and turn back from each.
        step_rollouts: value each step by so many completions that go on from it: by the share that end right.
        step_unit: what a step is: `line`, `paragraph` or `sentence`.
        min_step_value: reject traces with a step of a lower value.
        explain: write thoughts for the human answers, which stay: the model sees question and answer, and its thoughts
            are taken if from them alone it comes to a right answer (after arXiv 2203.14465).
        seed: decides every draw of the run.
        temperature: of the traces; 0 is greedy.
        top_p: of the traces.
        max_tokens: most tokens of a trace.
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
    settings = ReasonSettings(
        seed=seed,
        samples=samples,
        select=select,
        length_limit=None if length_limit is None else str(length_limit),
        markers=Markers(think_open, think_close),
        search=search,
        step_rollouts=step_rollouts,
        step_unit=step_unit,
        min_step_value=min_step_value,
        explain=explain,
        sampling=Sampling(max_tokens=max_tokens, temperature=temperature, top_p=top_p),
    )
    place = output_at(output, restart=restart, shard=shard)
    with source_at(source) as name:
        prompts = read_prompts(
            name, progress, prompt_column=prompt_column, reference_column=reference_column, limit=limit
        )
        with roles_for(model, prompts, verifier, judge=judge, judge_prompt=judge_prompt) as roles:
            if roles.verifier and entry_of(roles.verifier.name).votes and (search or step_rollouts or explain):
                alone = "`search`, `step_rollouts` and `explain`"
                raise UsageError(
                    f"`verifier` {roles.verifier.name} judges samples only together: it goes without {alone}"
                )
            complete, columns = (explaining, EXPLAINED) if explain else (method, COLUMNS)
            job = prompt_job(
                "reason",
                prompts,
                columns,
                settings.record(),
                lambda open_roles: complete(open_roles.chat_model, open_roles.verifier, settings),
            )
            return Dataset.of(place, generate(job, roles, place, progress=progress))
