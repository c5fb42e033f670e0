"""Thoughts, as models, servers and published data sets write them."""

from pathlib import Path
from typing import Any

import pytest

from synth.data.read import open_rows
from synth.data.row import MESSAGES, PARTED
from synth.data.schema import shapes
from tests.synth.data.schema.conversations import ASKED, SAID, THOUGHT, Write, lines, read


@pytest.mark.parametrize(
    "answer",
    [
        SAID | {"reasoning_content": "A sum."},
        SAID | {"reasoning_content": "\nA sum.\n", "refusal": None},
        SAID | {"reasoning": "A sum.", "reasoning_content": "A sum."},
        SAID | {"thinking": "A sum.", "name": None},
        SAID | {"thought": "A sum."},
        SAID | {"reasoning_content": "A sum.", "content": "<think>\nA sum.\n</think>\n\n4"},
        {"role": "assistant", "content": "<think>\nA sum.\n</think>\n\n4"},
        {"role": "assistant", "content": "\n<think>A sum.</think>4"},
        {"role": "assistant", "content": "A sum.\n</think>\n\n4"},
        {"role": "assistant", "content": "[THINK]A sum.[/THINK]4"},
        {"role": "assistant", "content": "◁think▷A sum.◁/think▷4"},
        {"role": "assistant", "content": "<reasoning>\nA sum.\n</reasoning>\n4"},
        {
            "role": "assistant",
            "content": "<|begin_of_thought|>\n\nA sum.\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\n4\n\n"
            "<|end_of_solution|>",
        },
        {
            "role": "assistant",
            "content": "<|channel|>analysis<|message|>A sum.<|end|><|start|>assistant<|channel|>final<|message|>4"
            "<|return|>",
        },
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "A sum."}, {"type": "text", "text": "4"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "A sum."}]},
                {"type": "text", "text": "4"},
            ],
        },
    ],
    ids=[
        *("DeepSeek", "padded", "vLLM", "Ollama", "Gemini", "twice", "R1", "tight", "opened by the prompt"),
        *("Magistral", "Kimi", "tutorials", "OpenThoughts", "gpt-oss as text", "Anthropic", "Mistral"),
    ],
)
def test_thoughts(write: Write, answer: Any) -> None:
    rows = open_rows(write([ASKED, answer], [ASKED, SAID]))
    assert rows.schema.field("messages").type == PARTED
    assert read(rows) == ([[ASKED, THOUGHT], [ASKED, SAID]], [None, None])


@pytest.mark.parametrize(
    "content",
    [
        "Write `<think>` first, then `</think>`.",
        "Like this:\n```\n<think>\nA sum.\n</think>\n```",
        "<p>A sum.</p>",
        '["a", "b"]',
        "Here is my thought process: add both.",
        "analysisWe go on and on",
    ],
)
def test_what_only_speaks_of_thoughts_is_text(write: Write, content: str) -> None:
    rows = open_rows(write([ASKED, {"role": "assistant", "content": content}]))
    assert rows.schema.field("messages").type == MESSAGES
    assert read(rows) == ([[ASKED, {"role": "assistant", "content": content}]], [None])


def test_what_marks_thoughts_is_said(tmp_path: Path) -> None:
    """People whose answers are to hold such text see that it is read otherwise."""
    said = {"role": "assistant", "content": "<reasoning>A sum.</reasoning>4"}
    rows = open_rows(lines(tmp_path / "rows.jsonl", {"messages": [ASKED, said]}))
    read(rows)
    assert rows.notes == ["thoughts are what an answer begins with, marked by <reasoning> in 'messages'"]


def test_empty_thoughts_are_none(write: Write) -> None:
    """What hybrid models write in their plain mode."""
    rows = open_rows(write([ASKED, {"role": "assistant", "content": "<think>\n\n</think>\n\n4"}]))
    assert read(rows) == ([[ASKED, SAID]], [None])


@pytest.mark.parametrize("name", shapes.THOUGHTS)
def test_thoughts_in_a_column_of_their_own(tmp_path: Path, name: str) -> None:
    row = {"question": "2+2?", name: "Now a sum.\n", "answer": "4"}
    rows = open_rows(lines(tmp_path / "rows.jsonl", row, row | {name: None}))
    assert read(rows)[0] == [[ASKED, THOUGHT | {"reasoning_content": "Now a sum."}], [ASKED, SAID]]
    assert rows.schema.names == ["messages", "reference"]
    rows = open_rows(lines(tmp_path / "other.jsonl", row | {name: "on"}))
    assert rows.schema.names == ["messages", "reference", name] and read(rows)[0] == [[ASKED, SAID]]


def test_thoughts_in_answers_of_other_shapes(tmp_path: Path) -> None:
    said = "<think>\nA sum.\n</think>\n\n4"
    rows: list[dict[str, Any]] = [
        {"prompt": "2+2?", "completion": said},
        {"prompt": [ASKED], "completion": [{"role": "assistant", "content": said}]},
        {"instruction": "2+2?", "input": "", "output": said},
    ]
    for number, row in enumerate(rows):
        found = open_rows(lines(tmp_path / f"{number}.jsonl", row))
        assert read(found) == ([[ASKED, THOUGHT]], [None])
        [batch] = found.judged()
        assert batch["reference"].to_pylist() == ["4"]


def test_parts_beyond_what_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synth.data.read.LOOKED_AT", 1)
    monkeypatch.setattr("synth.data.files.jsonlines.BLOCK_BYTES", 1)
    thought = [ASKED, SAID | {"content": "<think>A sum.</think>4"}]
    path = lines(tmp_path / "rows.jsonl", *({"messages": turns} for turns in ([ASKED, SAID], thought, [ASKED, SAID])))
    rows = open_rows(path)
    assert rows.schema.field("messages").type == MESSAGES
    messages, faults = read(rows)
    assert messages == [[ASKED, SAID], None, [ASKED, SAID]]
    assert faults[1] == "late parts: no turn of the many rows before has thoughts or calls; put this row first"
