"""The shipped hybrid model: it thinks or answers at once as it is told, and thinking helps it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from samples import skills
from samples.building.data import ASSISTANT, SPECIAL, Turn, encode
from samples.building.hybrid import EXPLAIN, NO_THOUGHTS, STAGE, THINK, conversation
from samples.building.measuring import switch

MODEL = Path(__file__).resolve().parents[2] / "samples" / "hybrid"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """So small a model gains nothing from a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(MODEL)


def messages_of(turns: list[Turn]) -> list[dict[str, str]]:
    """Turns of training as messages, thoughts apart."""
    messages = []
    for turn in turns:
        role = SPECIAL[turn.role].strip("<|>")
        thoughts, _, said = turn.text.rpartition("\n</think>\n\n")
        message = {"role": role, "content": said}
        if thoughts:
            message["reasoning_content"] = thoughts.removeprefix("<think>\n")
        messages.append(message)
    return messages


def test_the_model_fits_beside_the_other() -> None:
    assert sum(file.stat().st_size for file in MODEL.iterdir()) < 4.1e6


def test_training_wrote_what_the_template_writes(tokenizer: Any) -> None:
    """And the prompt of either mode is the start of it, tokens and all."""
    rng = random.Random(5)
    seen = set()
    for _ in range(150):
        turns = conversation(rng, STAGE)
        ids, weights = encode(turns, tokenizer.backend_tokenizer)
        messages = messages_of(turns)
        assert tokenizer.apply_chat_template(messages, return_dict=False) == ids
        thinking = "reasoning_content" in messages[-1]
        prompt = tokenizer.apply_chat_template(
            messages[:-1], add_generation_prompt=True, enable_thinking=thinking, return_dict=False
        )
        assert ids[: len(prompt)] == prompt
        # What is drawn after the prompt is learnt, and no other answer is.
        answered = [at for at, number in enumerate(ids) if number == ASSISTANT]
        assert all(weight == 1 for weight in weights[len(prompt) :])
        assert not any(weights[answered[-1] + 1 : len(prompt)])
        seen.add((thinking, len(answered)))
    assert seen == {(True, 1), (True, 2), (False, 1), (False, 2)}


def test_thoughts_of_earlier_turns_are_not_shown_again(tokenizer: Any) -> None:
    first = {"role": "assistant", "content": "3", "reasoning_content": "1 + 2 = 3."}
    asked = [{"role": "user", "content": "1 + 2?"}, first, {"role": "user", "content": "Thanks!"}]
    written = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    assert "1 + 2 = 3" not in written and written.endswith(f"<|assistant|>{NO_THOUGHTS}")
    in_text = tokenizer.apply_chat_template(
        [asked[0], {"role": "assistant", "content": "<think>\n1 + 2 = 3.\n</think>\n\n3"}], tokenize=False
    )
    assert in_text == tokenizer.apply_chat_template(asked[:2], tokenize=False)


@pytest.mark.parametrize("name", skills.HYBRID)
def test_thoughts_lead_to_the_answer(name: str) -> None:
    """They are one line, hold no marker, and in sums end at the result."""
    rng = random.Random(2)
    skill = skills.HYBRID[name]
    assert isinstance(skill, skills.Skill)
    for _ in range(50):
        item = skill.item(rng)
        thoughts = skills.thoughts_for(item)
        assert thoughts and "\n" not in thoughts and "think>" not in thoughts
        if name == "totals":
            steps = skills.steps_of(thoughts)
            assert f"The answer is {steps[-1][3]}." == item.answer
            assert all(eval(f"{a} {op} {b}") == r for a, op, b, r in steps)


def test_splits_are_disjoint() -> None:
    rng = random.Random(0)
    trained = {turn.text for _ in range(2000) for turn in conversation(rng, STAGE)}
    assert any(EXPLAIN not in text and THINK in text for text in trained)
    for name in skills.HYBRID:
        assert not {prompt for part in ("dev", "test") for prompt, _ in skills.suite(name, part, 20)} & trained


def test_it_obeys_the_switch_and_thinking_helps(tokenizer: Any) -> None:
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()
    scores = switch(model, tokenizer, "test", 15)
    assert all(found["obeyed"] >= 95 for found in scores.values()), scores
    easy = [name for name in skills.HYBRID if name != "totals"]
    assert all(found[name] >= 70 for found in scores.values() for name in easy), scores
    assert scores["thinking"]["totals"] >= scores["plain"]["totals"] + 30, scores
