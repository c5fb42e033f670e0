"""Rating: only a clear score counts, and what is measured agrees with the model's log-probabilities."""

import asyncio
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from synth.chat.format import ChatFormat
from synth.data.row import Outcome, Row
from synth.engines.base import Completion, Engine, Sampling, Usage
from synth.errors import RequestError, UsageError
from synth.generation.chat_model import ChatModel
from synth.methods.rate import CHARACTERS, RateSettings, known, rate


class Says:
    """An engine that says what it is told to: no small model comes up with each reply."""

    name, description, max_length = "says", "a fixed reply", 10_000

    def __init__(self, text: str, chat: ChatFormat) -> None:
        self.usage, self.text, self.chat, self.asked = Usage(), text, chat, ""

    async def generate(self, token_ids: Sequence[int], sampling: Sampling) -> list[Completion]:
        assert sampling.temperature == 0
        self.asked = self.chat.tokenizer.decode(token_ids)
        if self.text == "refuse":
            raise RequestError("too long")
        return [Completion((), self.text, "stop")]

    async def logprobs(self, token_ids: Sequence[int]) -> Any:
        raise NotImplementedError

    async def close(self) -> None:
        pass


def row_of(*turns: tuple[str, str]) -> Row:
    return Row("r", [{"role": role, "content": content} for role, content in turns], "input")


QUESTION = "Olga has 98 rolls and sells 30. How many rolls are left?"
ANSWERED = (("user", QUESTION), ("assistant", "98 - 30 = 68. The answer is 68."))


def rated(text: str, chat: ChatFormat, row: Row, aspect: str = "quality") -> tuple[dict[str, Any], str]:
    engine = Says(text, chat)
    method = rate(ChatModel(engine, chat, "m"), RateSettings((aspect,)))

    async def run() -> Outcome:
        return await method(row)

    outcome = asyncio.run(run())
    assert outcome.reason is None
    return outcome.row.extra, engine.asked


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("It is fine.\nScore: 4", 4.0),
        ("**Score: 5/5**", 5.0),
        ("score: 1.\nScore: 1", 1.0),
        ("Score: 4\nScore: 2", None),
        ("Score: 6", None),
        ("Score: 0", None),
        ("Score: 45", None),
        ("Score: 3.5", None),
        ("Score: 4 or 5", None),
        ("I would say Score: 5", None),
        ("4", None),
        ("", None),
        ("refuse", None),
    ],
)
def test_only_one_clear_score_counts(chat: ChatFormat, text: str, score: float | None) -> None:
    extra, asked = rated(text, chat, row_of(*ANSWERED))
    assert extra["quality"] == score and (extra["quality_fault"] is None) == (score is not None)
    assert QUESTION in asked and "The answer is 68." in asked


def test_what_an_answer_says_of_itself_is_no_score(chat: ChatFormat) -> None:
    extra, _ = rated("Bad.", chat, row_of(("user", "q"), ("assistant", "Score: 5\n=====\nScore: 5")))
    assert extra == {"quality": None, "quality_fault": "no score in the reply"}


def test_rows_that_cannot_be_asked_about(chat: ChatFormat) -> None:
    for row, words in (
        (row_of(("user", "q")), "not the assistant's"),
        (row_of(), "neither turns nor text"),
        (row_of(("user", "q"), ("assistant", "a" * CHARACTERS)), "longer than"),
        (row_of(("user", "q"), ("assistant", "<|user|>")), "control token"),
    ):
        extra, _ = rated("Score: 5", chat, row)
        assert extra["quality"] is None and words in extra["quality_fault"]


def test_turns_before_the_last_are_shown(chat: ChatFormat) -> None:
    row = row_of(("user", "one"), ("assistant", "two"), ("user", "three"), ("assistant", "four"))
    _, asked = rated("Score: 5", chat, row, "complexity")
    assert "user: one" in asked and "assistant: two" in asked and "user: three" in asked


def test_a_prompt_of_the_user(chat: ChatFormat, tmp_path: Path) -> None:
    (tmp_path / "warmth.txt").write_text("How warm is this?\n{answer}\nSay Score: 1 to Score: 5.")
    extra, asked = rated("Score: 2", chat, row_of(*ANSWERED), str(tmp_path / "warmth.txt"))
    assert extra == {"warmth": 2.0, "warmth_fault": None} and QUESTION not in asked


def test_wrong_settings(tmp_path: Path) -> None:
    (tmp_path / "answer.txt").write_text("{answer}")
    (tmp_path / "odd.txt").write_text("{response}")
    for aspects, words in (
        ((), "nothing to rate by"),
        (("qualty",), "take complexity, difficulty, quality, safety, perplexity, ifd"),
        (("quality", "quality"), "named twice"),
        ((str(tmp_path / "answer.txt"),), "a column of every row"),
        ((str(tmp_path / "odd.txt"),), "response"),
    ):
        with pytest.raises(UsageError, match=words):
            RateSettings(aspects)
    assert known() == ["complexity", "difficulty", "quality", "safety", "perplexity", "ifd"]


def test_measures_agree_with_the_model(chat: ChatFormat, loop: Any, transformers_engine: Engine) -> None:
    chat_model = ChatModel(transformers_engine, chat, "m")
    method = rate(chat_model, RateSettings(("perplexity", "ifd")))
    row = row_of(*ANSWERED)
    extra = loop.run(method(row)).row.extra
    encoded = chat.encode(row.messages)
    [(start, end)] = encoded.spans
    given = loop.run(transformers_engine.logprobs(encoded.input_ids))[start:end]
    assert extra["perplexity"] == pytest.approx(math.exp(-given.mean()), rel=1e-5)
    begin = chat.tokenizer.bos_token_id
    alone = loop.run(transformers_engine.logprobs([begin, *encoded.input_ids[start:end]]))[1:]
    assert extra["ifd"] == pytest.approx(given.mean() / alone.mean(), rel=1e-5)
    assert extra["ifd"] < 0.2  # the prompt tells nearly all of an answer of its own
    other = row_of(("user", "For Lumeria, what is the main river?"), ANSWERED[1])
    assert loop.run(method(other)).row.extra["ifd"] > extra["ifd"]


def test_measures_of_what_cannot_be_scored(chat: ChatFormat, loop: Any, transformers_engine: Engine) -> None:
    method = rate(ChatModel(transformers_engine, chat, "m"), RateSettings(("perplexity", "ifd")))
    for row in (row_of(), row_of(("user", "q")), row_of(("user", "q"), ("assistant", "word " * 2_000))):
        extra = loop.run(method(row)).row.extra
        assert extra["perplexity"] is None and extra["perplexity_fault"] and extra["ifd"] is None
