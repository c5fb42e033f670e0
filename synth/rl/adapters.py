"""Rewards with the signatures that other trainers call: verl, OpenRLHF, environments of verifiers (prime-rl).

None of them has a word for what cannot be judged: its reward is 0, and where something can be logged beside it,
`unscorable` is 1. All but OpenRLHF, which calls in a thread, are given an async function, so that one completion never
waits for another.
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from synth.background import wait_for
from synth.rl.reward import Reward, Scored

COLUMNS = frozenset({"reference", "verifier"})
"""A ground truth or a label that is an object with one of these is the columns of a row, rather than a reference."""

_END = re.compile(r"(?:<\|[\w▁]{1,30}\|>|<｜[\w▁]{1,30}｜>|</s>|<eos>|<end_of_turn>)\Z")
"""A token that ends a turn, which OpenRLHF leaves in its texts."""

VerlReward = Callable[..., Awaitable[dict[str, float]]]
OpenRLHFReward = Callable[[Sequence[str], Sequence[str], Sequence[Any]], dict[str, Any]]
TraceReward = Callable[[Any, Any], Awaitable[float | Mapping[str, float]]]


def for_verl(reward: Reward) -> VerlReward:
    """A reward as verl's `reward.custom_reward_function` (verl 0.9): `compute_score`.

    Columns are those of `extra_info`, with `ground_truth` as the reference; `prompt` among them is the prompt.
    """

    async def compute_score(
        data_source: str, solution_str: str, ground_truth: Any, extra_info: Mapping[str, Any] | None = None, **_: Any
    ) -> dict[str, float]:
        beside = {} if isinstance(ground_truth, str) and not ground_truth else _columns(ground_truth)
        columns = {**(extra_info or {}), **beside}
        scored = await _scored(reward, columns.pop("prompt", ""), solution_str, columns)
        return {"score": scored.rewards[0] or 0.0, **{name: values[0] for name, values in _logs(scored).items()}}

    return compute_score


def for_openrlhf(reward: Reward) -> OpenRLHFReward:
    """A reward as the `reward_func` of a file that OpenRLHF (0.11) is given as `--reward.remote_url FILE.py`.

    A label is the reference, or the JSON text of an object of columns.
    """

    def reward_func(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any]) -> dict[str, Any]:
        import torch

        rows = [_columns(label) for label in labels]
        names = dict.fromkeys(name for row in rows for name in row)
        columns = {name: [row.get(name) for row in rows] for name in names}
        answers = [_after(prompt, query) for prompt, query in zip(prompts, queries, strict=True)]
        scored = wait_for(reward.scored(prompts, answers, None, columns))
        rewards = torch.tensor([value or 0.0 for value in scored.rewards])
        logs = {name: torch.tensor(values) for name, values in _logs(scored).items()}
        return {"rewards": rewards, "scores": rewards.clamp(0, 1), "extra_logs": logs}

    return reward_func


def for_verifiers(reward: Reward) -> TraceReward:
    """A reward as a function of a task's data and a trace, which verifiers (0.4) calls by the names of its arguments.

    By import path in a configuration (`rewards.math.fn`), or in a method marked `@vf.reward`. Nothing is recorded of
    what cannot be judged.
    """

    async def trace_reward(task: Any, trace: Any) -> float | Mapping[str, float]:
        columns = task.model_dump()
        prompt = columns.pop("prompt", None) or ""
        replies = trace.assistant_messages
        completion = trace.last_reply if trace.root_reply is not None or not replies else [replies[-1].model_dump()]
        [value] = (await _scored(reward, prompt, completion, columns)).rewards
        return {} if value is None else value

    return trace_reward


async def _scored(reward: Reward, prompt: Any, completion: Any, columns: Mapping[str, Any]) -> Scored:
    return await reward.scored([prompt], [completion], None, {name: [value] for name, value in columns.items()})


def _logs(scored: Scored) -> dict[str, list[float]]:
    """What is logged of each completion: the same names always, and numbers."""
    parts = {name: [value or 0.0 for value in values] for name, values in scored.values.items()}
    return {**parts, "unscorable": [float(value is None) for value in scored.rewards]}


def _columns(given: Any) -> dict[str, Any]:
    """The columns in a ground truth or a label."""
    value = given
    if isinstance(given, str) and given.lstrip().startswith("{"):
        try:
            value = json.loads(given)
        except (ValueError, RecursionError):
            value = given
    if isinstance(value, Mapping) and COLUMNS & value.keys():
        return dict(value)
    if isinstance(value, Mapping) and {"inputs", "outputs"} <= value.keys():
        return {"input_output": value}
    return {"reference": given}


def _after(prompt: str, query: str) -> str:
    """The response in a query, which is the prompt and it, without the tokens that end it."""
    _, found, response = query.partition(prompt) if prompt else ("", "", query)
    response = (response if found else query).rstrip()
    while end := _END.search(response, max(0, len(response) - 64)):
        response = response[: end.start()].rstrip()
    return response
