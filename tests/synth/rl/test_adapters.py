"""Rewards as verl, OpenRLHF and verifiers find and call them."""

import asyncio
import importlib
import importlib.util
import inspect
import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from synth import reward_functions

SQUARE = "```python\ndef f(x):\n    return x * x\n```"


def test_verl_loads_and_awaits_it() -> None:
    """As `verl.utils.import_utils` and the naive reward manager of verl 0.9.1 do, with columns that pandas has read."""
    module = importlib.import_module("pkg://synth.reward_functions".removeprefix("pkg://"))
    assert hasattr(module, "number_verl")
    compute_score = partial(module.number_verl)
    assert inspect.iscoroutinefunction(compute_score)

    async def score(solution: str, truth: Any, **extra: Any) -> dict[str, float]:
        given = {"index": 3, "num_turns": None, "rollout_reward_scores": {}, **extra}
        scored: dict[str, float] = await compute_score(
            data_source="sums", solution_str=solution, ground_truth=truth, extra_info=given
        )
        return scored

    assert asyncio.run(score("It is 4", "4")) == {"score": 1.0, "number": 1.0, "unscorable": 0.0}
    assert asyncio.run(score("It is 5", 4)) == {"score": 0.0, "number": 0.0, "unscorable": 0.0}
    assert asyncio.run(score("It is 4", "unknown")) == {"score": 0.0, "number": 0.0, "unscorable": 1.0}
    # Names of arguments of ours are names of columns like any others.
    assert asyncio.run(score("It is 4", "4", prompts="?", completions=np.array([1]), log_extra=1))["score"] == 1.0


@pytest.mark.parametrize(
    ("truth", "extra"),
    [
        (json.dumps({"reference": None, "tests": ["assert f(3) == 9"]}), {}),
        ("", {"tests": np.array(["assert f(3) == 9"], object)}),
        (json.dumps({"inputs": [[3]], "outputs": [9], "fn_name": "f"}), {}),
    ],
)
def test_verl_gives_tests_as_ground_truth_or_beside_it(truth: str, extra: dict[str, Any]) -> None:
    async def score(solution: str) -> float:
        given = {"solution_str": solution, "ground_truth": truth, "extra_info": extra}
        scored: dict[str, float] = await reward_functions.code_verl(data_source="code", **given)
        return scored["score"]

    assert asyncio.run(score(SQUARE)) == 1.0
    assert asyncio.run(score(SQUARE.replace("*", "+"))) == 0.0


def test_openrlhf_loads_the_file_and_calls_it_in_a_thread(tmp_path: Path) -> None:
    """As `openrlhf.utils.agent` of OpenRLHF 0.11.2 does; what it returns goes into tensors."""
    import torch

    file = tmp_path / "reward.py"
    file.write_text("from synth.reward_functions import number_openrlhf as reward_func\n")
    spec = importlib.util.spec_from_file_location("reward_func", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    prompt = "<|im_start|>user\nWhat is 2 + 2?<|im_end|>\n<|im_start|>assistant\n"

    def reward(response: str, label: Any) -> tuple[float, float, float]:
        asked = asyncio.to_thread(module.reward_func, [f"<s>{prompt}{response}"], [prompt], [label])
        found = asyncio.run(_awaited(asked))
        numbers = (found["rewards"], found["scores"], found["extra_logs"]["unscorable"])
        first, second, third = (torch.tensor([number]).item() for number in numbers)
        return first, second, third

    assert reward("It is 4<|im_end|>", "4") == (1.0, 1.0, 0.0)
    assert reward("It is 5<|im_end|>\n", "4") == (0.0, 0.0, 0.0)
    assert reward("It is 4</s>", None) == (0.0, 0.0, 1.0)
    assert reward("It is 4", json.dumps({"reference": "4"})) == (1.0, 1.0, 0.0)
    queries = ["?Yes<|eot_id|>", "?Yes</s>\n<|endoftext|> ", "?" + " " * 500_000 + "Yes"]
    exact = reward_functions.exact_openrlhf(queries, ["?"] * 3, ["Yes", "Yes", "No"])
    assert exact["rewards"].tolist() == [1.0, 1.0, 0.0]
    assert reward_functions.exact_openrlhf(["Yes</s>"], [""], ["Yes"])["rewards"].tolist() == [1.0]


async def _awaited(work: Any) -> Any:
    return await work


def test_verifiers_calls_it_by_the_names_of_its_arguments() -> None:
    """As `verifiers.v1.utils.decorators.invoke` of verifiers 0.4 does."""
    function = reward_functions.number_verifiers
    assert list(inspect.signature(function).parameters) == ["task", "trace"]

    def reward(content: str | None, answer: str | None) -> Any:
        message = {"role": "assistant", "content": content, "reasoning_content": "2 and 2", "tool_calls": None}
        task = SimpleNamespace(model_dump=lambda: {"idx": 0, "prompt": "What is 2 + 2?", "answer": answer})
        reply = SimpleNamespace(model_dump=lambda: message)
        trace = SimpleNamespace(root_reply=None, last_reply=content or "", assistant_messages=[reply])
        return asyncio.run(function(task=task, trace=trace))

    assert reward("It is 4", "4") == 1.0
    assert reward("It is 5", "4") == 0.0
    assert reward(None, "4") == 0.0  # cut off in its thoughts
    assert reward("It is 4", None) == {}  # recorded as not scored


def test_verifiers_itself_takes_it_by_import_path() -> None:
    vf = pytest.importorskip("verifiers.v1")
    config = vf.TaskConfig(rewards={"right": {"fn": "synth.reward_functions:number_verifiers", "weight": 2.0}})
    data = type("Data", (vf.TaskData,), {"__annotations__": {"answer": str | None}})

    async def rewards(answer: str | None) -> dict[str, Any]:
        task = vf.Task[data](data(prompt="What is 2 + 2?", answer=answer), config)
        asked = vf.MessageNode(message=vf.UserMessage(content="What is 2 + 2?"))
        said = vf.MessageNode(parent=0, message=vf.AssistantMessage(content="It is 4"), sampled=True)
        recorded = {"type": "Task", "data": task.data.model_dump()}
        trace = vf.Trace(task=recorded, agent={"config": {}}, nodes=[asked, said])
        await task.score(trace)
        return {name: reward and reward.value for name, reward in trace.rewards.items()}

    assert asyncio.run(rewards("4")) == {"right": 2.0}
    assert asyncio.run(rewards("5")) == {"right": 0.0}
    assert asyncio.run(rewards(None)) == {}
