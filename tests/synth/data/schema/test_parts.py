"""Turns with parts as models, servers and published data sets write them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from synth.data.read import Rows, faults_of, open_rows
from synth.data.row import MESSAGES, PARTED, Message, conversations_of
from synth.data.schema import shapes

ASKED = {"role": "user", "content": "2+2?"}
SAID: Message = {"role": "assistant", "content": "4"}
THOUGHT: Message = SAID | {"reasoning_content": "A sum."}
CALL = {"type": "function", "function": {"name": "add", "arguments": '{"a": 2, "b": 2}'}}
CALLED: Message = {"role": "assistant", "content": "", "tool_calls": [CALL]}
GAVE: Message = {"role": "tool", "content": "4"}

Write = Callable[..., str]


@pytest.fixture(params=["json", "text", "parquet"])
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Write:
    """Writes conversations as objects of a JSON file, as JSON text in one, or as a Parquet column."""

    def written(*conversations: Any) -> str:
        rows = [{"messages": turns} for turns in conversations]
        if request.param == "parquet":
            try:
                table = pa.Table.from_pylist(rows)
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                pytest.skip("a column of Parquet has one type")
            parquet.write_table(table, path := str(tmp_path / "rows.parquet"))
            return path
        if request.param == "text":
            rows = [{"messages": json.dumps(turns)} for turns in conversations]
        return lines(tmp_path / "rows.jsonl", *rows)

    return written


def lines(path: Path, *rows: Any) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def read(rows: Rows) -> tuple[list[Any], list[str | None]]:
    """The conversations, and why they cannot be read."""
    messages: list[Any] = []
    faults: list[str | None] = []
    for batch in rows.judged():
        batch.validate(full=True)
        assert batch["messages"].type == rows.schema.field("messages").type
        messages += conversations_of(batch["messages"])
        faults += faults_of(batch)
    return messages, faults


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


@pytest.mark.parametrize(
    "calls",
    [
        [{"role": "assistant", "content": None, "tool_calls": [CALL]}],
        [{"role": "assistant", "content": "", "tool_calls": [CALL | {"index": 0}]}],
        [
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"function": {"name": "add", "arguments": {"a": 2, "b": 2}}}],
            }
        ],
        [{"role": "assistant", "content": None, "function_call": CALL["function"]}],
        [{"from": "function_call", "value": '{"name": "add", "arguments": {"a": 2, "b": 2}}'}],
        [{"from": "function_call", "value": '[{"name": "add", "arguments": {"a": 2, "b": 2}}]'}],
        [{"role": "tool_call", "content": '{"name": "add", "arguments": {"a": 2, "b": 2}}'}],
        [{"role": "assistant", "content": [{"type": "tool_use", "name": "add", "input": {"a": 2, "b": 2}}]}],
        [
            {"role": "assistant", "channel": "commentary", "recipient": "functions.add", "content": '{"a": 2, "b": 2}'},
        ],
    ],
    ids=["OpenAI", "streamed", "object", "legacy", "ShareGPT", "parallel", "ms-swift", "Anthropic", "harmony"],
)
def test_calls_of_tools(write: Write, calls: Any) -> None:
    keys = {"from": "from", "value": "value"} if "from" in calls[0] else {"from": "role", "value": "content"}
    turns = [{keys["from"]: "user", keys["value"]: "2+2?"}, *calls]
    rows = open_rows(write([*turns, {keys["from"]: "tool", keys["value"]: "4"}]))
    assert read(rows) == ([[ASKED, CALLED, GAVE]], [None])


@pytest.mark.parametrize(
    ("turns", "meant"),
    [
        (
            [
                ASKED,
                {"role": "assistant", "content": "I add."},
                {"role": "tool_call", "content": json.dumps(CALL["function"])},
                {"role": "tool_response", "content": "4"},
            ],
            [ASKED, CALLED | {"content": "I add."}, GAVE],
        ),
        (
            [ASKED, *[{"role": "tool_call", "content": json.dumps(CALL["function"])}] * 2],
            [ASKED, CALLED | {"tool_calls": [CALL, CALL]}],
        ),
        (
            [ASKED, {"role": "function_call", "content": "<think>A sum.</think>" + json.dumps(CALL["function"])}],
            [ASKED, CALLED | {"reasoning_content": "A sum."}],
        ),
        (
            [
                ASKED,
                CALLED | {"tool_calls": [CALL | {"id": "c1"}]},
                {"role": "tool", "tool_call_id": "c1", "name": "add", "content": "4"},
                SAID,
            ],
            [ASKED, CALLED | {"tool_calls": [CALL | {"id": "c1"}]}, GAVE | {"tool_call_id": "c1", "name": "add"}, SAID],
        ),
        (
            [
                ASKED,
                {"role": "assistant", "content": None, "function_call": CALL["function"]},
                {"role": "function", "name": "add", "content": "4"},
            ],
            [ASKED, CALLED, GAVE | {"name": "add"}],
        ),
        (
            [ASKED, {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "4"}]}],
            [ASKED, GAVE | {"tool_call_id": "c1"}],
        ),
        (
            [ASKED, {"role": "tool", "content": {"sum": 4}}],
            [ASKED, GAVE | {"content": '{"sum": 4}'}],
        ),
        (
            [ASKED, {"role": "assistant", "content": "<tool_call>\n{}\n</tool_call>"}],
            [ASKED, {"role": "assistant", "content": "<tool_call>\n{}\n</tool_call>"}],
        ),
    ],
    ids=["ms-swift", "several", "LLaMA-Factory", "ids", "legacy", "Anthropic", "result", "Hermes"],
)
def test_conversations_with_tools(write: Write, turns: Any, meant: list[Message]) -> None:
    assert read(open_rows(write(turns))) == ([meant], [None])


def test_channels_become_one_turn(write: Write) -> None:
    def says(channel: str, text: str, **more: Any) -> dict[str, Any]:
        return {"role": "assistant", "channel": channel, "content": text, **more}

    call = says("commentary", '{"a": 2, "b": 2}', recipient="functions.add", content_type="<|constrain|>json")
    gave = {"role": "tool", "name": "functions.add", "recipient": "assistant", "channel": "commentary", "content": "4"}
    turns = [
        {"role": "developer", "content": "Be brief."},
        ASKED,
        says("analysis", "A sum."),
        says("commentary", "I add."),
    ]
    turns += [call, call, gave, says("analysis", "Done."), says("final", "4")]
    called = {"content": "I add.", "reasoning_content": "A sum.", "tool_calls": [CALL, CALL]}
    meant = [{"role": "developer", "content": "Be brief."}, ASKED, CALLED | called]
    meant += [GAVE | {"name": "add"}, SAID | {"reasoning_content": "Done."}]
    assert read(open_rows(write(turns))) == ([meant], [None])


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([SAID | {"content": "<think>\nA sum and"}], "thoughts do not end: turn 2 (assistant) opens them with <think>"),
        ([SAID | {"content": "<think>A sum.</think>"}], "no content: turn 2 (assistant) has thoughts alone"),
        (
            [{"role": "assistant", "content": None, "reasoning": "A sum."}],
            "no content: turn 2 (assistant) has thoughts",
        ),
        ([SAID | {"reasoning": "A sum.", "thinking": "Two."}], "thoughts: 'reasoning' and 'thinking' of turn 2"),
        ([THOUGHT | {"content": "<think>Two.</think>4"}], "thoughts: turn 2 (assistant) has some beside its content"),
        ([{"role": "user", "content": "2", "thinking": "A sum."}], "thoughts: turn 2 (user) has 'thinking'"),
        ([{"role": "user", "content": "2", "tool_calls": [CALL]}], "tool call: turn 2 (user) has 'tool_calls'"),
        ([{"role": "function_call", "content": "add(2, 2)"}], "tool call: turn 2 (assistant) is no JSON"),
        (
            [CALLED | {"tool_calls": [{"function": {"name": "add", "arguments": "{2"}}]}],
            "tool call: turn 2 (assistant) c",
        ),
        (
            [CALLED | {"tool_calls": [{"function": {"name": "add", "arguments": "[2]"}}]}],
            "tool call: turn 2 (assistant) c",
        ),
        (
            [CALLED | {"tool_calls": [{"function": {"name": "", "arguments": "{}"}}]}],
            "tool call: turn 2 (assistant) calls",
        ),
        (
            [CALLED | {"tool_calls": [{"type": "custom", "name": "sh"}]}],
            "tool call: turn 2 (assistant) calls sh, which",
        ),
        ([SAID | {"channel": "analysis"}], "no answer: the conversation ends in thoughts (the channel analysis)"),
        ([SAID | {"channel": "analysis"}, ASKED], "no answer: turn 3 follows thoughts (the channel analysis)"),
        (
            [SAID | {"channel": "analysis", "recipient": "python"}],
            "tool call: turn 2 is for python, which is no function",
        ),
        ([SAID | {"channel": "analysis"}, SAID | {"channel": "aside"}], "channel: turn 3 is on 'aside', which is not"),
    ],
)
def test_what_would_be_lost_is_rejected(write: Write, turns: Any, reason: str) -> None:
    messages, faults = read(open_rows(write([ASKED, *turns], [ASKED, SAID])))
    assert messages == [None, [ASKED, SAID]]
    assert faults[1] is None and faults[0] is not None and faults[0].startswith(reason), faults


def test_arguments_are_as_they_are_written(tmp_path: Path) -> None:
    """What one call passes and another does not is no null; what is null in a JSON file stays null."""
    passed = [{"a": 1, "b": None}, {"b": "x"}, {}, {"c": {"d": [1, 1.5]}}]
    calls = [[ASKED, CALLED | {"tool_calls": [{"function": {"name": "f", "arguments": one}}]}] for one in passed]
    messages, _ = read(open_rows(lines(tmp_path / "rows.jsonl", *({"messages": turns} for turns in calls))))
    assert [json.loads(turns[1]["tool_calls"][0]["function"]["arguments"]) for turns in messages] == passed
    parquet.write_table(pa.Table.from_pylist([{"messages": turns} for turns in calls[:2]]), tmp_path / "rows.parquet")
    messages, _ = read(open_rows(str(tmp_path / "rows.parquet")))
    kept = [json.loads(turns[1]["tool_calls"][0]["function"]["arguments"]) for turns in messages]
    assert kept == [{"a": 1}, {"b": "x"}], "a column of Parquet has nulls for what is not there"


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


def test_rows_of_ours_are_read_as_they_were_written(tmp_path: Path) -> None:
    conversations = [[ASKED, THOUGHT], [ASKED, CALLED, GAVE | {"tool_call_id": "1"}, SAID], [ASKED, SAID]]
    parquet.write_table(pa.table({"messages": pa.array(conversations, PARTED)}), tmp_path / "rows.parquet")
    rows = open_rows(str(tmp_path / "rows.parquet"))
    assert rows.schema.field("messages").type == PARTED
    assert read(rows) == (conversations, [None] * 3)
