"""`synth.verify`: the answers, or the references, that a data set has: right, wrong or unscorable."""

from synth.api.dataset import Dataset
from synth.api.on_ray import on_ray
from synth.api.places import Place, ShardName, Source, output_at, source_at
from synth.api.roles import VerifierChoice, roles_for
from synth.errors import UsageError
from synth.generation.inputs import read_prompts
from synth.generation.models import Model, ModelName
from synth.generation.pipeline import Job, generate
from synth.methods.verify import COLUMNS, nothing_to_judge
from synth.methods.verify import verify as method
from synth.progress import Progress
from synth.values import Count, Limit, checked


@checked
@on_ray
def verify(
    source: Source,
    *,
    output: Place = None,
    verifier: VerifierChoice = None,
    judge: Model | ModelName | None = None,
    judge_prompt: str = "judge",
    references: bool = False,
    prompt_column: str | None = None,
    reference_column: str | None = None,
    limit: Limit | None = None,
    shard: ShardName | None = None,
    ray: str | None = None,
    actors: Count | None = None,
    restart: bool = False,
    progress: Progress = Progress(),  # noqa: B008 (it is frozen)
) -> Dataset:
    """Judge the answers that a data set has: right, wrong or unscorable.

    Every row comes out, with `verdict`, `answer` (what the verifier read in it) and `verdict_reason`. Answers are the
    last assistant turns; they are checked against `reference`, or against tests, choices or schemas in the row's other
    columns.

    Args:
        source: the rows.
        output: where the rows go; an interrupted run there is continued.
        verifier: what judges; by default what all rows name, as known benchmarks do.
        judge: another model that judges, where `verifier` is judge.
        judge_prompt: the file of a prompt of your own, where `verifier` is judge.
        references: judge the references themselves instead of the answers.
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
        UsageError: something is wrong with the settings, or there is nothing to judge; no model was loaded.
        RunError: the run broke off; what was finished is kept.
        Stopped: a person stopped it.
    """
    place = output_at(output, restart=restart, shard=shard)
    with source_at(source) as name:
        prompts = read_prompts(
            name, progress, prompt_column=prompt_column, reference_column=reference_column, limit=limit
        )
        with roles_for(None, prompts, verifier, judge=judge, judge_prompt=judge_prompt) as roles:
            if fault := nothing_to_judge(prompts, roles.verifier, references=references):
                raise UsageError(fault)
            answered = prompts.answered(COLUMNS)
            job = Job(
                command="verify",
                settings={"references": references, "input": prompts.fingerprint},
                method=lambda open_roles: method(open_roles.verifier, lambda: answered(0), references=references),
                rows=lambda *_: answered,
                schema=prompts.schema(COLUMNS),
                prompts=prompts,
                check_references=False,
            )
            return Dataset.of(place, generate(job, roles, place, progress=progress))
