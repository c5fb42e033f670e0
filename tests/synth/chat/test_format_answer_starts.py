"""Prompts that go on within an answer: exactly the start of the whole conversation's tokens."""

from typing import get_args

import pytest

from synth.chat.answer_starts import answer_starts
from synth.chat.derive import chat_format
from tests.synth.tokenizers import (
    CHATML,
    FAMILIES,
    Family,
    Kind,
    conversation,
    im_format,
    real_template,
    small_tokenizer,
)

ANSWERS = [
    "First, 3 * 4 = 12.\n\nThen 12 - 5 = 7. The answer is 7.",
    "你好。\n😀 hi 😀\n\té\n\n- a\n- b",
    "1.\n2.\n\n\n3.",
    "a",
]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize("kind", get_args(Kind))
def test_a_start_is_the_start_of_the_whole(family: Family, kind: Kind) -> None:
    tokenizer = small_tokenizer(real_template(family.name), family.specials, bos=family.bos, eos=family.eos, kind=kind)
    chat = chat_format(tokenizer)
    question = conversation("Why is the sea deep?")
    for answer in ANSWERS:
        encoded = chat.encode([*question, {"role": "assistant", "content": answer}])
        prompt = chat.asked_text(question)
        written = encoded.text[len(prompt) :]
        drawn = written[: written.index(answer) + len(answer)]
        lead = len(drawn) - len(answer)
        ends = [lead + at for at in range(1, len(answer) + 1)]
        for end, start in zip(ends, answer_starts(chat, question, drawn, ends), strict=True):
            assert encoded.input_ids[: len(start.ids)] == start.ids
            assert start.ids[: len(chat.answer_prompt(question))] == chat.answer_prompt(question)
            assert drawn.startswith(start.text)
            assert not drawn[end : len(start.text)].strip()  # nothing of what follows, but for white space


def test_what_ends_at_white_space_is_kept_whole() -> None:
    """As steps do: their last token may reach over the line break, but no word after it."""
    chat = im_format(CHATML)
    question = conversation("Why?")
    drawn = "It is deep.\nThe sea is wide.\n\nSo it is."
    ends = [len("It is deep."), len("It is deep.\nThe sea is wide."), len(drawn)]
    starts = answer_starts(chat, question, drawn, ends)
    assert [start.text.strip() for start in starts] == [drawn[:end] for end in ends]
    for start in starts:
        assert chat.tokenizer.decode(start.ids) == chat.answer_text(question) + start.text


def test_what_a_prompt_opens_stays_in_the_prompt() -> None:
    chat = im_format(CHATML.replace("assistant\n' }}", "assistant\n<think>\n' }}"))
    question = conversation("Why?")
    assert "<think>" in chat.asked_text(question)
    [start] = answer_starts(chat, question, "\nHm.\n</think>\nSo.", [len("\nHm.")])
    assert start.ids[: len(chat.answer_prompt(question))] == chat.answer_prompt(question)
    assert start.text.rstrip() == "\nHm."
