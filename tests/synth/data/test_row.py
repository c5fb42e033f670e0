"""Rows as Arrow batches."""

from typing import Any

import pyarrow as pa
import pytest

from synth.data.row import (
    BASE,
    MESSAGES,
    PAIRS,
    PARTED,
    RENDERING,
    WIDE,
    Message,
    as_messages,
    batch_of,
    conversations_of,
    digest,
    has_parts,
    pairs_schema,
    records_of,
    with_parts,
)

CALL = {"type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": null}'}}
PARTS: list[Message] = [
    {"role": "user", "content": "1 + 2?"},
    {"role": "assistant", "content": "", "reasoning_content": "A sum.", "tool_calls": [CALL | {"id": "1"}, CALL]},
    {"role": "tool", "content": "3", "tool_call_id": "1", "name": "add"},
    {"role": "assistant", "content": "3"},
]
PLAIN: list[Message] = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": ""}]


def test_wide_rows_are_what_arrow_makes_of_them() -> None:
    wide = [(f"c{number}", pa.int64() if number % 2 else pa.list_(pa.string())) for number in range(WIDE)]
    schema = pa.schema([*BASE, *wide])
    rows: list[dict[str, Any]] = [{"id": "a", "c1": 1, "c2": ["x", None]}, {"c1": None, "c3": 3, "other": 0}, {}]
    assert batch_of(rows, schema).equals(pa.RecordBatch.from_pylist(rows, schema=schema))
    assert batch_of([], schema).num_rows == 0
    [broken] = batch_of([{"id": "half \ud83d"}], schema)["id"].to_pylist()
    assert broken == "half ?"


def test_turns_come_back_from_arrow_with_the_parts_they_have() -> None:
    rows: list[dict[str, Any]] = [{"id": "a", "messages": PARTS}, {"id": "b", "messages": PLAIN}, {"id": "c"}]
    batch = batch_of(rows, with_parts(BASE))
    assert conversations_of(batch["messages"]) == [PARTS, PLAIN, None]
    assert [row["messages"] for row in records_of(batch)] == [PARTS, PLAIN, None]
    plain = batch_of(rows[1:], BASE)
    assert plain.schema.field("messages").type == MESSAGES
    assert conversations_of(plain["messages"]) == [PLAIN, None]
    nulls = batch["messages"].to_pylist()[1]
    assert digest(as_messages(nulls)) == digest(PLAIN), "a row is called the same whatever stands beside it"
    assert as_messages(None) == []


def test_pairs_have_the_columns_of_their_run() -> None:
    assert pairs_schema(BASE) == PAIRS
    run = pa.schema([*with_parts(BASE), *RENDERING])
    pairs = pairs_schema(run)
    assert pairs.names == [*PAIRS.names, "tools", "mode", "template_args"] and pairs.field("chosen").type == PARTED
    batch = batch_of([{"id": "a", "prompt": PARTS[:3], "chosen": PARTS[3:], "rejected": PLAIN[1:]}], pairs)
    assert records_of(batch)[0]["prompt"] == PARTS[:3]


def test_parts_are_never_lost_for_want_of_a_place() -> None:
    assert has_parts(PARTS) and not has_parts(PLAIN)
    with pytest.raises(ValueError, match="turns with parts"):
        batch_of([{"id": "a", "messages": PARTS}], BASE)
    assert batch_of([{"id": "a", "messages": PARTS}], with_parts(BASE))["messages"].type == PARTED
