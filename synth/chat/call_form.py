"""How one template writes tool calls, and what a model drew in that form read back into calls."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from synth.chat.call_grammar import BARE, CallFault, Field, Grammar, Kind, skip
from synth.chat.literals import read_json, read_literal, read_members
from synth.data.row import Message
from synth.errors import RequestError

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """Where name, arguments and id stand in a call that is one JSON object; `known` are the paths it may have."""

    name: Path
    arguments: Path
    id: Path | None
    known: frozenset[Path]


@dataclass(frozen=True)
class ToolCallForm:
    """How a template writes the calls of an assistant turn; made by `tool_calls.derive_tool_calls`.

    Attributes:
        grammar: the fields of calls, and the template's text between them.
        begins: what calls begin with, wherever it stands in a drawn text.
        end: what the template ends a turn with after calls: what ends other turns, or a sign of its own.
        takes: whether the template reads `arguments` as an object or as JSON text.
        content: what `content` must be beside calls where there is no text.
        beside: whether a text may stand before the calls.
        several: whether a turn may have more than one call.
        offers: whether the template writes the functions on offer (`tools`).
        unanswered: why the template cannot write tools' results; None where it can.
        python: whether true, false and null are written as in Python where they stand bare.
        frame: the members of a call that is one JSON object.
        named: whether the template writes a call's id in place of the name, which is then a part of the id.
        schemas: of the functions on offer, by name.
    """

    grammar: Grammar
    begins: re.Pattern[str]
    end: str
    takes: Literal["object", "text"]
    content: Literal[""] | None
    beside: bool
    several: bool
    offers: bool
    unanswered: str | None
    python: bool = False
    frame: Frame | None = None
    named: bool = False
    schemas: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def offering(self, tools: Iterable[Mapping[str, Any]]) -> "ToolCallForm":
        """The same form, with the schemas of these functions, which say what type a bare argument is of."""
        functions = [tool.get("function", tool) for tool in tools]
        schemas = {function.get("name", ""): function.get("parameters") or {} for function in functions}
        return replace(self, schemas=schemas)

    def parse(self, text: str) -> tuple[str, list[dict[str, Any]], str | None]:
        """Read what a model drew as its answer, without its thoughts.

        Returns:
            The text before the calls, the calls (as in a message: `arguments` is JSON text), and what is wrong with
            them, if anything: then there are none, and the text is all of it.
        """
        begin = self.begins.search(text)
        if begin is None:
            return text, [], None
        drawn = text.rstrip().removesuffix(self.end)
        try:
            calls = self._calls(drawn, self.grammar.walk(drawn, begin.start()))
        except CallFault as fault:
            return text, [], f"a tool call cannot be read: {fault}"
        before = text[: begin.start()]
        if before.strip() and not self.beside:
            return text, [], "text stands before a tool call, where the chat template has no place for it"
        if len(calls) > 1 and not self.several:
            return text, [], f"{len(calls)} tool calls in one turn, of which the chat template writes one"
        return before, calls, None

    def taken(self, message: Message, number: int) -> Message:
        """An assistant message with calls, as the template takes it; `number` counts messages from 1.

        Raises:
            RequestError: the template would leave out a part of it, or its arguments are not an object.
        """
        calls = message["tool_calls"]
        if len(calls) > 1 and not self.several:
            raise RequestError(
                f"message {number} has {len(calls)} tool calls, and the chat template writes one call a turn"
            )
        content = message.get("content") or self.content
        if content and not self.beside:
            raise RequestError(
                f"message {number} has a text beside its tool calls, for which the chat template has no place"
            )
        for call in calls if self.named else ():
            if _name_in(call.get("id") or "") != call["function"]["name"]:
                raise RequestError(
                    f"message {number} calls {call['function']['name']} without an id "
                    f"`functions.{call['function']['name']}:NUMBER`, which the chat template writes for the name"
                )
        if self.takes == "object":
            calls = [_with_object(call, number) for call in calls]
        return {**message, "content": content, "tool_calls": calls}

    def _calls(self, text: str, fields: Sequence[Field]) -> list[dict[str, Any]]:
        starts = [index for index, one in enumerate(fields) if one.opens]
        groups = [fields[start:end] for start, end in zip(starts, [*starts[1:], len(fields)], strict=True)]
        return [self._framed(text, group[0]) if self.frame else self._call(text, group) for group in groups]

    def _framed(self, text: str, call: Field) -> dict[str, Any]:
        assert self.frame is not None
        places: dict[Path, tuple[int, int]] = {}
        try:
            _find_members(text, call.start, (), self.frame, places)
        except ValueError as error:
            raise CallFault(f"the call cannot be read: {error}") from error
        for path in (self.frame.name, self.frame.arguments):
            if path not in places:
                raise CallFault(f"the call has no {path[-1]!r}")
        name = read_json(text, places[self.frame.name][0])[0]
        if not isinstance(name, str) or not name:
            raise CallFault("the function's name is no text")
        start, end = places[self.frame.arguments]
        where = places.get(self.frame.id) if self.frame.id else None
        return _call(name, text[start:end], str(read_json(text, where[0])[0]) if where else None)

    def _call(self, text: str, fields: Sequence[Field]) -> dict[str, Any]:
        """One call whose name and arguments stand apart."""
        names = {text[one.start : one.end] for one in fields if one.kind is Kind.NAME}
        if len(names) > 1:
            raise CallFault(f"one call has two names, {' and '.join(sorted(names))}")
        ids = [text[one.start : one.end] for one in fields if one.kind is Kind.ID]
        name = _name_in(ids[0]) if self.named else names.pop()
        whole = [text[one.start : one.end] for one in fields if one.kind is Kind.ARGUMENTS]
        if whole:
            return _call(name, whole[0], ids[0] if ids else None)
        arguments: dict[str, Any] = {}
        key = ""
        for one in fields:
            if one.kind is Kind.KEY:
                key = text[one.start : one.end]
                if key in arguments:
                    raise CallFault(f"the argument {key} is given twice")
            elif one.kind is Kind.DATA:
                arguments[key] = read_literal(text, one.start, self.grammar.quotes)[0]
            elif one.kind in BARE:
                bare = text[one.start : one.end]
                arguments[key] = bare if one.kind is Kind.TEXT else self._value(bare, name, key)
        return _call(name, json.dumps(arguments, ensure_ascii=False), ids[0] if ids else None)

    def _value(self, bare: str, name: str, key: str) -> Any:
        """What stands there bare: a text where the schema says so or where a value would be written otherwise."""
        schema = self.schemas.get(name, {}).get("properties", {}).get(key, {})
        types = _types(schema)
        try:
            start = skip(bare, 0)
            value, end = read_literal(bare, start, self.grammar.quotes)
        except ValueError:
            return bare
        if bare[end:].strip() or isinstance(value, str):
            return bare
        if types:
            return value if "string" not in types or _TYPES[type(value)] in types else bare
        written = str(value) if self.python else json.dumps(value)
        return value if bare == written or isinstance(value, dict | list) else bare


_NAMED = re.compile(r"functions\.(?P<name>.+):\d+")
_TYPES = {
    int: "integer",
    float: "number",
    bool: "boolean",
    list: "array",
    dict: "object",
    type(None): "null",
}


def _types(schema: Any) -> Sequence[str]:
    """The types that a schema names; none where it names none."""
    types = schema.get("type", ()) if isinstance(schema, Mapping) else ()
    return [types] if isinstance(types, str) else types


def same_calls(one: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]) -> bool:
    """Whether calls of a message say the same: names and the values of arguments, and ids where both have them."""
    if len(one) != len(other):
        return False
    return all(
        first["function"]["name"] == second["function"]["name"]
        and _arguments(first) == _arguments(second)
        and ("id" not in first or "id" not in second or first["id"] == second["id"])
        for first, second in zip(one, other, strict=True)
    )


def _arguments(call: Mapping[str, Any]) -> str:
    """The arguments of a call in one form, types of values included."""
    text = call["function"]["arguments"]
    try:
        return json.dumps(json.loads(text) if text.strip() else {}, sort_keys=True)
    except (ValueError, RecursionError):
        return str(text)


def _find_members(text: str, at: int, path: Path, frame: Frame, places: dict[Path, tuple[int, int]]) -> None:
    """Where the members of a call stand, by path."""
    members, _ = read_members(text, at)
    for key, (start, end) in members.items():
        inner = (*path, key)
        if inner not in frame.known:
            raise ValueError(f"it holds {key!r}, which is no part of a call")
        parts = (frame.name, frame.arguments)
        if inner not in parts and any(part[: len(inner)] == inner for part in parts):
            _find_members(text, start, inner, frame, places)
        else:
            places[inner] = start, end


def _name_in(number: str) -> str:
    """The name in an id that holds it."""
    held = _NAMED.fullmatch(number)
    return held["name"] if held else ""


def _call(name: str, arguments: str, number: str | None) -> dict[str, Any]:
    """A call as messages hold it."""
    if not name:
        raise CallFault("the function's name is missing")
    try:
        value, _ = read_json(arguments, 0)
        if isinstance(value, str):  # JSON text of an object, as some write it
            arguments, value = value, read_json(value, 0)[0]
    except ValueError as error:
        raise CallFault(f"the arguments of {name} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise CallFault(f"the arguments of {name} are no JSON object")
    call: dict[str, Any] = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return call if number is None else {"id": number, **call}


def _with_object(call: Mapping[str, Any], number: int) -> dict[str, Any]:
    function = call["function"]
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments) if arguments.strip() else {}
        except (ValueError, RecursionError) as error:
            raise RequestError(
                f"message {number} calls {function.get('name')} with arguments that are no JSON: {error}"
            ) from error
    if not isinstance(arguments, dict):
        raise RequestError(f"message {number} calls {function.get('name')} with arguments that are no JSON object")
    return {**call, "function": {**function, "arguments": arguments}}
