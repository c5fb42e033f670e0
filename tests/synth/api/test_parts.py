"""Turns with parts through the functions of the library: carried whole, judged by their contents, filtered by parts."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import synth
from synth.curation.registry import Step
from synth.data.read import open_source
from synth.data.row import MESSAGES, PARTED

ASKED = {"role": "user", "content": "What is 2 + 2?"}
CALL = {"type": "function", "function": {"name": "add", "arguments": '{"a": 2, "b": 2}'}}
THOUGHT = {"role": "assistant", "content": "The answer is 4.", "reasoning_content": "Two and two. Perhaps 5?"}
CALLED = {"role": "assistant", "content": "", "tool_calls": [CALL]}
GAVE = {"role": "tool", "content": "4", "name": "add"}
TOOLS = json.dumps([{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}])
ROWS: list[dict[str, Any]] = [
    {"id": "a", "messages": [ASKED, THOUGHT], "tools": None, "mode": "thinking", "drawn": [[1, 2, 3]]},
    {"id": "b", "messages": [ASKED, CALLED, GAVE, THOUGHT], "tools": TOOLS, "mode": None, "drawn": None},
    {
        "id": "c",
        "messages": [ASKED, {"role": "assistant", "content": "4"}],
        "tools": None,
        "mode": "plain",
        "drawn": None,
    },
]
PLAIN = [
    {"id": f"p{n}", "messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": "No."}]}
    for n in (1, 2)
]


def kept(rows: Any, *names: str) -> list[dict[str, Any]]:
    return [{name: row[name] for name in names} for row in rows]


@pytest.mark.parametrize("name", ["rows", "rows.jsonl", "rows.parquet", "rows.arrow"])
def test_filtered_rows_are_as_they_came(tmp_path: Path, name: str) -> None:
    clean = synth.filter(ROWS, [synth.filters.Roles()], output=tmp_path / name, progress=synth.SILENT)
    names = ("id", "messages", "tools", "mode", "drawn")
    assert kept(clean, *names) == kept(ROWS, *names), "an answer that only calls a tool is in order"
    again = synth.filter(clean, [synth.filters.Length(1)], progress=synth.SILENT)
    assert kept(again, *names) == kept(ROWS, *names)


def test_plain_and_parted_sets_mix(tmp_path: Path) -> None:
    for target, replay in ((ROWS, PLAIN), (PLAIN, ROWS)):
        stored = tmp_path / "replay.jsonl"
        stored.write_text("".join(json.dumps(row) + "\n" for row in replay))
        share = {str(stored): len(replay) / len(target)}
        mixed = synth.mix(target, share, order="append", progress=synth.SILENT)
        messages = [row["messages"] for row in mixed]
        assert messages[: len(target)] == [row["messages"] for row in target]
        assert sorted(map(json.dumps, messages[len(target) :])) == sorted(json.dumps(row["messages"]) for row in replay)
        assert open_source(str(mixed)).schema.field("messages").type == PARTED


def test_what_is_judged_is_the_content() -> None:
    tasks = [row | {"reference": "4"} for row in ROWS]
    judged = synth.verify(tasks, verifier="math", progress=synth.SILENT)
    assert [row["verdict"] for row in judged] == ["right"] * 3
    assert kept(judged, "messages", "tools", "drawn") == kept(ROWS, "messages", "tools", "drawn")
    wrong = {"messages": [ASKED, THOUGHT | {"content": "It is 5.", "reasoning_content": "So 4."}], "reference": "4"}
    assert [row["verdict"] for row in synth.verify([wrong], verifier="math", progress=synth.SILENT)] == ["wrong"]


def long(words: str, times: int = 40) -> list[dict[str, Any]]:
    return [{"messages": [ASKED, THOUGHT | {"reasoning_content": words * times}]}]


@pytest.mark.parametrize(
    ("step", "rows", "reason"),
    [
        (synth.filters.Length(max=60), long("word "), "too long: answer of 217 characters with its thoughts"),
        (synth.filters.Length(min=20), long("word "), "too short: answer of 16 characters"),
        (synth.filters.Length(max=3, unit="words", of="thoughts"), ROWS[:1], "too long: thoughts of 5 words"),
        (synth.filters.Length(max=60, of="prompt"), long("word "), None),
        (synth.filters.RepeatedWords(), long("a b c d e f "), "repeated words"),
        (synth.filters.TemplateDebris(), long("<|im_end|>", 1), "template debris: <|im_end|> (in its thoughts)"),
        (synth.filters.PersonalData(), long("Ask ann.lee@mail.org. ", 1), "personal data: e-mail"),
        (synth.filters.Symbols(), long("=-=-=-= "), None),
        (synth.filters.Language("en"), long("Quatre est la somme de deux et de deux, bien sûr. "), None),
    ],
)
def test_which_part_a_filter_looks_at(step: Step, rows: Any, reason: str | None) -> None:
    clean = synth.filter(rows, [step], progress=synth.SILENT)
    found = [row["reason"] for row in clean.rejected or ()]
    assert len(found) == (0 if reason is None else 1)
    assert reason is None or reason in found[0], found


def test_personal_data_in_calls() -> None:
    call = {"type": "function", "function": {"name": "mail", "arguments": '{"to": "ann.lee@mail.org"}'}}
    rows = [{"messages": [ASKED, CALLED | {"tool_calls": [call]}]}]
    assert not len(synth.filter(rows, [synth.filters.PersonalData()], progress=synth.SILENT))


def test_rows_of_plain_data_have_no_place_for_parts(tmp_path: Path) -> None:
    clean = synth.filter(PLAIN, [synth.filters.Length(1)], output=tmp_path / "rows", progress=synth.SILENT)
    schema = open_source(str(clean)).schema
    assert schema.field("messages").type == MESSAGES and not {"tools", "mode", "drawn"} & set(schema.names)
    assert schema.field("id").type == pa.string()
