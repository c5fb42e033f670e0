"""Whole columns of conversations brought to turns of ours: plain rows as they lie, the others one by one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute

from synth.data.row import MESSAGES, PARTED, Message, conversations_of, has_parts
from synth.data.schema.openings import thinking
from synth.data.schema.parts import CALL_ROLES, CALLS, CHANNEL, THOUGHTS, Unreadable
from synth.data.schema.turns import (
    CONTENT_NAMES,
    OF_RESULTS,
    READ,
    ROLE_NAMES,
    WEIGHTS,
    conversation,
    is_text,
    normal_role,
    not_kept,
    turn_fields,
)

_SETTLED = ("reasoning_content", "tool_call_id", "name")
"""Parts that `PARTED` has in their place; calls are looked at one by one."""


@dataclass(slots=True)
class Turns:
    """Some turns of each row.

    Attributes:
        count: how many; shape `[rows]`.
        values: all of them, one after another: structs as in `MESSAGES`, or as in `PARTED`.
        faults: why a row has none though it should, by its index.
    """

    count: NDArray[np.int64]
    values: pa.StructArray
    faults: dict[int, str]


def turns_of_column(column: pa.Array, notes: list[str], name: str, *, may_think: bool = True) -> Turns:
    """The turns of a column of conversations, whatever its type.

    Rows of plain turns are brought over as they lie; the others one by one. `notes` gets what is not kept. `may_think`
    says whether some content may begin with thoughts.
    """
    fields = turn_fields(column.type)
    if fields is None or not _is_flat(column.type, fields):
        return turns_of_values(column.to_pylist(), notes, name)
    count = compute.fill_null(compute.list_value_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    flat = column.flatten()
    role, content = (compute.struct_field(flat, item).cast(pa.string()) for item in fields)
    others = [item for item in flat.type.names if item not in (*READ, *OF_RESULTS)]
    _note([not_kept(item) for item in others if compute.struct_field(flat, item).null_count < len(flat)], notes, name)
    named, role = role, normal_roles(role)
    odd = _odd_rows(flat, named, role, content, count)
    if may_think:
        odd[np.repeat(np.arange(len(count)), count)[_thinking(role, content)]] = True
    if column.type == PARTED:
        plain = pa.StructArray.from_arrays([role, *flat.flatten()[1:]], fields=list(PARTED.value_type))
    else:
        plain = pa.StructArray.from_arrays([role, content], ["role", "content"])
    if not odd.any():
        return Turns(count, plain, {})
    places = np.flatnonzero(odd)
    again = turns_of_values(column.take(pa.array(places)).to_pylist(), notes, name)
    kept = plain.filter(pa.array(np.repeat(~odd, count)))
    of_kept, of_again = np.repeat(np.flatnonzero(~odd), count[~odd]), np.repeat(places, again.count)
    order = np.argsort(np.concatenate([of_kept, of_again]), kind="stable")
    count[places] = again.count
    values = joined([kept, again.values]).take(pa.array(order))
    return Turns(count, values, {int(places[index]): reason for index, reason in again.faults.items()})


def turns_of_values(values: Sequence[Any], notes: list[str], name: str) -> Turns:
    """The turns of conversations one by one, whatever the forms. `notes` gets what is not kept."""
    found: list[list[Message]] = []
    faults: dict[int, str] = {}
    noted: set[str] = set()
    for index, value in enumerate(values):
        try:
            found.append(conversation(value, noted))
        except Unreadable as error:
            found.append([])
            faults[index] = str(error)
    _note(sorted(noted), notes, name)
    flat = [turn for turns in found for turn in turns]
    kind = (PARTED if has_parts(flat) else MESSAGES).value_type
    return Turns(np.array([len(turns) for turns in found], np.int64), pa.array(flat, kind), faults)


def joined(turns: Sequence[pa.StructArray]) -> pa.StructArray:
    """Turns one after another: with parts if some of them have any."""
    if any(some.type == PARTED.value_type for some in turns):
        turns = [with_nulls(some) for some in turns]
    return pa.concat_arrays(turns)


def with_nulls(turns: pa.StructArray) -> pa.StructArray:
    """Turns as in `PARTED`, without parts if they had no place for any."""
    return turns.cast(PARTED.value_type)


def as_type(kind: pa.DataType, messages: pa.ListArray, faults: dict[int, str]) -> pa.ListArray:
    """Conversations of one type. Where it has no place for the parts of a turn, `faults` says so of the row."""
    if messages.type == kind:
        return messages
    if kind == MESSAGES:
        late = "late parts: no turn of the many rows before has thoughts or calls; put this row first"
        parted = (row for row, turns in enumerate(conversations_of(messages)) if turns and has_parts(turns))
        faults |= {row: late for row in parted if row not in faults}
    return messages.cast(kind)


def is_settled(column: pa.Array, *, may_think: bool = True) -> bool:
    """Whether a column of `messages` is as it is to be: each row some turns, each turn a role of ours and a content.

    Thoughts stand in their place, and so do calls of tools, which are looked at one by one. `may_think` says whether
    some content may begin with thoughts.
    """
    if column.type not in (MESSAGES, PARTED):
        return False
    flat = column.flatten()
    role, content = compute.struct_field(flat, "role"), compute.struct_field(flat, "content")
    if role.null_count or content.null_count or compute.min(compute.list_value_length(column)).as_py() == 0:
        return False
    if column.type == PARTED and compute.struct_field(flat, "tool_calls").null_count < len(flat):
        return False
    return normal_roles(role) is role and not (may_think and len(_thinking(role, content)))


def normal_roles(role: pa.StringArray) -> pa.StringArray:
    """A column of roles as they are called here, null where there is none; the same array where they are."""
    names = role.unique()
    mapped = [normal_role(name) if name and name.strip() else None for name in names.to_pylist()]
    if mapped == names.to_pylist():
        return role
    return pa.array(mapped, pa.string()).take(compute.index_in(role, value_set=names))


def _is_flat(kind: pa.DataType, fields: tuple[str, str]) -> bool:
    """Whether turns lie in one list, their roles and contents being text."""
    inner = kind.value_type
    if not pa.types.is_struct(inner) or pa.types.is_fixed_size_list(kind):
        return False
    also = [item.name for item in inner if item.name in (*ROLE_NAMES, *CONTENT_NAMES) and item.name not in fields]
    return not also and all(is_text(inner.field(item).type) for item in fields)


def _odd_rows(
    flat: pa.StructArray, named: pa.Array, role: pa.Array, content: pa.Array, count: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which rows have a turn that lacks a role or a content, or says more than these.

    `named` are roles as they come, `role` as they are called here.
    """
    odd_turns = [array.is_null() for array in (role, content) if array.null_count]
    settled = _SETTLED if flat.type == PARTED.value_type else ()
    for item in flat.type:
        if item.name in (*CALLS, *WEIGHTS, *THOUGHTS, *OF_RESULTS, CHANNEL) and item.name not in settled:
            odd_turns.append(compute.struct_field(flat, item.name).is_valid())
    if calls := [name for name in named.unique().to_pylist() if name and name.strip().lower() in CALL_ROLES]:
        odd_turns.append(compute.is_in(named, pa.array(calls)))
    odd = np.zeros(len(count), np.bool_)
    rows = np.repeat(np.arange(len(count)), count) if odd_turns else None
    for turns in odd_turns:
        odd[rows[compute.fill_null(turns, False).to_numpy(zero_copy_only=False)]] = True  # type: ignore[index]
    return odd


def _thinking(role: pa.Array, content: pa.Array) -> NDArray[np.int64]:
    """Which of the assistant's contents may begin with thoughts, by index; they are looked at one by one."""
    found = thinking(content)
    said = compute.equal(role.take(pa.array(found)), "assistant")
    kept: NDArray[np.int64] = found[compute.fill_null(said, False).to_numpy(zero_copy_only=False)]
    return kept


def may_have_parts(kind: pa.DataType) -> bool:
    """Whether a column has a place for the parts of turns, as its type says."""
    inner = [kind.field(index) for index in range(kind.num_fields)]
    return any(item.name in (*THOUGHTS, *CALLS, *OF_RESULTS, CHANNEL) or may_have_parts(item.type) for item in inner)


def passes_objects(kind: pa.DataType) -> bool:
    """Whether calls of tools pass objects: their type does not say which keys are not there and which are null."""
    inner = [kind.field(index) for index in range(kind.num_fields)]
    return any(
        (item.name in ("arguments", "parameters", "input") and pa.types.is_nested(item.type))
        or passes_objects(item.type)
        for item in inner
    )


def _note(said: Iterable[str], notes: list[str], column: str) -> None:
    for one in said:
        if (note := f"{one} in {column!r}") not in notes:
            notes.append(note)
