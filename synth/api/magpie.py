"""`synth.magpie`: questions of the model's own, with its answers."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from synth.api.dataset import Dataset
from synth.api.models import used
from synth.api.on_ray import on_ray
from synth.api.places import Place, ShardName, output_at, several
from synth.data.row import BASE, RENDERING
from synth.engines.base import Sampling
from synth.generation.acceptance import Rules
from synth.generation.models import Model, ModelName
from synth.generation.pipeline import Job, generate
from synth.generation.roles import Roles
from synth.generation.tools import open_tools
from synth.methods.magpie import MagpieSettings, System, magpie_rows, system_prompts
from synth.methods.magpie import magpie as method
from synth.progress import Progress
from synth.values import Count, Rows, Seed, Temperature, Tokens, TopP, Turns, checked


@checked
@on_ray
def magpie(
    model: Model | ModelName,
    *,
    rows: Rows,
    output: Place = None,
    turns: Turns = 1,
    system: str | Sequence[System] | None = None,
    domain: str | Sequence[str] = (),
    language: str | None = None,
    tools: str | Sequence[Mapping[str, Any]] | None = None,
    seed: Seed = 0,
    temperature: Temperature = 1.0,
    top_p: TopP = 1.0,
    question_tokens: Tokens = 1024,
    answer_temperature: Temperature = 0.0,
    answer_top_p: TopP = 1.0,
    max_tokens: Tokens = 2048,
    logprob: bool = False,
    shard: ShardName | None = None,
    ray: str | None = None,
    actors: Count | None = None,
    restart: bool = False,
    progress: Progress = Progress(),  # noqa: B008 (it is frozen)
) -> Dataset:
    """Let a chat model ask itself questions and answer them (Xu et al. 2024, arXiv 2406.08464).

    Args:
        model: the model, by name or from `synth.load`.
        rows: rows wanted, after rejection.
        output: where they go; an interrupted run there is continued.
        turns: user turns a conversation has.
        system: the system prompt of the conversations; or @FILE, JSON lines {"text": …, "weight": …} of which one is
            chosen per row, by weight; or a list of such.
        domain: topic the questions are steered to; of several, one is chosen per row.
        language: language the questions are steered to, such as German.
        tools: functions on offer, as a JSON list or JSON lines (from Python also a list of schemas). The model asks
            itself what needs them, and calls them or answers; calls that do not fit are rejected. A conversation ends
            where it calls one, as what a tool gives back cannot be made up.
        seed: decides every draw of the run.
        temperature: for questions.
        top_p: for questions.
        question_tokens: most tokens of a question.
        answer_temperature: for answers; 0 is greedy.
        answer_top_p: for answers.
        max_tokens: most tokens of an answer.
        logprob: record each last answer's log-probability (slower on vLLM).
        shard: the part of the run to make, as I/N (1/8 … 8/8), each into a directory of its own; `synth.join` makes
            the one data set of all.
        ray: the address of a Ray cluster whose actors make the rows, block by block, each with an engine of its own:
            HOST:PORT, or "auto" for the one on this machine, which is started where there is none.
        actors: with `ray`, how many; by default one for each GPU, or group of GPUs that one engine takes, and one a
            machine where there are none.
        restart: throw away what an earlier run left in the output.
        progress: is told how it goes.

    Raises:
        UsageError: something is wrong with the settings; no model was loaded.
        RunError: the run broke off, or too few rows can be used; what was finished is kept.
        Stopped: a person stopped it.
    """
    functions = None if tools is None else open_tools(tools)
    settings = MagpieSettings(
        seed=seed,
        turns=turns,
        system=system_prompts(system),
        domain=several(domain),
        language=language,
        tools=functions,
        question=Sampling(max_tokens=question_tokens, temperature=temperature, top_p=top_p),
        answer=Sampling(max_tokens=max_tokens, temperature=answer_temperature, top_p=answer_top_p, logprob=logprob),
    )
    job = Job(
        command="magpie",
        settings=settings.record(),
        method=lambda roles: method(roles.chat_model, settings),
        rows=magpie_rows,
        schema=pa.schema([*BASE, RENDERING.field("tools")]) if functions else BASE,
        target=rows,
        rules=Rules(unique=True),
    )
    place = output_at(output, restart=restart, shard=shard)
    with used(model) as opened:
        return Dataset.of(place, generate(job, Roles({"model": opened}), place, progress=progress))
