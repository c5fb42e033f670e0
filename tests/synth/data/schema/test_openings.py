"""Texts that may begin with thoughts are found in whole columns, however these are stored."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from filters.response.thoughts import opening_thoughts
from synth.data.read import open_rows
from synth.data.schema.openings import may_think, thinking

PLAIN = [
    "",
    "He said 1 < 2 > 0.",
    "a > b, k > l",
    "Analyse this.",
    "Here is a poem.",
    "[1, 2]",
    "# Thinking",
    "\n\n- one",
    "ok>",
]
THINKING = [
    "<think>\nHm.\n</think>\n\nYes.",
    "  \n<THINKING>Hm.</THINKING> Yes.",
    "<seed:think>Hm.</seed:think>Yes.",
    "Hm.\n</think>\nYes.",
    "<thought>Hm.</thought>Yes.",
    "[THINK]Hm.[/THINK]Yes.",
    "◁think▷Hm.◁/think▷Yes.",
    "analysisThe user asks.assistantfinalYes.",
    "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.",
    "Here’s my thought process:\nHm.\nHere’s my response:\nYes.",
    "Here are my reasoning steps:\nHm.\n[BEGIN FINAL RESPONSE]\nYes.",
    "## Thinking\n\nHm.\n\n## Final Response\n\nYes.",
    "<unused94>thought\nHm.<unused95>Yes.",
]


def test_texts_that_begin_with_thoughts_are_found_by_their_place() -> None:
    assert all(map(opening_thoughts, THINKING)) and not any(map(opening_thoughts, PLAIN))
    texts = pa.array([None, *PLAIN, *THINKING, None, *PLAIN], pa.string())
    expected = list(range(1 + len(PLAIN), 1 + len(PLAIN) + len(THINKING)))
    assert thinking(texts).tolist() == expected
    assert thinking(texts.slice(expected[0])).tolist() == list(range(len(THINKING)))  # a part of a column
    assert thinking(texts.slice(2, 3)).tolist() == []


@pytest.mark.parametrize("texts", [[], [None], [""], ["", None, ""]])
def test_columns_without_a_word_hold_none(texts: list[str | None]) -> None:
    assert thinking(pa.array(texts, pa.string())).tolist() == []
    assert not may_think(pa.array(texts, pa.string()))


@pytest.mark.parametrize("text", [*THINKING, ' [{"role": "user"}]'])
def test_thoughts_are_found_however_deep_and_however_stored(text: str) -> None:
    for kind in (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())):
        column = pa.array([*PLAIN, None], pa.string()).cast(kind), pa.array([*PLAIN, text], pa.string()).cast(kind)
        assert [may_think(values) for values in column] == [False, True]
    turns = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    for kind in (turns, pa.large_list(turns.value_type)):
        assert not may_think(pa.array([[{"role": "assistant", "content": "Yes."}], None, []], kind))
        assert may_think(pa.array([[], [{"role": "assistant", "content": text}]], kind))


def test_numbers_hold_none() -> None:
    assert not may_think(pa.array([1, 2]))
    assert not may_think(pa.array([[True]]))


@pytest.mark.parametrize("named", [{"name": "weather"}, {"tool_call_id": "call_1"}])
def test_what_a_result_is_called_makes_it_a_part(tmp_path: Path, named: dict[str, str]) -> None:
    """Also where nothing else in the file does: no thoughts, and no text that looks like JSON."""
    told = [{"role": "user", "content": "How warm?"}, {"role": "tool", "content": "22 degrees", **named}]
    (tmp_path / "rows.jsonl").write_text(json.dumps({"messages": [*told, {"role": "assistant", "content": "22."}]}))
    [batch] = open_rows(str(tmp_path / "rows.jsonl")).readable()
    result = batch["messages"][0][1].as_py()
    assert result["content"] == "22 degrees" and named.items() <= result.items()
