"""Conversations as people write them, brought to turns of ours, one by one and by whole columns.

A turn is an object with a role (`ROLE_NAMES`) and a content (`CONTENT_NAMES`), and perhaps with thoughts, calls of
tools and what else `synth.data.schema.parts` reads. A content is text, or parts of which all are text: these are
joined, each on a line of its own. A conversation is a list of turns, also within one more list, the JSON text of such
a list, or what `synth.data.schema.dialogues` reads. What cannot be written without a loss (a picture, a turn not to be
trained on, thoughts that do not end) is `Unreadable`, and so is what is not there: its row is rejected with the reason.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from filters.response.thoughts import opening_thoughts
from synth.data.row import Message
from synth.data.schema.dialogues import is_dialogue, spoken, with_roles
from synth.data.schema.parts import (
    ANSWERED,
    CALL_ROLES,
    CALLS,
    THOUGHTS,
    Unreadable,
    calls_in,
    calls_of_content,
    has_channels,
    is_nothing,
    parsed,
    present,
    thoughts_in,
    without_channels,
    without_tool_parts,
)

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
    **dict.fromkeys(CALL_ROLES, "assistant"),
    "function": "tool",
    "function_response": "tool",
    "tool_response": "tool",
    "observation": "tool",
}
"""Other names for roles, in lower case."""

KNOWN_ROLES = frozenset({"system", "user", "assistant", "tool", "developer"})
"""These, and those of `ROLES`, are meant in capitals, too; any other name stays as it is."""

WEIGHTS = ("weight", "loss", "train", "training")
"""What a turn calls that it is (1, true) or is not (0, false) to be trained on."""

READ = frozenset({*ROLE_NAMES, *CONTENT_NAMES, *CALLS, *THOUGHTS})
OF_RESULTS = ("name", *ANSWERED)
_TEXT_PARTS = ("text", "input_text", "output_text", None)
_THOUGHT_PARTS = ("thinking", "reasoning")

HALF = re.compile("[\ud800-\udfff]")
"""Half of a surrogate pair: no character, and left by programs that cut texts in the middle of one."""


def half_character(half: re.Match[str]) -> str:
    """Why a row with half a character in it cannot be read."""
    return f"no text: \\u{ord(half[0]):x} is half of a character (a surrogate without its pair)"


def conversation(value: Any, noted: set[str] | None = None) -> list[Message]:
    """The turns of one conversation; none where there is nothing.

    Args:
        value: a list of turns, or its JSON text.
        noted: gets what is to be said of the column: what turns hold beside what is read, and what thoughts begin with.

    Raises:
        Unreadable: it is no list of turns, or some turn is not all text.
    """
    if is_dialogue(value):
        return spoken(value)
    if isinstance(value, str):
        escapes = "\\u" in value
        value = parsed(value, "no conversation: text that") if value.strip() else None
        if escapes and (half := HALF.search(json.dumps(value, ensure_ascii=False))):
            raise Unreadable(half_character(half))
    else:
        value = present(value)
    if value is None:
        return []
    if not isinstance(value, list):
        raise Unreadable(f"no conversation: {_called(value)} instead of a list of turns")
    if value and all(isinstance(item, list) for item in value):
        if len(value) > 1:
            raise Unreadable(f"no conversation: {len(value)} lists of turns instead of one")
        [value] = value
    if value and all(isinstance(item, str) for item in value) and value[0].lstrip().startswith("{"):  # turns as JSON
        value = [parsed(item, "no conversation: a turn that") for item in value]
    value = without_tool_parts(with_roles(value))
    if has_channels(value):
        value = without_channels(value)
    found: list[Message] = []
    for number, turn in enumerate(value, 1):
        message = _turn(number, turn, noted)
        if noted is not None:
            known = {*READ, *OF_RESULTS} if message["role"] == "tool" else READ
            noted.update(not_kept(name) for name, item in turn.items() if name not in known and not is_nothing(item))
        if _is_call(turn) and found and found[-1]["role"] == "assistant" and "reasoning_content" not in message:
            found[-1]["tool_calls"] = [*found[-1].get("tool_calls", ()), *message["tool_calls"]]
        else:
            found.append(message)
    return found


def is_conversation(value: Any) -> bool:
    """Whether a value, perhaps as JSON text, is a list of turns (which need not be readable)."""
    try:
        found = parsed(value, "no conversation: text that") if isinstance(value, str) else value
        if isinstance(found, list) and len(found) == 1 and isinstance(found[0], list):
            [found] = found
        if isinstance(found, list) and found and all(isinstance(turn, str) for turn in found):
            found = [parsed(found[0], "no conversation: a turn that")]
    except Unreadable:
        return False
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


def holds_text(kind: pa.DataType) -> bool:
    """Whether a column holds text, however stored."""
    return is_text(kind) and not pa.types.is_null(kind)


def holds_texts(kind: pa.DataType) -> bool:
    """Whether a column holds lists of texts, such as turns that are JSON one by one."""
    return (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and holds_text(kind.value_type)


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds text (or nothing), however stored."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return kind in (pa.string(), pa.large_string(), pa.string_view(), pa.null())


def not_kept(name: str) -> str:
    """What is said of a key of turns that is not read."""
    return f"not kept: {name!r} of each turn"


def _turn(number: int, turn: Any, noted: set[str] | None) -> Message:
    if not isinstance(turn, dict):
        raise Unreadable(f"no turn: turn {number} is {_called(turn)}")
    role = next((turn[name] for name in ROLE_NAMES if turn.get(name) is not None), None)
    if not isinstance(role, str) or not role.strip():
        raise Unreadable(f"no role: turn {number} has {_called(role) if role else 'none'}")
    role = normal_role(role)
    where = f"turn {number} ({role})"
    content = next((turn[name] for name in CONTENT_NAMES if turn.get(name) is not None), None)
    if role != "assistant":
        return _said(role, content, turn, where)
    for name in WEIGHTS:
        if turn.get(name) in (0, False, "false", "0"):
            raise Unreadable(f"turn not to be trained on: turn {number} has {name} {json.dumps(turn[name])}")
    if isinstance(content, list) and any(map(_kind_of_part, content)):
        turn, content = _of_parts(turn, content)
    thoughts, calls = thoughts_in(turn, where), calls_in(turn, where)
    if isinstance(content, str) and (opening := opening_thoughts(content)):
        if opening.thoughts is None:
            raise Unreadable(f"thoughts do not end: {where} opens them with {opening.marker}")
        if thoughts and opening.thoughts not in ("", thoughts):
            raise Unreadable(f"thoughts: {where} has some beside its content, and others in it")
        thoughts, content = thoughts or opening.thoughts, opening.content
        if noted is not None:
            noted.add(f"thoughts are what an answer begins with, marked by {opening.marker[:40]}")
    if _is_call(turn):
        calls, content = calls_of_content(content, where), ""
    elif calls and content is None:
        content = ""
    if thoughts and not calls and (content is None or content == ""):
        raise Unreadable(f"no content: {where} has thoughts alone")
    message: Message = {"role": role, "content": _text(content, where)}
    return message | ({"reasoning_content": thoughts} if thoughts else {}) | ({"tool_calls": calls} if calls else {})


def _said(role: str, content: Any, turn: Mapping[str, Any], where: str) -> Message:
    """A turn that is not the assistant's; that of a tool says which, and which call it answers."""
    for name in (*CALLS, *THOUGHTS):
        if not is_nothing(turn.get(name)):
            raise Unreadable(f"{'tool call' if name in CALLS else 'thoughts'}: {where} has {name!r}")
    if role != "tool":
        return {"role": role, "content": _text(content, where)}
    if isinstance(content, dict) or (isinstance(content, list) and not all(map(_is_text_part, content))):
        content = json.dumps(content, ensure_ascii=False)
    answered = next((turn[name] for name in ANSWERED if not is_nothing(turn.get(name))), None)
    named = {"tool_call_id": answered, "name": turn.get("name")}
    message: Message = {"role": role, "content": _text(content, where)}
    return message | {name: str(value) for name, value in named.items() if not is_nothing(value)}


def _is_call(turn: Mapping[str, Any]) -> bool:
    """Whether a turn is nothing but calls of tools, as its role says."""
    return any(str(turn.get(name)).strip().lower() in CALL_ROLES for name in ROLE_NAMES)


def _is_text_part(part: Any) -> bool:
    return isinstance(part, str) or (isinstance(part, dict) and part.get("type") in _TEXT_PARTS and "text" in part)


def _kind_of_part(part: Any) -> str | None:
    """Whether a part of a content is no part of what is said: thoughts, or a call."""
    kind = part.get("type") if isinstance(part, dict) else None
    return "thoughts" if kind in _THOUGHT_PARTS else "call" if kind == "tool_use" else None


def _of_parts(turn: Mapping[str, Any], content: Sequence[Any]) -> tuple[dict[str, Any], Any]:
    """A turn with the thoughts and calls that are parts of its content beside it, and what is left of the content."""
    made = dict(turn)
    parts: dict[str | None, list[Any]] = {"thoughts": [], "call": [], None: []}
    for part in content:
        parts[_kind_of_part(part)].append(part)
    for part in parts["thoughts"]:
        inner: Any = next((part[name] for name in ("thinking", "text", "reasoning") if part.get(name)), [])
        made["thoughts"] = [*(made.get("thoughts") or []), *(inner if isinstance(inner, list) else [inner])]
    if parts["call"]:
        made["tool_calls"] = [*(made.get("tool_calls") or []), *parts["call"]]
    return made, parts[None] or None


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
