"""Turns with calls and channels, as models, servers and published data sets write them."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from synth.data.read import open_rows
from synth.data.row import PARTED, Message
from tests.synth.data.schema.conversations import ASKED, CALL, CALLED, GAVE, SAID, THOUGHT, Write, lines, read


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


def test_rows_of_ours_are_read_as_they_were_written(tmp_path: Path) -> None:
    conversations = [[ASKED, THOUGHT], [ASKED, CALLED, GAVE | {"tool_call_id": "1"}, SAID], [ASKED, SAID]]
    parquet.write_table(pa.table({"messages": pa.array(conversations, PARTED)}), tmp_path / "rows.parquet")
    rows = open_rows(str(tmp_path / "rows.parquet"))
    assert rows.schema.field("messages").type == PARTED
    assert read(rows) == (conversations, [None] * 3)
