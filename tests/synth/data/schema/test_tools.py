"""Tools on offer and arguments of templates, in columns beside the conversations."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from synth.data.read import open_rows
from tests.synth.data.schema.conversations import ASKED, SAID, lines, read

BARE = {
    "name": "add",
    "description": "Adds.",
    "parameters": {"type": "object", "properties": {"a": {"type": "number"}}},
}

TOOL = {"type": "function", "function": BARE}


@pytest.mark.parametrize(
    ("tools", "meant"),
    [
        ([TOOL], [TOOL]),
        ([BARE], [TOOL]),
        (json.dumps([TOOL]), [TOOL]),
        (json.dumps([BARE, BARE | {"name": "sub"}]), [TOOL, {"type": "function", "function": BARE | {"name": "sub"}}]),
        ([json.dumps(TOOL)], [TOOL]),
        ({"type": "function", **BARE}, [TOOL]),
        ([{"name": "add", "description": "Adds.", "input_schema": BARE["parameters"]}], [TOOL]),
        ("[]", None),
        ("", None),
        ([], None),
    ],
    ids=[
        "OpenAI",
        "bare",
        "text",
        "LLaMA-Factory",
        "list of texts",
        "Responses",
        "Anthropic",
        "none",
        "empty",
        "no list",
    ],
)
@pytest.mark.parametrize("form", ["json", "parquet"])
def test_tools(tmp_path: Path, form: str, tools: Any, meant: Any) -> None:
    row = {"messages": [ASKED, SAID], "tools": tools}
    path = lines(tmp_path / "rows.jsonl", row)
    if form == "parquet":
        parquet.write_table(pa.Table.from_pylist([row]), path := str(tmp_path / "rows.parquet"))
    rows = open_rows(path)
    assert rows.schema.field("tools").type == pa.string()
    [batch] = rows.judged()
    [text] = batch["tools"].to_pylist()
    assert (text and json.loads(text)) == meant
    assert read(rows) == ([[ASKED, SAID]], [None])


def test_tools_that_cannot_be_read_are_the_rows_fault(tmp_path: Path) -> None:
    tools = [json.dumps([TOOL]), "add(a, b)", '[{"about": 1}]', None]
    path = lines(tmp_path / "rows.jsonl", *({"messages": [ASKED, SAID], "tools": text} for text in tools))
    _, faults = read(open_rows(path))
    assert faults == [None, "tools is no JSON (Expecting value)", "tools: number 1 is no function with a name", None]


def test_columns_of_other_peoples_are_not_ours(tmp_path: Path) -> None:
    row = {"messages": [ASKED, SAID], "tools": ["calculator"], "mode": "train", "drawn": "yes", "functions": "f, g"}
    rows = open_rows(lines(tmp_path / "rows.jsonl", row))
    assert rows.schema.names == ["messages", "reference", "input_tools", "input_mode", "input_drawn", "functions"]


def test_template_arguments(tmp_path: Path) -> None:
    given = {"enable_thinking": False, "effort": None}
    row = {"messages": [ASKED, SAID], "chat_template_kwargs": given}
    rows = open_rows(lines(tmp_path / "rows.jsonl", row, row | {"chat_template_kwargs": None}))
    [batch] = rows.judged()
    assert [text and json.loads(text) for text in batch["template_args"].to_pylist()] == [given, None]
    assert "column 'chat_template_kwargs' is read as 'template_args'" in rows.notes
