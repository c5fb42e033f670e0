"""Rows as tokens: what is wanted, what is protected, what is refused."""

import json
from typing import Any

import numpy as np
import pytest

from synth.chat.format import ChatFormat
from synth.chat.turn import put_together
from synth.errors import RequestError
from synth.scoring.encoding import EncodedRow, RowEncoder, rendering, windows
from tests.synth.tokenizers import stored_format

TALK = [
    {"role": "user", "content": "What is 2 + 2?"},
    {"role": "assistant", "content": "2 + 2 = 4."},
    {"role": "user", "content": "And 3 + 3?"},
    {"role": "assistant", "content": "3 + 3 = 6. The answer is 6."},
]


def only(rows: list[EncodedRow]) -> EncodedRow:
    """The row of a conversation that stands in one text."""
    [row] = rows
    return row


def text(chat: ChatFormat, row: EncodedRow, which: np.ndarray) -> str:
    return str(chat.tokenizer.decode(row.ids[which]))


def test_assistant_turns_with_their_ends(chat: ChatFormat) -> None:
    row = only(RowEncoder(chat).conversation(TALK))
    assert text(chat, row, row.wanted) == "2 + 2 = 4.<|end|>3 + 3 = 6. The answer is 6.<|end|>"
    last = only(RowEncoder(chat, "last").conversation(TALK))
    assert text(chat, last, last.wanted) == "3 + 3 = 6. The answer is 6.<|end|>"
    whole = only(RowEncoder(chat, "all").conversation(TALK))
    assert whole.wanted.tolist() == [False] + [True] * (len(whole.ids) - 1)
    assert (row.ids == last.ids).all() and (row.ids == whole.ids).all()


def test_a_closing_question_is_kept_and_not_trained_on(chat: ChatFormat) -> None:
    row = only(RowEncoder(chat).conversation(TALK[:3]))
    assert text(chat, row, row.wanted) == "2 + 2 = 4.<|end|>"
    assert "And 3 + 3?" in chat.tokenizer.decode(row.ids)


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], "empty conversation"),
        (TALK[:1], "no assistant turn"),
        ([{"role": "user", "content": "Say <|end|><|assistant|>"}, TALK[1]], "control token"),
    ],
)
def test_rows_with_nothing_to_train_on_are_refused(
    chat: ChatFormat, messages: list[dict[str, str]], words: str
) -> None:
    with pytest.raises(RequestError, match=words):
        RowEncoder(chat).conversation(messages)


def test_protection(chat: ChatFormat) -> None:
    row = only(RowEncoder(chat, protect={"end-of-turn"}).conversation(TALK))
    assert text(chat, row, row.protected) == "<|end|><|end|>"
    row = only(RowEncoder(chat, protect={"answer"}).conversation(TALK, "6"))
    [place] = np.flatnonzero(row.protected)
    assert (
        "6" in chat.tokenizer.decode(row.ids[place]) and place == len(row.ids) - 3
    )  # before the full stop and the end
    assert not only(RowEncoder(chat, protect={"answer"}).conversation(TALK, "7")).protected.any()
    assert not only(RowEncoder(chat, protect={"answer"}).conversation(TALK, None)).protected.any()
    both = only(RowEncoder(chat, "last", {"answer", "end-of-turn"}).conversation(TALK, "6"))
    assert both.protected.sum() == 2 and (both.protected <= both.wanted).all()


def test_overlong_rows(chat: ChatFormat) -> None:
    size = len(only(RowEncoder(chat).conversation(TALK)).ids)
    with pytest.raises(RequestError, match=f"overlong: {size} tokens, the window holds 20"):
        only(RowEncoder(chat, window=20).conversation(TALK))
    cut = only(RowEncoder(chat, overlong="truncate", window=size - 4).conversation(TALK))
    assert len(cut.ids) == len(cut.wanted) == len(cut.protected) == size - 4
    with pytest.raises(RequestError, match="no token to train on"):
        only(RowEncoder(chat, overlong="truncate", window=5).conversation(TALK))
    assert len(only(RowEncoder(chat, overlong="window", window=20).conversation(TALK)).ids) == size
    assert len(only(RowEncoder(chat, window=size).conversation(TALK)).ids) == size


def test_plain_text_ends_and_its_control_tokens_stay_text(chat: ChatFormat) -> None:
    row = RowEncoder(chat, "all").text("Some <|end|> text.")
    end = chat.tokenizer.eos_token_id
    assert row.ids[-1] == end and end not in row.ids[:-1]
    assert not row.wanted[0] and row.wanted[1:].all()
    with pytest.raises(RequestError, match="empty text"):
        RowEncoder(chat, "all").text(" \n")


@pytest.mark.parametrize("size", [2, 3, 8, 9])
def test_windows_score_every_token_once_with_half_a_window_before_it(size: int) -> None:
    for length in range(1, 60):
        seen = np.zeros(length, int)
        for start, end, first in windows(length, size):
            assert 0 <= start <= first < end <= length and end - start <= size
            seen[first:end] += 1
            assert first == 0 or first - start >= size // 2
        assert (seen == 1).all()


def test_lengths_are_of_what_is_trained_on() -> None:
    """A row's tools, template arguments and drawn tokens count as they are trained on, one example a turn or not."""
    chat = stored_format("qwen3")
    encoder = RowEncoder(chat)
    thinking = {"role": "assistant", "content": "So.", "reasoning_content": "Why, let me see: because."}
    talk = [TALK[0], thinking, TALK[2], thinking]
    tools = json.dumps([{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}])
    drawn = [[*chat.template.token_ids(put_together(thinking, chat.thinking, None)), chat.end_ids[0]]] * 2
    one_by_one = [[token for number in drawn[0][:-1] for token in spelt(chat, number)] + drawn[0][-1:], drawn[1]]
    records: list[dict[str, Any]] = [
        {"messages": talk},
        {"messages": talk, "tools": tools},
        {"messages": TALK, "tools": None, "template_args": '{"enable_thinking": false}'},
        {"messages": talk, "drawn": one_by_one},
    ]
    lengths = [encoder.length(record) for record in records]
    assert len(set(lengths)) == len(records)
    for record, length in zip(records, lengths, strict=True):
        rows = encoder.conversation(record["messages"], **rendering(record))
        assert length == sum(len(row.ids) for row in rows)
    assert len(encoder.last_answer(records[1]).input_ids) == len(
        encoder.conversation(talk, **rendering(records[1]))[1].ids
    )


def spelt(chat: ChatFormat, number: int) -> list[int]:
    """The tokens of a token's characters, each by itself; a control token stays whole."""
    text = chat.tokenizer.decode([number])
    return [number] if text in chat.template.added else [i for sign in text for i in chat.template.token_ids(sign)]
