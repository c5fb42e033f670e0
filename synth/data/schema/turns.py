"""Conversations as people write them, brought to turns of `role` and `content`, one by one and by whole columns.

A turn is an object with a role (`ROLE_NAMES`) and a content (`CONTENT_NAMES`). A content is text, or parts of which all
are text: these are joined, each on a line of its own. A conversation is a list of turns, also within one more list, or
the JSON text of such a list. What cannot be written as roles and texts without a loss (a tool call, a picture, a turn
that is not to be trained on) is `Unreadable`, and so is what is not there: its row is rejected with the reason.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute

from synth.data.row import MESSAGES, Message

ROLE_NAMES = ("role", "from", "speaker")
CONTENT_NAMES = ("content", "value", "text")

ROLES = {
    "human": "user",
    "prompter": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "ai": "assistant",
    "function_call": "assistant",
    "function_response": "tool",
    "observation": "tool",
}
"""Other names for roles, in lower case."""

KNOWN_ROLES = frozenset({"system", "user", "assistant", "tool", "developer"})
"""These, and those of `ROLES`, are meant in capitals, too; any other name stays as it is."""

CALLS = ("tool_calls", "function_call")
"""What a turn calls its calls of tools."""

WEIGHTS = ("weight", "loss", "train", "training")
"""What a turn calls that it is (1, true) or is not (0, false) to be trained on."""

_READ = frozenset({*ROLE_NAMES, *CONTENT_NAMES, *CALLS})
_TEXT_PARTS = ("text", "input_text", "output_text", None)


HALF = re.compile("[\ud800-\udfff]")
"""Half of a surrogate pair: no character, and left by programs that cut texts in the middle of one."""


def half_character(half: re.Match[str]) -> str:
    """Why a row with half a character in it cannot be read."""
    return f"no text: \\u{ord(half[0]):x} is half of a character (a surrogate without its pair)"


class Unreadable(Exception):
    """A conversation cannot be read. The message is the reason its row is rejected with: `kind: particulars`."""


def conversation(value: Any, dropped: set[str] | None = None) -> list[Message]:
    """The turns of one conversation; none where there is nothing.

    Args:
        value: a list of turns, or its JSON text.
        dropped: gets the names of what turns hold beside what is read.

    Raises:
        Unreadable: it is no list of turns, or some turn is not all text.
    """
    if isinstance(value, str):
        escapes = "\\u" in value
        value = _parsed(value) if value.strip() else None
        if escapes and (half := HALF.search(json.dumps(value, ensure_ascii=False))):
            raise Unreadable(half_character(half))
    if value is None:
        return []
    if not isinstance(value, list):
        raise Unreadable(f"no conversation: {_called(value)} instead of a list of turns")
    if value and all(isinstance(item, list) for item in value):
        if len(value) > 1:
            raise Unreadable(f"no conversation: {len(value)} lists of turns instead of one")
        [value] = value
    for turn in value:
        if dropped is not None and isinstance(turn, dict):
            dropped.update(name for name, item in turn.items() if name not in _READ and not _is_empty(item))
    return [_turn(number, turn) for number, turn in enumerate(value, 1)]


def is_conversation(value: Any) -> bool:
    """Whether a value, perhaps as JSON text, is a list of turns (which need not be readable)."""
    try:
        found = _parsed(value) if isinstance(value, str) else value
    except Unreadable:
        return False
    if isinstance(found, list) and len(found) == 1 and isinstance(found[0], list):
        [found] = found
    if not isinstance(found, list) or not found or not all(isinstance(turn, dict) for turn in found):
        return False
    return bool(_first(found[0], ROLE_NAMES) and _first(found[0], CONTENT_NAMES))


def normal_role(name: str) -> str:
    """What a role is called here."""
    plain = name.strip().lower()
    return plain if plain in KNOWN_ROLES else ROLES.get(plain, name)


def turn_fields(kind: pa.DataType) -> tuple[str, str] | None:
    """What a column of conversations calls a turn's role and content; None if it is no such column."""
    kind = _of_list(kind)
    inner = kind if kind is None or pa.types.is_struct(kind) else _of_list(kind)
    if inner is None or not pa.types.is_struct(inner):
        return None
    names = {item.name: item for item in inner}
    role, content = _first(names, ROLE_NAMES), _first(names, CONTENT_NAMES)
    return (role, content) if role and content else None


@dataclass(slots=True)
class Turns:
    """Some turns of each row.

    Attributes:
        count: how many; shape `[rows]`.
        values: all of them, one after another: structs of role and content.
        faults: why a row has none though it should, by its index.
    """

    count: NDArray[np.int64]
    values: pa.StructArray
    faults: dict[int, str]


def turns_of_column(column: pa.Array, notes: list[str], name: str) -> Turns:
    """The turns of a column of conversations, whatever its type.

    Rows of plain turns are brought over as they lie; the others one by one. `notes` gets what is not kept.
    """
    fields = turn_fields(column.type)
    if fields is None or not _is_flat(column.type, fields):
        return turns_of_values(column.to_pylist(), notes, name)
    count = compute.fill_null(compute.list_value_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    flat = column.flatten()
    role, content = (compute.struct_field(flat, item).cast(pa.string()) for item in fields)
    others = [item for item in flat.type.names if item not in _READ]
    _note_dropped([item for item in others if compute.struct_field(flat, item).null_count < len(flat)], notes, name)
    role = normal_roles(role)
    plain = pa.StructArray.from_arrays([role, content], ["role", "content"])
    odd = _odd_rows(flat, role, content, count)
    if not odd.any():
        return Turns(count, plain, {})
    places = np.flatnonzero(odd)
    again = turns_of_values(column.take(pa.array(places)).to_pylist(), notes, name)
    kept = plain.filter(pa.array(np.repeat(~odd, count)))
    of_kept, of_again = np.repeat(np.flatnonzero(~odd), count[~odd]), np.repeat(places, again.count)
    order = np.argsort(np.concatenate([of_kept, of_again]), kind="stable")
    count[places] = again.count
    values = pa.concat_arrays([kept, again.values]).take(pa.array(order))
    return Turns(count, values, {int(places[index]): reason for index, reason in again.faults.items()})


def turns_of_values(values: Sequence[Any], notes: list[str], name: str) -> Turns:
    """The turns of conversations one by one, whatever the forms. `notes` gets what is not kept."""
    found: list[list[Message]] = []
    faults: dict[int, str] = {}
    dropped: set[str] = set()
    for index, value in enumerate(values):
        try:
            found.append(conversation(value, dropped))
        except Unreadable as error:
            found.append([])
            faults[index] = str(error)
    _note_dropped(sorted(dropped), notes, name)
    flat = [turn for turns in found for turn in turns]
    return Turns(np.array([len(turns) for turns in found], np.int64), pa.array(flat, MESSAGES.value_type), faults)


def is_plain(column: pa.Array) -> bool:
    """Whether a column of `messages` is as it is to be: each row some turns, each turn a role of ours and a content."""
    if column.type != MESSAGES:
        return False
    flat = column.flatten()
    role, content = compute.struct_field(flat, "role"), compute.struct_field(flat, "content")
    if role.null_count or content.null_count or compute.min(compute.list_value_length(column)).as_py() == 0:
        return False
    return normal_roles(role) is role


def normal_roles(role: pa.StringArray) -> pa.StringArray:
    """A column of roles as they are called here, null where there is none; the same array where they are."""
    names = role.unique()
    mapped = [normal_role(name) if name and name.strip() else None for name in names.to_pylist()]
    if mapped == names.to_pylist():
        return role
    return pa.array(mapped, pa.string()).take(compute.index_in(role, value_set=names))


def holds_text(kind: pa.DataType) -> bool:
    """Whether a column holds text, however stored."""
    return is_text(kind) and not pa.types.is_null(kind)


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds text (or nothing), however stored."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return kind in (pa.string(), pa.large_string(), pa.string_view(), pa.null())


def _turn(number: int, turn: Any) -> Message:
    if not isinstance(turn, dict):
        raise Unreadable(f"no turn: turn {number} is {_called(turn)}")
    role = next((turn[name] for name in ROLE_NAMES if turn.get(name) is not None), None)
    if not isinstance(role, str) or not role.strip():
        raise Unreadable(f"no role: turn {number} has {_called(role) if role else 'none'}")
    role = normal_role(role)
    for name in CALLS:
        if not _is_empty(turn.get(name)):
            called = f" ({names})" if (names := ", ".join(_called_names(turn[name]))) else ""
            raise Unreadable(f"tool call: turn {number} calls a tool{called}, which cannot be written in a chat yet")
    for name in WEIGHTS:
        if role == "assistant" and turn.get(name) in (0, False, "false", "0"):
            raise Unreadable(f"turn not to be trained on: turn {number} has {name} {json.dumps(turn[name])}")
    content = next((turn[name] for name in CONTENT_NAMES if turn.get(name) is not None), None)
    return {"role": role, "content": _text(content, f"turn {number} ({role})")}


def _text(content: Any, where: str) -> str:
    if isinstance(content, str):
        return content
    if content is None or content == []:
        raise Unreadable(f"no content: {where} has none")
    if isinstance(content, bool | int) or (isinstance(content, float) and np.isfinite(content)):
        return json.dumps(content)
    if isinstance(content, float):
        raise Unreadable(f"no content: {where} has {content}, which is no number")
    parts = content if isinstance(content, list) else [content]
    return "\n".join(_part(part, where) for part in parts)


def _part(part: Any, where: str) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        raise Unreadable(f"not text: {where} holds {_called(part)}")
    kind, text = part.get("type"), part.get("text")
    if kind in _TEXT_PARTS and isinstance(text, str):
        return text
    named = f"a part of type {kind}" if kind and kind not in _TEXT_PARTS else "a part without text"
    raise Unreadable(f"not text: {where} holds {named}")


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        said = error.msg if isinstance(error, json.JSONDecodeError) else "it cannot be read"
        raise Unreadable(f"no conversation: text that is no JSON ({said})") from error


def _called_names(calls: Any) -> list[str]:
    """The names of the tools that are called, as far as they are given."""
    found = []
    for call in calls if isinstance(calls, list) else [calls]:
        inner = call.get("function", call) if isinstance(call, dict) else None
        if isinstance(inner, dict) and isinstance(inner.get("name"), str):
            found.append(inner["name"][:60])
    return found


def _is_empty(value: Any) -> bool:
    """Whether there is nothing in a value: what a file leaves out is null in its column, however deep."""
    if isinstance(value, dict):
        return all(map(_is_empty, value.values()))
    return value is None or value in ("", [])


def _called(value: Any) -> str:
    if isinstance(value, bool):
        return "a truth value"
    names = {dict: "an object", list: "a list", str: "text", type(None): "null"}
    return names.get(type(value), "a number")


def _first(there: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in there), None)


def _of_list(kind: pa.DataType) -> pa.DataType | None:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return kind.value_type if is_list else None


def _is_flat(kind: pa.DataType, fields: tuple[str, str]) -> bool:
    """Whether turns lie in one list, their roles and contents being text."""
    inner = kind.value_type
    if not pa.types.is_struct(inner) or pa.types.is_fixed_size_list(kind):
        return False
    also = [item.name for item in inner if item.name in (*ROLE_NAMES, *CONTENT_NAMES) and item.name not in fields]
    return not also and all(is_text(inner.field(item).type) for item in fields)


def _odd_rows(flat: pa.StructArray, role: pa.Array, content: pa.Array, count: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which rows have a turn that lacks a role or a content, or says more than these."""
    odd_turns = [array.is_null() for array in (role, content) if array.null_count]
    for item in flat.type:
        if item.name in (*CALLS, *WEIGHTS):
            odd_turns.append(compute.struct_field(flat, item.name).is_valid())
    odd = np.zeros(len(count), np.bool_)
    rows = np.repeat(np.arange(len(count)), count) if odd_turns else None
    for turns in odd_turns:
        odd[rows[turns.to_numpy(zero_copy_only=False)]] = True  # type: ignore[index]
    return odd


def _note_dropped(names: Sequence[str], notes: list[str], column: str) -> None:
    for name in names:
        if (note := f"not kept: {name!r} of each turn in {column!r}") not in notes:
            notes.append(note)
