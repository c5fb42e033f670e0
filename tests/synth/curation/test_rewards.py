"""Reward models: the numbers are the model's, whatever shares a batch; what cannot be rewarded says why."""

import copy
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

from synth.chat.template import Template
from synth.curation.rewards import COLUMNS, RewardModel, open_reward_model, rewarded
from synth.data.prompts import PromptSet, open_prompts
from synth.data.read import open_rows
from synth.engines.base import EngineOptions
from synth.errors import RunError, UsageError

CPU = EngineOptions(device="cpu")


def save(folder: Path, source: str, **more: Any) -> str:
    """A random classifier with the sample model's tokenizer."""
    torch.manual_seed(0)
    settings = {"num_labels": 1, "max_position_embeddings": 128, "pad_token_id": None} | more
    config = LlamaConfig(
        vocab_size=1024, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, **settings
    )
    LlamaForSequenceClassification(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def reward_model(model: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random reward model on disk."""
    return save(tmp_path_factory.mktemp("reward"), model)


@pytest.fixture(scope="module")
def loaded(reward_model: str) -> RewardModel:
    return open_reward_model(reward_model, CPU)


def tasks_of(folder: Path, *conversations: Sequence[tuple[str, str | None]]) -> PromptSet:
    file = folder / "rows.jsonl"
    lines = [json.dumps({"messages": [{"role": r, "content": c} for r, c in turns]}) for turns in conversations]
    file.write_text("".join(line + "\n" for line in lines))
    return open_prompts(open_rows(str(file)))


def test_rewards_are_those_of_each_row_alone(loaded: RewardModel, tmp_path: Path) -> None:
    turns = [[("user", f"How many are {n}?"), ("assistant", "word " * (n % 20) + f"{n}.")] for n in range(300)]
    [(first, _), (second, _)] = rewarded(loaded, tasks_of(tmp_path, *turns))
    found = first["reward"].to_pylist() + second["reward"].to_pylist()
    for row in (0, 7, 299):
        ids = loaded.encode([{"role": role, "content": content or ""} for role, content in turns[row]])
        with torch.inference_mode():
            alone = loaded.model(input_ids=torch.tensor([ids])).logits.item()
        assert found[row] == pytest.approx(alone, abs=1e-5)
    assert len(set(found)) > 200


def test_a_run_goes_on_with_the_same_numbers(loaded: RewardModel, tmp_path: Path) -> None:
    turns = [[("user", "q"), ("assistant", "word " * (n % 30))] for n in range(300)]
    tasks = tasks_of(tmp_path, *turns)
    [_, (second, _)] = rewarded(loaded, tasks)
    [(again, _)] = rewarded(loaded, tasks, start=256)
    assert again.equals(second)


def test_rows_without_a_reward(loaded: RewardModel, tmp_path: Path) -> None:
    tasks = tasks_of(
        tmp_path,
        [("user", "q")],
        [],
        [("user", "q"), ("assistant", "word " * 500)],
        [("user", ""), ("assistant", "")],
        [("user", "q"), ("assistant", None)],
    )
    [(batch, rejected)] = rewarded(loaded, tasks)
    assert batch.schema == tasks.schema(COLUMNS)
    faults = batch["reward_fault"].to_pylist()
    assert "not the assistant's" in faults[0] and "window holds 128" in faults[1] and faults[2] is None
    assert batch["reward"].is_valid().to_pylist() == [False, False, True]
    assert rejected["reason"].to_pylist() == [
        "no conversation: there is nothing in 'messages'",
        "no content: turn 2 (assistant) has none",
    ]
    assert rejected["reward_fault"].null_count == rejected["reward"].null_count == 2
    assert list(rewarded(loaded, open_prompts(open_rows(str(tmp_path / "rows.jsonl")), limit=0))) == []


LOOKED = {"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"at": "sea"}'}}
CALLS = (
    "{% if tools %}{{ tools | tojson }}\n{% endif %}{% for m in messages %}{{ '<|' + m.role + '|>' + m.content }}"
    "{% for c in m.tool_calls or [] %}{{ '<call>' + (c.function | tojson) + '</call>' }}{% endfor %}"
    "{{ '<|end|>\n' }}{% endfor %}"
)


def test_calls_are_rewarded_and_thoughts_are_not(loaded: RewardModel) -> None:
    question = {"role": "user", "content": "What is there?"}
    said = {"role": "assistant", "content": "Water."}
    assert loaded.encode([question, said | {"reasoning_content": "Hm."}]) == loaded.encode([question, said])
    called: list[dict[str, Any]] = [question, {"role": "assistant", "content": "", "tool_calls": [LOOKED]}]
    with pytest.raises(ValueError, match="the chat template leaves out tool calls"):
        loaded.encode(called)
    tokenizer = copy.deepcopy(loaded.template.tokenizer)
    tokenizer.chat_template = CALLS
    taking = replace(loaded, template=Template(tokenizer))
    tools = json.dumps([{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}])
    text = tokenizer.decode(taking.encode(called, tools))
    assert text.startswith("[{") and '<call>{"name": "look", "arguments": {"at": "sea"}}</call>' in text


def test_no_reward_model(model: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a sequence classifier"):
        open_reward_model(model, CPU)
    with pytest.raises(UsageError, match="3 outputs"):
        open_reward_model(save(tmp_path / "three", model, num_labels=3), CPU)
    with pytest.raises(UsageError, match="no such directory"):
        open_reward_model(str(tmp_path / "nowhere"), CPU)
    plain = Path(save(tmp_path / "plain", model))
    (plain / "chat_template.jinja").unlink()
    with pytest.raises(UsageError, match="no chat template"):
        open_reward_model(str(plain), CPU)
    (plain / "chat_template.jinja").write_text("{% for a in range(99999) %}" * 2 + "{% endfor %}" * 2)
    with pytest.raises(UsageError, match="does not end"):
        open_reward_model(str(plain), CPU)


def test_a_broken_model_is_not_believed(model: str, tmp_path: Path) -> None:
    found = open_reward_model(save(tmp_path / "broken", model), CPU)
    torch.nn.init.constant_(found.model.score.weight, float("nan"))
    with pytest.raises(RunError, match="NaN"):
        found.rewards([[1, 2, 3]])
