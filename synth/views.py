"""Rows as people look at them: conversations, preference pairs and plain texts, all as turns.

A plain text is one turn of the role `text`. A preference pair has what both sides have in common in `messages`, and the
rest of either in `chosen` and `rejected`.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
from pyarrow import compute

from synth.plain import TEXT, has_texts, rows_or_texts
from synth.read import Rows, open_source
from synth.row import MESSAGES, PAIRS, Message
from synth.shapes import ANSWERS, TURN_COLUMNS, recognise

SIDES = ("chosen", "rejected")
BATCH_ROWS = 1_024
"""Pairs that are Python objects at a time."""


def open_views(source: str | None) -> Rows:
    """Rows of any of the three kinds.

    Raises:
        UsageError: the source cannot be read, or nothing of the three is recognised in it.
    """
    raw = open_source(source)
    if all(name in raw.schema.names for name in SIDES):
        return _pairs(raw)
    rows = rows_or_texts(raw)
    if not has_texts(rows.schema):
        return rows
    return Rows(rows.source, rows.schema, lambda: map(_texts_as_turns, rows.read()), rows.notes)


def is_pairs(schema: pa.Schema) -> bool:
    """Whether rows of `open_views` are preference pairs."""
    return all(name in schema.names and schema.field(name).type == MESSAGES for name in SIDES)


def _texts_as_turns(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with a turn for each text that has none."""
    messages, texts = batch.column("messages"), batch.column(TEXT)
    bare = compute.and_(
        compute.equal(compute.fill_null(compute.list_value_length(messages), 0), 0), compute.is_valid(texts)
    )
    if not compute.any(bare).as_py():
        return batch
    turns = [
        [{"role": TEXT, "content": text}] if is_bare else own
        for is_bare, text, own in zip(bare.to_pylist(), texts.to_pylist(), messages.to_pylist(), strict=True)
    ]
    return batch.set_column(batch.schema.get_field_index("messages"), "messages", pa.array(turns, MESSAGES))


def _pairs(raw: Rows) -> Rows:
    prompt = next((name for name in (*TURN_COLUMNS, *ANSWERS) if name in raw.schema.names), None)
    sides = [_side(raw.schema, name) for name in SIDES]
    before = _side(raw.schema, prompt) if prompt else None
    carried = [item for item in raw.schema if item.name not in (*SIDES, prompt)]
    schema = pa.schema([("messages", MESSAGES), PAIRS.field("chosen"), PAIRS.field("rejected"), *carried])

    def read() -> Iterator[pa.RecordBatch]:
        for whole in raw.read():
            for start in range(0, whole.num_rows, BATCH_ROWS):
                batch = whole.slice(start, BATCH_ROWS)
                asked = before(batch, "user") if before else [[] for _ in range(batch.num_rows)]
                answers = [side(batch, "assistant") for side in sides]
                parts = [_parted(*row) for row in zip(asked, *answers, strict=True)]
                columns = [pa.array([row[at] for row in parts], MESSAGES) for at in range(3)]
                yield pa.record_batch([*columns, *(batch.column(item.name) for item in carried)], schema=schema)

    return Rows(raw.source, schema, read, raw.notes)


def _side(schema: pa.Schema, name: str) -> Callable[[pa.RecordBatch, str], list[list[Message]]]:
    """How one column becomes turns: those it holds, the one it is, or one of the given role that has its text."""
    item = schema.field(name)
    is_turn = pa.types.is_struct(item.type)
    is_text = str(item.type) in ("string", "large_string", "string_view", "null")
    alone = pa.schema([(name, pa.list_(item.type) if is_turn else item.type)])
    shape = recognise(alone, prompt_column=name)

    def turns(batch: pa.RecordBatch, role: str) -> list[list[Message]]:
        column = batch.column(name)
        if is_turn:
            column = pa.ListArray.from_arrays(pa.array(range(batch.num_rows + 1), pa.int32()), column)
        whole = shape.convert(pa.record_batch([column], schema=alone))
        found: list[list[Message] | None] = whole.column("messages").to_pylist()
        if not is_text:
            return [row or [] for row in found]
        return [[turn | {"role": role} for turn in row or []] for row in found]

    return turns


def _parted(asked: list[Message], chosen: list[Message], rejected: list[Message]) -> tuple[Any, ...]:
    """What was asked, and either answer: sides that are whole conversations begin with what they have in common."""
    if chosen and rejected and chosen[0]["role"] != "assistant":
        same = 0
        while same < min(len(chosen), len(rejected)) and chosen[same] == rejected[same]:
            same += 1
        return chosen[:same], chosen[same:], rejected[same:]
    return asked, chosen, rejected
