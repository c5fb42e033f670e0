"""LAMOL: how examples are written, what is learnt of them, and which of a model's own are taken."""

import asyncio
import copy
from typing import Any

import pytest

from synth.chat.format import ChatFormat
from synth.data.row import IGNORED, Message, Outcome, Row
from synth.engines.base import Completion
from synth.errors import UsageError
from synth.methods.lamol import (
    TOKEN,
    LamolSettings,
    example_fault,
    example_format,
    lamol,
    lamol_rows,
)
from synth.methods.lamol_preparing import preparing
from tests.synth.methods.scripted import Scripted

SETTINGS = LamolSettings(tokens=("[sums]", "[lists]"))


def turns(*texts: str) -> list[Message]:
    roles = ["user"] if len(texts) == 1 else ["system", "user"]
    return [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]


def prepared(chat: ChatFormat, messages: list[Message], reference: str | None, **passthrough: Any) -> Outcome:
    method = preparing(chat.tokenizer, SETTINGS)

    async def one() -> Outcome:
        return await method(Row("1", messages, "lamol", reference=reference, passthrough=passthrough))

    return asyncio.run(one())


def test_the_answer_has_labels_and_the_text_is_whole(chat: ChatFormat) -> None:
    outcome = prepared(chat, turns("Be brief. ", " What is 3 plus 4?"), "It is 7.\n")
    assert outcome.reason is None
    extra = outcome.row.extra
    assert extra["text"] == "[sums]\nBe brief.\n\nWhat is 3 plus 4?\n[ANS]\nIt is 7.<|end|>"
    assert chat.tokenizer.decode(extra["input_ids"]) == extra["text"]
    learnt = [label for label in extra["labels"] if label != IGNORED]
    assert chat.tokenizer.decode(learnt) == "It is 7.<|end|>"
    assert extra["labels"][-len(learnt) :] == learnt == extra["input_ids"][-len(learnt) :]
    written = [*turns("What is 3 plus 4?"), {"role": "assistant", "content": "7, I say."}]
    assert prepared(chat, written, "It is 7.").row.extra["text"].endswith("\n[ANS]\n7, I say.<|end|>")
    own = prepared(chat, turns("What?"), "7", input_generation_token="[lists]")
    assert own.row.extra["text"] == "[lists]\nWhat?\n[ANS]\n7<|end|>" and own.row.extra[TOKEN] == "[lists]"


@pytest.mark.parametrize(
    ("messages", "reference", "reason"),
    [
        (turns("q"), None, "not one question with its answer"),
        ([], "a", "not one question with its answer"),
        ([*turns("q"), {"role": "assistant", "content": "a"}, *turns("r")], "a", "not one question with its answer"),
        (turns("  "), "a", "empty question"),
        (turns("q"), " ", "empty answer"),
        (turns("What is [ANS]?"), "a", "holds a token of the format: [ANS]"),
        (turns("q"), "[lists]", "holds a token of the format: [lists]"),
        (turns("<|end|>"), "a", "cannot be written: message 1 (user) holds '<|end|>'"),
    ],
)
def test_rows_that_make_no_example_are_rejected(
    messages: list[Message], reference: str | None, reason: str, chat: ChatFormat
) -> None:
    assert (prepared(chat, messages, reference).reason or "").startswith(reason)


def test_a_token_of_the_data_must_be_known(chat: ChatFormat) -> None:
    outcome = prepared(chat, turns("q"), "a", input_generation_token="[jokes]")
    assert outcome.reason == "a generation token that was not named: [jokes]"


def test_the_tokenizers_own_token_is_written_as_such(chat: ChatFormat) -> None:
    form = example_format(chat.tokenizer, "<bos>", "[ANS]")
    assert form.user_prompt().ids[0] == chat.tokenizer.bos_token_id
    assert form.tokenizer.chat_template is None and chat.tokenizer.chat_template is not None
    endless = copy.deepcopy(chat.tokenizer)
    endless.eos_token = None
    with pytest.raises(UsageError, match="no end-of-sequence token"):
        example_format(endless, "[GEN]", "[ANS]")


@pytest.mark.parametrize(
    ("text", "finish", "reason"),
    [
        ("q?\n[ANS]\na", "stop", None),
        ("q?[ANS]a\n", "stop", None),
        ("q?\n[ANS]\na", "length", "cut off"),
        ("q? a", "stop", "no answer token"),
        ("q?\n[ANS]\na\n[ANS]\nb", "stop", "several answer tokens"),
        ("\n[ANS]\na", "stop", "empty question"),
        ("q?\n[ANS]\n ", "stop", "empty answer"),
        ("q?\n[ANS]\n[lists]\nr?", "stop", "holds a generation token: [lists]"),
        ("q?\n[ANS]\na<|user|>", "stop", "template debris: <|user|>"),
        ("q\ufffd?\n[ANS]\na", "stop", "broken text"),
        ("q?\n[ANS]\n" + "1 2" * 40, "stop", "repetition"),
    ],
)
def test_only_one_question_with_one_answer_is_taken(
    text: str, finish: Any, reason: str | None, chat: ChatFormat
) -> None:
    formats = {token: example_format(chat.tokenizer, token, "[ANS]") for token in SETTINGS.tokens}
    question, *answers = text.split("[ANS]")
    drawn = Completion(tuple(chat.template.token_ids(text)), text, finish)
    assert example_fault(drawn, question, answers, formats) == reason


def test_tasks_take_turns_and_each_draw_has_its_seed(chat: ChatFormat) -> None:
    engine = Scripted(chat, lambda *_: " q?\n[ANS]\na ")
    method = lamol(engine, chat.tokenizer, SETTINGS)
    made = lamol_rows(SETTINGS.tokens)({"seed": 0}, "m")
    rows = [row for _, row in zip(range(6), made(0), strict=False)]

    async def all_rows() -> list[Outcome]:
        return [await method(row) for row in rows]

    outcomes = asyncio.run(all_rows())
    assert [outcome.row.extra[TOKEN] for outcome in outcomes] == ["[sums]", "[lists]"] * 3
    assert all(outcome.reason is None and outcome.row.model == "m" for outcome in outcomes)
    expected = [{"role": "user", "content": "q?"}, {"role": "assistant", "content": "a"}]
    assert outcomes[0].row.messages == expected
    prompts = [chat.tokenizer.decode(ids) for ids, _ in engine.asked]
    assert prompts == ["[sums]\n", "[lists]\n"] * 3
    drawn = [sampling for _, sampling in engine.asked]
    assert len({sampling.seed for sampling in drawn}) == 6
    assert {(sampling.top_k, sampling.temperature, sampling.stop_ids[0]) for sampling in drawn} == {
        (20, 1.0, chat.tokenizer.eos_token_id)
    }
    assert [row.id for row in rows[4:]] == [row.id for _, row in zip(range(2), made(4), strict=False)]
    assert next(made(3)).extra == {TOKEN: "[lists]"}


@pytest.mark.parametrize(
    ("tokens", "answer", "fault"),
    [
        (("",), "[ANS]", "'' is no token"),
        (("[a]",), " b", "' b' is no token"),
        (("[a]\n[b]",), "[ANS]", "is no token"),
        (("[a]", "[a]"), "[ANS]", "another of the tokens"),
        (("x[ANS]",), "[ANS]", "another of the tokens"),
    ],
)
def test_tokens_that_could_not_be_told_apart_are_refused(tokens: tuple[str, ...], answer: str, fault: str) -> None:
    with pytest.raises(UsageError, match=fault.replace("[", r"\[")):
        LamolSettings(tokens=tokens, answer_token=answer)
