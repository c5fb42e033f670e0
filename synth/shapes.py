"""The common shapes of conversation data, turned into `messages` and `reference`, whole columns at a time.

    messages              list of {role, content}; also under the name `conversation` or `conversations`
    ShareGPT              the same with {from, value} and roles such as human and gpt
    prompt / completion   text, or lists of messages (TRL); other pairs of names are in `ANSWERS`
    alpaca                instruction, input, output

`messages` become the user's turns and, where the data has an answer, the assistant's. `reference` becomes the text
of the closing assistant turn, unless the data has a `reference` column, or a `method` column, which says that a
model wrote the answer. The columns used up are gone, all others are carried through. Of those, what bears a name of
`synth.row.BASE` is ours if its values fit without loss and, where the rows were not `messages` before, if it
describes the task rather than somebody's answer (`TASK_COLUMNS`); else it is renamed `input_NAME`.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute

from synth.errors import UsageError
from synth.row import BASE, MESSAGES

TURN_COLUMNS = ("messages", "conversations", "conversation")

ANSWERS = {
    "prompt": ("completion", "response", "canonical_solution"),
    "question": ("answer", "response"),
    "problem": ("solution",),
    "query": ("response", "answer"),
    "instruction": ("output", "response"),
}
"""Names of a prompt column, each with the names its answer goes by."""

CONTEXT = {"instruction": ("input", "context")}
"""What follows the prompt, after an empty line, in the same user turn."""

ROLES = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "function_response": "tool",
    "observation": "tool",
}
"""ShareGPT's names for roles; any other name stays as it is."""

TASK_COLUMNS = ("id", "reference", "verifier")


@dataclass(slots=True)
class Shape:
    """How the rows of one schema become ours: `convert` turns a batch of that schema into one of `schema`.

    `notes` say what was recognised and what is not kept; conversion adds to them as it meets such data.
    """

    schema: pa.Schema
    convert: Callable[[pa.RecordBatch], pa.RecordBatch]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Part:
    """Some of a conversation's turns: one `role` turn from a text column, or a column of turns (role None)."""

    column: str
    role: str | None
    context: str | None = None


def recognise(schema: pa.Schema, *, prompt_column: str | None = None, reference_column: str | None = None) -> Shape:
    """Find the conversation in the columns of `schema`.

    Args:
        schema: of the rows as they come.
        prompt_column: the column that holds the prompt (text or messages), instead of a guess.
        reference_column: the column that holds the answer, likewise.

    Raises:
        UsageError: a named column is missing or of another type, a name is there twice, no known columns are there,
            or several answers are.
    """
    if twice := {name for name, count in Counter(schema.names).items() if count > 1}:
        raise UsageError(f"several columns are called {' and '.join(sorted(twice))}: rename them")
    for name in (prompt_column, reference_column):
        if name is not None and name not in schema.names:
            raise UsageError(f"there is no column {name!r}; there are: {', '.join(schema.names)}")
    turns = next((name for name in TURN_COLUMNS if _turn_fields(schema, name)), None)
    if prompt_column is None and turns is not None:
        return _plan(schema, [_Part(turns, None)], reference_column)
    prompt = prompt_column or _guess_prompt(schema)
    answer = reference_column
    if answer is None and prompt_column is None:
        answer = _guess_answer(schema, prompt)
    parts = [_part(schema, prompt, "user")]
    if answer is not None:
        parts.append(_part(schema, answer, "assistant"))
    return _plan(schema, parts, reference_column)


def last_answer(messages: pa.ListArray) -> pa.StringArray:
    """The text of each conversation's last turn where that is the assistant's and not empty, else null."""
    lengths = compute.fill_null(compute.list_value_length(messages), 0).to_numpy(zero_copy_only=False)
    turns = messages.flatten()
    last = turns.take(pa.array(np.cumsum(lengths) - 1, mask=lengths == 0))
    text = compute.struct_field(last, "content")
    is_answer = compute.equal(compute.struct_field(last, "role"), "assistant")
    return compute.if_else(compute.and_(is_answer, _filled(text)), text, None)


def _guess_prompt(schema: pa.Schema) -> str:
    found = [name for name in ANSWERS if name in schema.names and _usable(schema, name)]
    if len(found) == 1:
        return found[0]
    problem = f"several columns may be the prompt ({', '.join(found)})" if found else "no conversation recognised"
    columns = ", ".join(f"{item.name} ({_short(item.type)})" for item in schema)
    raise UsageError(f"{problem} in the columns {columns}: name them with --prompt-column and --reference-column")


def _guess_answer(schema: pa.Schema, prompt: str) -> str | None:
    found = [name for name in ANSWERS[prompt] if name in schema.names and _usable(schema, name)]
    if len(found) > 1:
        raise UsageError(
            f"several columns may be the answer ({', '.join(found)}): name them with --prompt-column and "
            "--reference-column"
        )
    return found[0] if found else None


def _usable(schema: pa.Schema, name: str) -> bool:
    return _is_text(schema.field(name).type) or _turn_fields(schema, name) is not None


def _part(schema: pa.Schema, name: str, role: str) -> _Part:
    kind = schema.field(name).type
    if _turn_fields(schema, name):
        return _Part(name, None)
    if not (_is_text(kind) or (role == "assistant" and _is_number(kind))):
        raise UsageError(f"column {name!r} holds {_short(kind)}; a {role}'s turn is text or a list of messages")
    context = next((item for item in CONTEXT.get(name, ()) if item in schema.names), None)
    if context is not None and not _is_text(schema.field(context).type):
        context = None
    return _Part(name, role, context)


def _plan(schema: pa.Schema, parts: list[_Part], reference: str | None) -> Shape:
    """Lay out the columns to come: carried ones cast or renamed, `messages` where the first part was.

    `reference` is the column the user named for it, if any.
    """
    were_messages = parts[0].column == "messages"
    read = [name for part in parts for name in (part.column, part.context) if name]
    used = {*read, reference}
    notes: list[str] = []
    carried: dict[str, tuple[str, pa.DataType]] = {}  # new name: old name, type
    for item in schema:
        if item.name in used:
            continue
        name, kind = item.name, item.type
        if name in BASE.names:
            ours = BASE.field(name).type
            replaced = name == "reference" and reference is not None
            if _fits(kind, ours) and (were_messages or name in TASK_COLUMNS) and not replaced:
                kind = ours
            else:
                while name in schema.names:
                    name = f"input_{name}"
                notes.append(f"column {item.name!r} is carried as {name!r}")
        carried[name] = (item.name, kind)
    if reference is not None and reference not in read:  # a column beside whole conversations, and no turn of them
        if not (_is_text(kind := schema.field(reference).type) or _is_number(kind)):
            raise UsageError(f"column {reference!r} holds {_short(kind)}; a reference is text")
        carried["reference"] = (reference, pa.string())
    derived = "reference" not in carried and (reference is not None or "method" not in carried)
    fields = [pa.field(name, kind) for name, (_, kind) in carried.items()]
    at = sum(item.name not in used for item in list(schema)[: schema.get_field_index(parts[0].column)])
    fields[at:at] = [pa.field("messages", MESSAGES)]
    if derived:
        fields.insert(at + 1, pa.field("reference", pa.string()))
    result = pa.schema(fields)
    if read != ["messages"]:
        notes.insert(0, f"conversation read from: {', '.join(read)}")

    def convert(batch: pa.RecordBatch) -> pa.RecordBatch:
        columns = {name: _cast(batch, old, kind) for name, (old, kind) in carried.items()}
        columns["messages"] = messages = _messages(batch, parts, notes)
        if derived:
            columns["reference"] = last_answer(messages)
        return pa.record_batch([columns[item.name] for item in result], schema=result)

    return Shape(result, convert, notes)


def _messages(batch: pa.RecordBatch, parts: list[_Part], notes: list[str]) -> pa.ListArray:
    """The parts of each row in one list; null where the first part is missing or empty."""
    first = batch.column(parts[0].column)
    if len(parts) == 1 and first.type == MESSAGES and not _any_empty(first):
        return first
    present: NDArray[np.bool_] | None = None
    lengths: list[NDArray[np.int64]] = []
    turns: list[pa.StructArray] = []
    for part in parts:
        count, values = _turns(batch, part, present, notes)
        present = count > 0 if present is None else present
        lengths.append(count)
        turns.append(values)
    total = np.sum(lengths, axis=0)
    values = turns[0]
    if len(turns) > 1:
        row = np.concatenate([np.repeat(np.arange(len(total)), count) for count in lengths])
        values = pa.concat_arrays(turns).take(pa.array(np.argsort(row, kind="stable")))
    offsets = np.concatenate([[0], np.cumsum(total)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=pa.array(total == 0)).cast(MESSAGES)


def _turns(
    batch: pa.RecordBatch, part: _Part, present: NDArray[np.bool_] | None, notes: list[str]
) -> tuple[NDArray[np.int64], pa.StructArray]:
    """How many turns the part adds to each row [rows], and those turns one after another [sum of these]."""
    if part.role is None:
        column = batch.column(part.column)
        if present is not None:
            column = compute.if_else(pa.array(present), column, None)
        count = compute.fill_null(compute.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        return count.astype(np.int64), _named_turns(batch.schema, part.column, column.flatten(), notes)
    text = _text(batch, part)
    keep = _filled(text)
    if present is not None:
        keep = compute.and_(keep, pa.array(present))
    content = text.filter(keep)
    role = pa.array([part.role]).take(pa.array(np.zeros(len(content), np.int64)))
    count = keep.to_numpy(zero_copy_only=False).astype(np.int64)
    return count, pa.StructArray.from_arrays([role, content], ["role", "content"])


def _named_turns(schema: pa.Schema, name: str, turns: pa.StructArray, notes: list[str]) -> pa.StructArray:
    """Turns with exactly `role` and `content`; what else they held is noted."""
    fields = _turn_fields(schema, name) or ("role", "content")
    role, content = (compute.struct_field(turns, item).cast(pa.string()) for item in fields)
    if fields == ("from", "value"):
        known = pa.array(ROLES.values()).take(compute.index_in(role, value_set=pa.array(ROLES)))
        role = compute.coalesce(known, role)
    for item in turns.type:
        note = f"not kept: {item.name!r} of each turn in {name!r}"
        if item.name not in fields and note not in notes:
            values = compute.struct_field(turns, item.name)
            if values.null_count < len(values):
                notes.append(note)
    return pa.StructArray.from_arrays([role, content], ["role", "content"])


def _text(batch: pa.RecordBatch, part: _Part) -> pa.StringArray:
    text = batch.column(part.column).cast(pa.string())
    if part.context is None:
        return text
    context = batch.column(part.context).cast(pa.string())
    joined = compute.binary_join_element_wise(text, context, "\n\n")
    return compute.if_else(compute.and_(_filled(text), _filled(context)), joined, text)


def _cast(batch: pa.RecordBatch, name: str, kind: pa.DataType) -> pa.Array:
    column = batch.column(name)
    if column.type == kind:
        return column
    try:
        return column.cast(kind)
    except pa.ArrowInvalid as error:
        raise UsageError(f"column {name!r} cannot become {kind}: {error}; rename it") from error


def _filled(text: pa.Array) -> pa.BooleanArray:
    """Whether there is more than white space."""
    return compute.fill_null(compute.match_substring_regex(text, r"\S"), False)


def _any_empty(column: pa.ListArray) -> bool:
    return bool(compute.min(compute.list_value_length(column)).as_py() == 0)


def _turn_fields(schema: pa.Schema, name: str) -> tuple[str, str] | None:
    """What a column of turns calls role and content; None if it is no such column."""
    kind = schema.field(name).type if name in schema.names else pa.null()
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)) or not pa.types.is_struct(kind.value_type):
        return None
    turn = {item.name: item.type for item in kind.value_type}
    for fields in (("role", "content"), ("from", "value")):
        if all(item in turn and _is_text(turn[item]) for item in fields):
            return fields
    return None


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return kind in (pa.string(), pa.large_string(), pa.string_view(), pa.null())


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _fits(kind: pa.DataType, ours: pa.DataType) -> bool:
    """Whether values of a type can be ours without loss (a too large integer is found when it comes)."""
    if ours == pa.string():
        return _is_text(kind) or bool(pa.types.is_integer(kind))
    if ours == pa.int32():
        return bool(pa.types.is_integer(kind) or pa.types.is_null(kind))
    return kind == ours or (ours == pa.float64() and (_is_number(kind) or bool(pa.types.is_null(kind))))


def _short(kind: pa.DataType) -> str:
    text = str(kind)
    return text if len(text) <= 60 else f"{text[:57]}…"
