"""Thoughts for human answers, by a scripted model, verified by what it answers after them alone."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from synth.chat.format import ChatFormat
from synth.data.row import Outcome, Row
from synth.errors import UsageError
from synth.generation.chat_model import ChatModel
from synth.generation.verification import Verifier
from synth.methods.explain import explain
from synth.methods.reason import ReasonSettings
from tests.synth.methods.scripted import Scripted

QUESTION = "What is 3 + 4?"
HUMAN = "Easy: seven, #### 7"


def scripted(chat: ChatFormat, thoughts: Sequence[str], answer: Callable[[str], str]) -> Scripted:
    """An engine that writes thoughts in turn when it is asked for them, and says what a function makes of them."""
    left = list(thoughts)
    return Scripted(chat, lambda prompt, _: left.pop(0) if "Right answer:" in prompt else answer(prompt))


Ask = Callable[..., tuple[Outcome, Scripted]]


def by_the_thoughts(prompt: str) -> str:
    """It answers what the thoughts come to."""
    return f"The answer is {prompt.split('</think>')[0].rsplit('= ', 1)[-1].strip(' .' + chr(10))}."


@pytest.fixture
def ask(loop: Any, verifier: Verifier, hybrid_chat: ChatFormat) -> Ask:
    def run(*thoughts: str, answer: Callable[[str], str] = by_the_thoughts, **given: Any) -> tuple[Outcome, Scripted]:
        chat = given.pop("chat", hybrid_chat)
        engine = scripted(chat, thoughts, answer)
        settings = ReasonSettings(explain=True, samples=len(thoughts), **given)
        row = Row("a", [{"role": "user", "content": QUESTION}], "reason", reference=given.pop("reference", HUMAN))
        return loop.run(explain(ChatModel(engine, chat, "m"), verifier, settings)(row)), engine

    return run


def test_the_human_answer_stays_and_gets_thoughts(ask: Ask) -> None:
    outcome, engine = ask("3 + 4 = 7.")
    assert outcome.reason is None
    assert outcome.row.messages == [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": HUMAN, "reasoning_content": "3 + 4 = 7."},
    ]
    assert (outcome.row.verdict, outcome.row.model, outcome.row.samples) == ("right", "m", 1)
    assert outcome.row.extra["samples_right"] == 1 and outcome.row.extra["tokens"] > 3
    told = {"mode": "thinking", "template_args": '{"enable_thinking": true}'}
    assert outcome.row.extra.items() >= told.items()  # how a trainer renders it
    asked, answered = engine.prompts
    assert HUMAN in asked and QUESTION in asked and asked.endswith("<think>\n\n</think>\n\n")  # without thinking
    # Its answer is drawn from the thoughts alone, as after thoughts of its own.
    assert answered.endswith(f"<|user|>{QUESTION}<|end|><|assistant|><think>\n3 + 4 = 7.\n</think>\n\n")
    assert HUMAN not in answered


def test_thoughts_that_lead_astray_are_dropped(ask: Ask) -> None:
    outcome, _ = ask("3 + 4 = 8.", "4 + 4 = 8.")
    assert outcome.reason == "no thoughts lead to a right answer: of 2 the first are wrong: they lead to 8"
    outcome, _ = ask("3 + 4 = 8.", "Three and four: 3 + 4 = 7.", "3 + 4 = 7.")
    assert outcome.row.messages[-1]["reasoning_content"] == "3 + 4 = 7."  # the shortest right ones
    assert (outcome.row.samples, outcome.row.extra["samples_right"]) == (3, 2)


def test_first_stops_drawing(ask: Ask) -> None:
    outcome, engine = ask("3 + 4 = 8.", "3 + 4 = 7.", "4 + 3 = 7.", select="first")
    assert outcome.row.samples == 2
    assert sum("Right answer:" in prompt for prompt in engine.prompts) == 2  # the third thoughts are never asked for


def test_all_gives_a_row_each(ask: Ask) -> None:
    outcome, _ = ask("3 + 4 = 7.", "4 + 3 = 7.", "3 + 4 = 7.", select="all")
    rows = [outcome.row, *outcome.more]
    assert [row.messages[-1]["reasoning_content"] for row in rows] == ["3 + 4 = 7.", "4 + 3 = 7."]
    assert len({row.id for row in rows}) == 2


@pytest.mark.parametrize(
    ("thoughts", "why"),
    [
        ("The given answer is 7, so 3 + 4 = 7.", "speaks of the answer: given answer"),
        ("The result is known: 3 + 4 = 7.", "speaks of the answer: result is known"),
        ("<think>\n3 + 4 = 7.\n</think>", "thoughts within the answer: <think>"),
        ("3 + 4 = 7 and so on…", "cut off"),
        ("  ", "empty"),
        ("3 + 4 = 7.<|user|>", "template debris: <|user|>"),
    ],
)
def test_what_nobody_would_think_is_dropped(ask: Ask, thoughts: str, why: str) -> None:
    outcome, _ = ask(thoughts)
    assert outcome.reason is not None and outcome.reason.endswith(f"the first are wrong: {why}")


def test_an_answer_that_goes_on_thinking_is_no_answer(ask: Ask) -> None:
    outcome, _ = ask("3 + 4 = 7.", answer=lambda _: "<think>\nOnce more. 7\n</think>\n\n7")
    assert outcome.reason is not None and "opened or closed twice" in outcome.reason


def test_what_cannot_be_explained(ask: Ask, loop: Any, hybrid_chat: ChatFormat, verifier: Verifier) -> None:
    model = ChatModel(scripted(hybrid_chat, [], by_the_thoughts), hybrid_chat, "m")
    method = explain(model, verifier, ReasonSettings(explain=True, samples=1))
    without = loop.run(method(Row("a", [{"role": "user", "content": QUESTION}], "reason")))
    assert without.reason == "no reference: there is no answer to explain"
    with pytest.raises(UsageError, match="`explain` writes thoughts"):
        ReasonSettings(explain=True, search=1)
    with pytest.raises(UsageError, match="`explain` writes thoughts"):
        ReasonSettings(explain=True, step_rollouts=2)


def test_a_model_without_modes_writes_its_thoughts_as_text(ask: Ask, chat: ChatFormat) -> None:
    outcome, engine = ask("3 + 4 = 7.", chat=chat)
    assert outcome.row.messages[-1]["reasoning_content"] == "3 + 4 = 7."
    assert engine.prompts[1].endswith("<|assistant|><think>\n3 + 4 = 7.\n</think>\n\n")
