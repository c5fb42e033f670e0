import json
from pathlib import Path
from typing import Any

import pytest

from synth.data.pairs import pairs
from synth.data.plain import open_rows_or_texts
from synth.data.read import faults_of, open_rows, open_source
from synth.data.row import as_messages


def written(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def said(path: Path, *rows: dict[str, Any]) -> list[Any]:
    """What is said in each row, as (first letter of the role, content); or why it cannot be read."""
    found: list[Any] = []
    for batch in open_rows(written(path / "rows.jsonl", *rows)).judged():
        for row, fault in zip(batch["messages"].to_pylist(), faults_of(batch), strict=True):
            found.append(fault or [(turn["role"][0], turn["content"]) for turn in row])
    return found


HH = "\n\nHuman: hi\n\nAssistant: hello: you\n\nHuman: bye\n\nAssistant: see you"
GUANACO = "### Human: hi### Assistant: hello: you### Human: bye\n### Assistant: see you"
GLAIVE = "USER: hi\n\n\nASSISTANT: hello: you <|endoftext|>\n\n\nUSER: bye\n\n\nASSISTANT: see you <|endoftext|>\n\n\n"
TURNS = [("u", "hi"), ("a", "hello: you"), ("u", "bye"), ("a", "see you")]


@pytest.mark.parametrize(
    "row",
    [
        {"text": HH},
        {"text": GUANACO},
        {"chat": GLAIVE, "system": ""},
        {"messages": HH},
        {"conversation": [{"input": "hi", "output": "hello: you"}, {"input": "bye", "output": "see you"}]},
        {"conversations": [{"human": "hi", "assistant": "hello: you"}, {"human": "bye", "assistant": "see you"}]},
        {"id": "0", "data": ["hi", "hello: you", "bye", "see you"]},
        {"prompt": HH.removesuffix(" see you"), "response": "see you"},
    ],
)
def test_conversations_without_roles(tmp_path: Path, row: dict[str, Any]) -> None:
    assert said(tmp_path, row) == [TURNS]


def test_a_dialogue_of_tools(tmp_path: Path) -> None:
    chat = 'USER: a\n\n\nASSISTANT: <functioncall> {"name": "f"} <|endoftext|>\n\n\nFUNCTION RESPONSE: {"y": 2}'
    chat += "\n\n\nASSISTANT: b"
    [row] = said(tmp_path, {"system": "SYSTEM: You have tools.", "chat": chat})
    assert row == [
        ("s", "You have tools."),
        ("u", "a"),
        ("a", '<functioncall> {"name": "f"}'),
        ("t", '{"y": 2}'),
        ("a", "b"),
    ]


def test_what_is_no_dialogue_stays_as_it_is(tmp_path: Path) -> None:
    asked = "Human: hi\n\nAssistant: yes\n\nWho of them is polite?"
    assert said(tmp_path, {"prompt": asked, "response": "both"}) == [[("u", asked), ("a", "both")]]
    cue = {"prompt": "Human: hi\n\nAssistant:", "response": "Human: x\n\nAssistant: y"}
    assert said(tmp_path, cue, {"prompt": "and?", "response": "b"}) == [
        [("u", "hi"), ("a", cue["response"])],
        [("u", "and?"), ("a", "b")],
    ]
    for text in ("Human rights: a history", "Human: hi", "Assistant: hi\n\nHuman: x", "A user: b\n\nAssistant: c"):
        rows = open_rows_or_texts(written(tmp_path / "texts.jsonl", {"text": text}))
        [row] = [row for batch in rows.batches() for row in batch.to_pylist()]
        assert row["text"] == text and row["messages"] is None


def test_rows_of_dialogues_that_cannot_be_read(tmp_path: Path) -> None:
    rows = said(tmp_path, {"text": HH}, {"text": "no dialogue"}, {"text": "Human: \n\nAssistant: x"}, {"text": None})
    assert rows == [
        TURNS,
        "no conversation: text that is no JSON (Expecting value)",
        "no conversation: turn 1 is empty",
        "no conversation: there is nothing in 'text'",
    ]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "\n\nHuman: hi\n\nAssistant:", "chosen": "c", "rejected": "r"},
        {"input": "hi", "chosen": "c", "rejected": "r"},
        {
            "prompt": "Human: hi\n\nAssistant:",
            "chosen": "Human: hi\n\nAssistant: c",
            "rejected": "Human: hi\n\nAssistant: r",
        },
    ],
)
def test_pairs(tmp_path: Path, row: dict[str, str]) -> None:
    [found] = [
        row for batch in pairs(open_source(written(tmp_path / "p.jsonl", row))).batches() for row in batch.to_pylist()
    ]
    assert [[turn["content"] for turn in found[name]] for name in ("messages", "chosen", "rejected")] == [
        ["hi"],
        ["c"],
        ["r"],
    ]


def test_input_and_output(tmp_path: Path) -> None:
    assert said(tmp_path, {"input": "2+2?", "output": "4"}) == [[("u", "2+2?"), ("a", "4")]]
    assert said(tmp_path, {"question": "2+2?", "input": "x", "output": "y"}) == [[("u", "2+2?")]]


def test_answers_that_are_called_bad(tmp_path: Path) -> None:
    row = {"prompt": "q", "completion": "a", "label": False}
    assert any("filter by column:label" in note for note in open_rows(written(tmp_path / "kto.jsonl", row)).notes)
    assert len(open_rows(written(tmp_path / "kto.jsonl", row | {"label": 1})).notes) == 1


def test_calls_of_xlam(tmp_path: Path) -> None:
    tools = [{"name": "f", "description": "d", "parameters": {"type": {"description": "kind", "type": "str"}}}]
    row = {"query": "Where?", "answers": '[{"name": "f", "arguments": {"type": "x"}}]', "tools": json.dumps(tools)}
    rows = open_rows(written(tmp_path / "x.jsonl", row, row | {"answers": "[]"}))
    batch = next(rows.judged())
    [user, answer] = as_messages(batch["messages"][0].as_py())
    assert user["content"] == "Where?" and answer["content"] == ""
    assert [call["function"] for call in answer["tool_calls"]] == [{"name": "f", "arguments": '{"type": "x"}'}]
    [tool] = json.loads(batch["tools"][0].as_py())
    assert tool["function"]["parameters"] == {"type": "object", "properties": tools[0]["parameters"]}
    assert faults_of(batch)[1] == "tool call: turn 1 (assistant) has none"
