"""`synth.distil`: answers of a stronger model, and what they cost."""

from dataclasses import replace

from synth.api.dataset import Dataset
from synth.api.on_ray import on_ray
from synth.api.places import Place, ShardName, Source, output_at, source_at
from synth.api.roles import VerifierChoice, roles_for
from synth.engines.base import Sampling
from synth.errors import Stopped, UsageError
from synth.generation.inputs import read_prompts
from synth.generation.models import Model, ModelName
from synth.generation.pipeline import generate, prompt_job
from synth.methods.distil import COLUMNS, DistilSettings, Ledger, Prices
from synth.methods.distil import distil as method
from synth.progress import Progress
from synth.values import Count, Limit, NonNegative, Samples, Seed, Temperature, Tokens, TopP, checked


@checked
@on_ray
def distil(
    teacher: Model | ModelName,
    source: Source,
    *,
    output: Place = None,
    verifier: VerifierChoice = None,
    judge: Model | ModelName | None = None,
    judge_prompt: str = "judge",
    samples: Samples = 1,
    price_in: NonNegative | None = None,
    price_out: NonNegative | None = None,
    most: NonNegative | None = None,
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
    """Let a stronger model answer prompts, and count the cost (Kim and Rush 2016, arXiv 1606.07947).

    Every distinct usable answer (and right, with a verifier) becomes a row.

    Args:
        teacher: the stronger model that answers, by name or from `synth.load`.
        source: the prompts.
        output: where the rows go; an interrupted run there is continued.
        verifier: what judges answers; by default what all rows name, as known benchmarks do, or none.
        judge: another model that judges, where `verifier` is judge.
        judge_prompt: the file of a prompt of your own, where `verifier` is judge.
        samples: answers drawn for each prompt.
        price_in: price of a million input tokens of the teacher, in any currency.
        price_out: price of a million output tokens.
        most: stop before the answers cost more than this, all calls that went on with the run together.
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
        UsageError: something is wrong with the settings or the prompts; no model was loaded.
        RunError: the run broke off; what was finished is kept.
        Stopped: a person stopped it, or the budget; with a larger one the same call goes on.
    """
    settings = DistilSettings(
        seed=seed, samples=samples, sampling=Sampling(max_tokens=max_tokens, temperature=temperature, top_p=top_p)
    )
    priced = price_in is not None or price_out is not None
    prices = Prices(price_in or 0.0, price_out or 0.0) if priced else None
    ledger = Ledger(prices, most)
    place = output_at(output, restart=restart, shard=shard)
    with source_at(source) as name:
        prompts = read_prompts(
            name, progress, prompt_column=prompt_column, reference_column=reference_column, limit=limit
        )
        with roles_for(teacher, prompts, verifier, judge=judge, judge_prompt=judge_prompt, required=False) as roles:
            if prices is not None and roles.has_judge and judge is None:
                raise UsageError(
                    "the teacher's tokens as a judge are not counted: with prices, name another model as `judge`"
                )
            job = prompt_job(
                "distil",
                prompts,
                COLUMNS,
                settings.record(),
                lambda open_roles: method(open_roles.chat_model, open_roles.checks, settings, ledger),
            )
            try:
                record = generate(replace(job, started=ledger.watch), roles, place, progress=progress)
            except Stopped as stopped:
                if not ledger.exhausted:
                    raise
                why = f"the next answers might have cost more than is left of `most` {most:g}"
                raise Stopped(f"{why}; {stopped}") from None
            return Dataset.of(place, record)
