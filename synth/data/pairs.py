"""Preference pairs in the forms that public data has them in: what was asked, a better answer, a worse one.

The sides are `chosen` and `rejected`: texts, turns, lists of turns, or whole conversations, whose common start is what
was asked. Where they are answers, a prompt stands beside them under any name of `synth.data.schema.shapes`, with its
`system` turn. Where nothing does, texts may be dialogues as HH-RLHF has them (arXiv 2204.05862): "Human: …" and
"Assistant: …".
"""

import re
from collections.abc import Iterator

import pyarrow as pa

from synth.data.read import Rows, faults_of
from synth.data.row import FAULT, MESSAGES, PAIRS, Message
from synth.data.schema.assemble import ConversationColumns, TurnColumn, messages_of
from synth.data.schema.shapes import ANSWERS, SYSTEM, TURN_COLUMNS, Seen
from synth.data.schema.turns import Unreadable, turn_fields
from synth.errors import UsageError

SIDES = ("chosen", "rejected")
_SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}
BATCH_ROWS = 1_024
"""Pairs that are Python objects at a time."""


def has_pairs(schema: pa.Schema) -> bool:
    """Whether rows as they come are preference pairs."""
    return all(name in schema.names for name in SIDES)


def is_pairs(schema: pa.Schema) -> bool:
    """Whether rows are what `pairs` gives."""
    return all(name in schema.names and schema.field(name).type == MESSAGES for name in SIDES)


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
    mixed = [name for name in raw.mixed if name in {*SIDES, prompt, system}]
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
    used = {*SIDES, *(asked.columns() if asked else ())}
    passthrough = [item for item in raw.schema if item.name not in (*used, FAULT)]
    kept = [item.with_name("input_messages") if item.name == "messages" else item for item in passthrough]
    result = pa.schema([("messages", MESSAGES), *(PAIRS.field(name) for name in SIDES), *kept])
    notes = list(raw.notes)

    def convert(batch: pa.RecordBatch) -> pa.RecordBatch:
        faults = {row: why for row, why in enumerate(faults_of(batch)) if why is not None}
        whole = pa.record_batch(
            [
                _as_lists(column) if name in lists else column
                for name, column in zip(names, batch.columns, strict=False)
            ],
            schema=schema,
        )
        empty = pa.nulls(batch.num_rows, MESSAGES)
        found = [messages_of(whole, parts, notes, faults) if parts else empty for parts in (asked, *answers)]
        turns = [[row or [] for row in column.to_pylist()] for column in found]
        if prompt is None:
            for name, side in zip(SIDES, turns[1:], strict=True):
                for place, row in enumerate(side):
                    try:
                        side[place] = _spoken(row)
                    except Unreadable as error:
                        side[place] = []
                        faults.setdefault(place, f"{error} in {name}")
        rows = [_parted(*row) for row in zip(*turns, strict=True)]
        columns = [pa.array([row[at] for row in rows], MESSAGES) for at in range(3)]
        columns += [batch.column(item.name) for item in passthrough]
        if not faults:
            return pa.record_batch(columns, schema=result)
        columns.append(pa.array([faults.get(row) for row in range(batch.num_rows)], pa.string()))
        return pa.record_batch(columns, schema=result.append(pa.field(FAULT, pa.string())))

    def read() -> Iterator[pa.RecordBatch]:
        for batch in raw.read():
            for start in range(0, batch.num_rows, BATCH_ROWS):
                yield convert(batch.slice(start, BATCH_ROWS))

    return Rows(raw.source, result, read, notes)


def _system_alone(seen: Seen) -> ConversationColumns | None:
    """What was asked where no prompt stands beside the sides: at most what the system says."""
    name = next((name for name in SYSTEM if seen.is_said(name)), None)
    return ConversationColumns(None, None, TurnColumn(name, "text", "system"), None) if name else None


def _spoken(turns: list[Message]) -> list[Message]:
    """The turns of a text that is a dialogue; any other side as it is.

    Raises:
        Unreadable: nothing is said in a turn.
    """
    text = (turns[0]["content"] or "").strip() if len(turns) == 1 else ""
    if not text.startswith("Human:") or "\n\nAssistant:" not in text:
        return turns
    _, *parts = _SPEAKER.split(text)
    said = [part.strip() for part in parts[1::2]]
    if not all(said):
        raise Unreadable(f"no conversation: turn {said.index('') + 1} is empty")
    return [{"role": _ROLES[name], "content": words} for name, words in zip(parts[::2], said, strict=True)]


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
