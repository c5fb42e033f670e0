"""Passages in halves, and what goes on from the first one."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from synth.chat.format import ChatFormat
from synth.data.prompts import PromptSet, open_prompts
from synth.data.read import open_source
from synth.data.row import Outcome
from synth.engines.base import Engine, Sampling
from synth.errors import UsageError
from synth.generation.chat_model import ChatModel
from synth.generation.documents import open_documents
from synth.methods.continuation import COLUMNS, HALVES, LONGEST, ContinuationSettings, continuation, halving
from tests.synth.methods.scripted import always, chat_model

FIRST = "The river Swale rises in the hills of Lumeria. It runs past Leeds, where Otto sells rolls."
SECOND = "In 1984 a flood took the bridge away! Was it built again? Remy says so, and Remy knows it."
OWN = "Each spring the snow melts up there. Then the water is brown, and children throw sticks in it."


def tasks(path: Path, texts: list[str | None], chat: ChatFormat, settings: ContinuationSettings) -> PromptSet:
    file = path / "docs.jsonl"
    file.write_text("\n".join(json.dumps({"text": text, "where": n}) for n, text in enumerate(texts)))
    return open_prompts(open_documents(open_source(str(file)), "text", HALVES, halving(chat.tokenizer, settings)))


def run(loop: Any, tasks: PromptSet, method: Any) -> list[Outcome]:
    async def all_rows() -> list[Outcome]:
        return list(await asyncio.gather(*map(method, tasks.rows("continue", {}, COLUMNS)(0))))

    outcomes: list[Outcome] = loop.run(all_rows())
    return outcomes


def test_the_first_half_is_asked_and_the_second_kept(tmp_path: Path, loop: Any, chat: ChatFormat) -> None:
    asked: list[tuple[str, Sampling]] = []

    def say(prompt: str, sampling: Sampling) -> str:
        asked.append((prompt, sampling))
        return OWN

    settings = ContinuationSettings()
    source = tasks(tmp_path, [f"{FIRST} {SECOND}"], chat, settings)
    [outcome] = run(loop, source, continuation(chat_model(chat, say), settings))
    assert outcome.reason is None
    row = outcome.row
    assert row.messages == [{"role": "user", "content": FIRST}, {"role": "assistant", "content": OWN}]
    assert (row.reference, row.model, row.passthrough) == (SECOND, "scripted", {"passage": 0, "where": 0})
    [(prompt, sampling)] = asked
    second = len(chat.tokenizer(SECOND, add_special_tokens=False)["input_ids"])
    assert FIRST in prompt and SECOND not in prompt and f"{round(0.75 * second)} words" in prompt
    assert sampling.max_tokens == -(-3 * second // 2) and LONGEST == 1.5


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (OWN, None),
        (f"Here is the continuation:\n{OWN}", None),
        ("", "empty"),
        ("It goes on.", "too short: "),
        (FIRST, "copies the first half"),
        (f"{OWN[:30]} {FIRST}", "copies the first half"),
        (SECOND, "recites the second half"),
        ("So it runs. " * 20, "repetition"),
        ("and on without any end " * 40, "cut off"),
        (f"{OWN} I hope this fits.\nLet me know if I should go on!", "ends with a remark"),
        (f"{OWN} <|user|>", "template debris"),
    ],
)
def test_what_is_rejected(tmp_path: Path, loop: Any, chat: ChatFormat, said: str, reason: str | None) -> None:
    settings = ContinuationSettings()
    source = tasks(tmp_path, [f"{FIRST} {SECOND}"], chat, settings)
    [outcome] = run(loop, source, continuation(always(chat, said), settings))
    assert (outcome.reason or "").startswith(reason or "") and (outcome.reason is None) == (reason is None)
    if reason is None:
        assert outcome.row.messages[-1]["content"] == OWN


def test_a_long_continuation_ends_with_its_last_sentence(tmp_path: Path, loop: Any, chat: ChatFormat) -> None:
    settings = ContinuationSettings()
    source = tasks(tmp_path, [f"{FIRST} {SECOND}"], chat, settings)
    more = " ".join(f"Boat {n} has {n * 3} seats." for n in range(30))
    [outcome] = run(loop, source, continuation(always(chat, f"{OWN} {more}"), settings))
    assert outcome.reason is None
    answer = outcome.row.messages[-1]["content"]
    assert answer.startswith(OWN) and answer.endswith("seats.") and len(answer) < len(OWN + more)


def test_the_sample_model_goes_on(tmp_path: Path, loop: Any, chat: ChatFormat, transformers_engine: Engine) -> None:
    settings = ContinuationSettings(passage_tokens=120, sampling=Sampling(max_tokens=100, temperature=1.2))
    texts = [f"{FIRST} {SECOND} {n} " + OWN for n in range(12)]
    odd = ["", None, "short", "w" * 900, "One. Two."]
    source = tasks(tmp_path, [*texts, *odd], chat, settings)
    outcomes = run(loop, source, continuation(ChatModel(transformers_engine, chat, "sample"), settings))
    by_document: dict[int, list[Outcome]] = {}
    for outcome in outcomes:
        by_document.setdefault(outcome.row.passthrough["where"], []).append(outcome)
    assert len(by_document) == len(texts) + len(odd)
    assert [by_document[n][0].reason for n in (12, 13, 14, 16)] == ["empty document"] * 2 + ["passage too short"] * 2
    assert all(outcome.reason == "passage too short" for outcome in by_document[15])
    for outcome in outcomes:
        if outcome.reason is None:
            assert [turn["role"] for turn in outcome.row.messages] == ["user", "assistant"]
            assert outcome.row.extra["tokens"] > 5


def test_settings_that_cannot_work() -> None:
    with pytest.raises(UsageError, match="`passage_tokens` must be at least 48"):
        ContinuationSettings(passage_tokens=20)
