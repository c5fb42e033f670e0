"""The shipped sample model: it loads as any chat model does, and it knows what its README says."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from samples import skills
from samples.building.data import ASSISTANT, SPECIAL, STAGES, SYSTEM, USER, Turn, conversation, encode
from samples.building.measuring import accuracy, answers, asked

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "samples" / "model"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """So small a model gains nothing from a second thread, and two that wait for each other may lose a lot."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(MODEL)


@pytest.fixture(scope="module")
def model() -> Any:
    return AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()


def test_files_stay_small() -> None:
    files = [f for f in (ROOT / "samples").rglob("*") if f.is_file() and "__pycache__" not in f.parts]
    assert sum(f.stat().st_size for f in files) < 12 * 2**20


def test_model_is_a_small_llama_that_ends_turns(model: Any, tokenizer: Any) -> None:
    config = json.loads((MODEL / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["head_dim"] == 32
    assert config["tie_word_embeddings"] is True
    assert 1.4e6 < sum(p.numel() for p in model.parameters()) < 3e6
    assert model.generation_config.eos_token_id == tokenizer.convert_tokens_to_ids("<|end|>")
    assert set(SPECIAL) == set(tokenizer.all_special_tokens)


@pytest.mark.parametrize("text", ["12 + 345", "naïve café ☃ 漢字 \x00\x7f\t\n  x", bytes(range(256)).decode("latin-1")])
def test_any_text_survives_the_tokenizer(tokenizer: Any, text: str) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids) == text
    digits = [t for t in tokenizer.convert_ids_to_tokens(ids) if any(c in "0123456789" for c in t)]
    assert all(len(t) == 1 for t in digits)


def test_template_writes_what_training_wrote(tokenizer: Any) -> None:
    turns = [
        Turn(SYSTEM, "Topic: sums", 0.0),
        Turn(USER, "What is 2 + 3?", 0.5),
        Turn(ASSISTANT, "2 + 3 = 5. The answer is 5.", 1.0),
        Turn(USER, "Thanks!", 0.5),
    ]
    messages = [{"role": SPECIAL[t.role].strip("<|>"), "content": t.text} for t in turns]
    ids, weights = encode(turns, tokenizer.backend_tokenizer)
    assert tokenizer.apply_chat_template(messages, return_dict=False) == ids
    assert len(ids) == len(weights)
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert rendered == (
        "<bos><|system|>Topic: sums<|end|><|user|>What is 2 + 3?<|end|>"
        "<|assistant|>2 + 3 = 5. The answer is 5.<|end|><|user|>Thanks!<|end|><|assistant|>"
    )
    assert tokenizer.decode(ids) == rendered.removesuffix("<|assistant|>")


@pytest.mark.parametrize("name", skills.SKILLS)
def test_gold_answers_pass_their_own_check(name: str) -> None:
    rng = random.Random(7)
    others = [skills.make(other, rng, "train")[1] for other in skills.OLD if other != name for _ in range(3)]
    for _ in range(20):
        prompt, answer = skills.make(name, rng, "test")
        assert skills.recognise(prompt) == name
        assert skills.SKILLS[name].check(prompt, answer), (prompt, answer)
        assert not skills.SKILLS[name].check(prompt, "")
        if name not in ("restate", "repair"):
            assert not skills.SKILLS[name].check(prompt, rng.choice(others) + " 123456"), prompt


@pytest.mark.parametrize("style", ["own", "natural", "alien"])
def test_human_styles_keep_the_answer(style: str) -> None:
    rng = random.Random(3)
    for _ in range(100):
        item = skills.two_step.item(rng)
        text = skills.human_answer(rng, item.answer, style)
        assert skills.two_step.check(item.prompt, text)
        assert skills.steps_of(text) == skills.steps_of(item.answer)


def test_code_check_runs_the_program() -> None:
    prompt = "Write a Python function get_it(n) that adds 3 to n."
    right = "def get_it(n):\n    total = n + 3\n    return total"
    assert skills.code.check(prompt, right)
    for wrong in (
        "def get_it(n):\n    return n",
        "def other(n):\n    return n + 3",
        "def get_it(n)",
        "import sys; sys.exit(0)",
    ):
        assert not skills.code.check(prompt, wrong)
    assert skills.run_function("while True: pass", "f", "number", seconds=0.5) is None


def test_splits_are_disjoint() -> None:
    rng = random.Random(0)
    trained = {t.text for _ in range(3000) for t in conversation(rng, STAGES[0])}
    for name in skills.SKILLS:
        held_out = {p for part in ("dev", "test") for p, _ in skills.suite(name, part, 20)}
        assert not held_out & trained
        assert len(held_out) == 40


def test_held_out_questions_are_answered(model: Any, tokenizer: Any) -> None:
    scores = accuracy(model, tokenizer, "test", 15)
    assert all(scores[name] >= 80 for name in skills.OLD), scores
    assert scores["two_step"] < 95, "the new skill should leave room to learn"


def test_no_questions_have_no_answers(model: Any, tokenizer: Any) -> None:
    """A model that is hardly trained asks itself nothing that could be read."""
    assert answers(model, tokenizer, []) == []


def test_the_model_asks_questions(model: Any, tokenizer: Any) -> None:
    torch.manual_seed(0)
    questions = asked(model, tokenizer, 64)
    assert sum(q is not None for q in questions) >= 60
    kinds = [skills.recognise(q) for q in questions if q]
    assert sum(k is not None for k in kinds) >= 50
    assert len(set(kinds)) >= 6
