"""Built-in rejection: each reason from a completion that has it, and none from one that has not."""

from typing import Literal

import pytest

from synth.chat.format import ChatFormat
from synth.engines.base import Completion
from synth.generation.screen import answer_fault, question_fault, repetitive


def drawn(text: str, finish: Literal["stop", "length"] = "stop") -> Completion:
    return Completion(tuple(text.encode()), text, finish)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("Why", "too short"),
        ("2+2?", None),
        ("为什么天是蓝的?", None),
        ("What is the capital of Kenya?\nAnswer: Nairobi", "runs into an answer"),
        ("What is the capital of Kenya?\n\n**Answer:** Nairobi", "runs into an answer"),
        ("What is it?\nAssistant: I think", "runs into an answer"),
        ("Please mark my answer: 12.", None),
        ("What is 2 + 2?<|assistant|>4", "template debris: <|assistant|>"),
        ("What is \ufffd here?", "broken text"),
        ("Tell me a story about " + "a dog and " * 30, "repetition"),
    ],
)
def test_question(text: str, fault: str | None, chat: ChatFormat) -> None:
    assert question_fault(drawn(text), chat) == fault


def test_cut_off(chat: ChatFormat) -> None:
    assert answer_fault(drawn("An answer that", "length"), chat) == "cut off"
    assert answer_fault(drawn("An answer."), chat) is None


def test_answers_may_be_short_and_may_name_answers(chat: ChatFormat) -> None:
    assert answer_fault(drawn("4"), chat) is None
    assert answer_fault(drawn("Answer: 4"), chat) is None


def test_repetition_counts_distinct_4_grams() -> None:
    assert not repetitive(tuple(range(200)))
    assert not repetitive((1, 2, 3, 4) * 9)  # too short to tell
    assert repetitive((1, 2, 3, 4) * 20)
    varied = tuple(range(100))
    assert not repetitive(varied + varied)  # said twice is not round in circles
