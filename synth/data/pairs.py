"""Reads preference pairs in the notations of public data: a prompt, a better answer and a worse one.

The sides are `chosen` and `rejected`: texts, turns, lists of turns, or whole conversations, whose common start is what
was asked. Where they are answers, a prompt stands beside them under any name of `synth.data.schema.shapes`, with its
`system` turn. Where nothing does, texts may be dialogues as HH-RLHF has them (arXiv 2204.05862): "Human: …" and
"Assistant: …" (`synth.data.schema.dialogues`).
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Self

import pyarrow as pa

from synth.data.read import Rows, faults_of
from synth.data.row import FAULT, MESSAGES, PARTED, RENDERING, Message, conversations_of
from synth.data.schema.assemble import ConversationColumns, TurnColumn, messages_of
from synth.data.schema.dialogues import is_cue, is_dialogue, spoken
from synth.data.schema.names import free_name
from synth.data.schema.parts import Unreadable
from synth.data.schema.rendering import found_in, read_column
from synth.data.schema.shapes import ANSWERS, SYSTEM, TURN_COLUMNS, Seen
from synth.data.schema.turn_columns import as_type, passes_objects
from synth.data.schema.turns import turn_fields
from synth.errors import UsageError

SIDES = ("chosen", "rejected")
BATCH_ROWS = 1_024
"""Pairs that are Python objects at a time."""


def has_pairs(schema: pa.Schema) -> bool:
    """Whether rows of a source are preference pairs."""
    return all(name in schema.names for name in SIDES)


def is_pairs(schema: pa.Schema) -> bool:
    """Whether rows are what `pairs` gives."""
    return all(name in schema.names and schema.field(name).type in (MESSAGES, PARTED) for name in SIDES)


def pairs(raw: Rows, *, prompt_column: str | None = None) -> Rows:
    """Bring rows of `has_pairs` to `messages`, what both sides have in common, and `chosen` and `rejected`, the rest.

    Raises:
        UsageError: a column is missing, or cannot hold what it is named after.
    """
    names = raw.schema.names
    prompt = prompt_column or next((name for name in (*ANSWERS, *TURN_COLUMNS) if name in names), None)
    if prompt is not None and prompt not in names:
        raise UsageError(f"{raw.source}: there is no column {prompt!r}; there are: {', '.join(names)}")
    system = next((name for name in SYSTEM if name in names), None)
    mixed = [name for name in (*SIDES, prompt, system) if name and _is_inexact(raw, name)]
    if mixed and raw.written:
        raw = raw.written(mixed)  # whole values as text, not parts of them
    lists = {name for name in (*SIDES, prompt) if name and turn_fields(pa.list_(raw.schema.field(name).type))}
    schema = pa.schema([item.with_type(pa.list_(item.type)) if item.name in lists else item for item in raw.schema])
    seen = Seen(schema, raw.first, mixed)
    try:
        asked = seen.parts(prompt, None) if prompt else _system_alone(seen)
        answers = [ConversationColumns(None, None, seen.part(name, "assistant"), None) for name in SIDES]
    except UsageError as error:
        raise UsageError(f"{raw.source}: {error}") from error
    listed = replace(raw, schema=schema, read=lambda: (_with_lists(batch, schema) for batch in raw.read()))
    parts = (asked, *answers)
    kind = PARTED if any(listed.look(columns)[0] == PARTED for columns in parts if columns) else MESSAGES
    carried = _Carried.of(raw, {*SIDES, *(asked.columns() if asked else ())})
    result = pa.schema([("messages", kind), *((name, kind) for name in SIDES), *carried.fields])
    notes = list(raw.notes)

    def convert(batch: pa.RecordBatch) -> pa.RecordBatch:
        faults = {row: why for row, why in enumerate(faults_of(batch)) if why is not None}
        whole = _with_lists(batch, schema)
        empty = pa.nulls(batch.num_rows, MESSAGES)
        found = [messages_of(whole, columns, notes, faults) if columns else empty for columns in parts]
        turns = [[row or [] for row in conversations_of(column)] for column in found]
        if prompt is None or (asked and asked.main.kind == "either"):
            turns[1:] = [_dialogues(name, side, faults) for name, side in zip(SIDES, turns[1:], strict=True)]
        rows = [_parted(*row) for row in zip(*turns, strict=True)]
        columns = [as_type(kind, pa.array([row[at] for row in rows], PARTED), faults) for at in range(3)]
        columns += carried.columns(batch, faults)
        if not faults:
            return pa.record_batch(columns, schema=result)
        columns.append(pa.array([faults.get(row) for row in range(batch.num_rows)], pa.string()))
        return pa.record_batch(columns, schema=result.append(pa.field(FAULT, pa.string())))

    def read() -> Iterator[pa.RecordBatch]:
        for batch in raw.read():
            for start in range(0, batch.num_rows, BATCH_ROWS):
                yield convert(batch.slice(start, BATCH_ROWS))

    return Rows(raw.source, result, read, notes)


@dataclass(frozen=True, slots=True)
class _Carried:
    """Columns beside those of the pairs: their names as they come, which are of `RENDERING`, what they become."""

    names: list[str]
    rendered: dict[str, str]
    fields: list[pa.Field]

    @classmethod
    def of(cls, raw: Rows, used: Collection[str]) -> Self:
        rendered = found_in(raw.schema, used, raw.first)
        items = [item for item in raw.schema if item.name not in used and item.name != FAULT]
        taken = ("messages", *RENDERING.names)
        fields = [
            RENDERING.field(rendered[item.name])
            if item.name in rendered
            else item.with_name(free_name(item.name, taken, raw.schema.names))
            for item in items
        ]
        return cls([item.name for item in items], rendered, fields)

    def columns(self, batch: pa.RecordBatch, faults: dict[int, str]) -> list[pa.Array]:
        """Those of a batch. Adds to `faults`."""
        return [
            read_column(self.rendered[name], batch.column(name), faults)
            if name in self.rendered
            else batch.column(name)
            for name in self.names
        ]


def _is_inexact(raw: Rows, name: str) -> bool:
    """Whether the type of a column does not say how its values are written."""
    return name in raw.mixed or passes_objects(raw.schema.field(name).type)


def _with_lists(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A batch whose single turns are lists of one, where `schema` has lists."""
    columns = [
        column if column.type == item.type else _as_lists(column)
        for item, column in zip(schema, batch.columns, strict=False)  # what cannot be read comes last
    ]
    return pa.record_batch(columns, schema=schema)


def _dialogues(name: str, side: list[list[Message]], faults: dict[int, str]) -> list[list[Message]]:
    """One side of each pair, as turns where it is the text of a dialogue. Adds to `faults`."""
    found = []
    for place, row in enumerate(side):
        try:
            found.append(_spoken(row))
        except Unreadable as error:
            found.append([])
            faults.setdefault(place, f"{error} in {name}")
    return found


def _system_alone(seen: Seen) -> ConversationColumns | None:
    """The prompt where no column holds one: at most the system turn."""
    name = next((name for name in SYSTEM if seen.is_said(name)), None)
    return ConversationColumns(None, None, TurnColumn(name, "text", "system"), None) if name else None


def _spoken(turns: list[Message]) -> list[Message]:
    """The turns of a text that is a dialogue; any other side as it is.

    Raises:
        Unreadable: nothing is said in a turn.
    """
    if len(turns) != 1 or not is_dialogue(text := turns[0]["content"]):
        return turns
    found = spoken(text or "")
    if is_cue(text):
        raise Unreadable(f"no conversation: turn {len(found) + 1} is empty")
    return found


def _as_lists(turns: pa.Array) -> pa.ListArray:
    """A column of single turns as lists of one."""
    return pa.ListArray.from_arrays(pa.array(range(len(turns) + 1), pa.int32()), turns)


def _parted(
    asked: list[Message], chosen: list[Message], rejected: list[Message]
) -> tuple[list[Message], list[Message], list[Message]]:
    """What was asked, and either answer: sides that are whole conversations begin with what they have in common."""
    if chosen and rejected and chosen[0]["role"] != "assistant":
        same = 0
        while same < min(len(chosen), len(rejected)) and chosen[same] == rejected[same]:
            same += 1
        said = asked[:1] if asked and asked[0]["role"] == "system" != chosen[0]["role"] else []
        return [*said, *chosen[:same]], chosen[same:], rejected[same:]
    if chosen and asked[-len(chosen) :] == chosen:  # the conversation with its better answer, beside that answer
        return asked[: -len(chosen)], chosen, rejected
    return asked, chosen, rejected
