"""Marks in place of what tool calls say, and where they stand in a rendering."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from synth.chat.call_form import Frame, Path
from synth.chat.call_grammar import Kind
from synth.chat.literals import read_json

Calls = Sequence[tuple[str, dict[str, Any]]]
"""Names and arguments."""

Values = Literal["texts", "numbers", "none"]

TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object"}


def mark(number: int) -> str:
    """A text that templates leave alone; nine letters and digits, as Mistral's ids of calls must be."""
    return f"Zq{number:05d}qZ"


QUESTION, CONTENT = mark(1), mark(2)


def marked(values: Values, count: int) -> Calls:
    """Calls with marks for names, each with two arguments or none."""
    calls: list[tuple[str, dict[str, Any]]] = []
    for number in range(100, 100 * count + 1, 100):
        arguments: dict[str, Any] = {}
        for place in (number + 1, number + 2) if values != "none" else ():
            arguments[mark(place)] = mark(place + 2) if values == "texts" else 70310000 + place
        calls.append((mark(number), arguments))
    return calls


def call_id(name: str, *, named: bool = False) -> str:
    """The id of a call by its name; `named`: one that holds the name."""
    if named:
        return f"functions.{name}:0"
    letters = re.sub(r"[\W_]", "", name)
    return f"I{letters[1:]}0000000"[:9]


def offer(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a function that takes these arguments."""
    properties = {
        key: {"type": TYPES.get(type(value), "string"), "description": "A part."} for key, value in arguments.items()
    }
    parameters = {"type": "object", "properties": properties, "required": list(arguments)}
    return {"type": "function", "function": {"name": name, "description": "It helps.", "parameters": parameters}}


@dataclass(frozen=True, slots=True)
class Found:
    """Where a field stands in a rendering."""

    start: int
    end: int
    kind: Kind
    opens: bool = False


def find_mark(text: str, mark: str, kind: Kind) -> list[Found]:
    """All places of a mark."""
    return [Found(one.start(), one.end(), kind) for one in re.finditer(re.escape(mark), text)]


def _objects(text: str, start: int) -> Iterable[tuple[Any, int, int]]:
    """The JSON objects in a text, the outer ones first."""
    for brace in re.finditer(r"\{", text[start:]):
        with suppress(ValueError):
            value, end = read_json(text, start + brace.start())
            yield value, start + brace.start(), end


def find_object(text: str, arguments: Mapping[str, Any], start: int) -> tuple[int, int] | None:
    """Where `arguments` stand as one JSON object."""
    return next(((begin, end) for value, begin, end in _objects(text, start) if value == arguments), None)


def find_call(text: str, name: str, arguments: Mapping[str, Any]) -> tuple[int, int] | None:
    """Where one JSON object holds both the name and the arguments."""
    for value, begin, end in _objects(text, 0):
        if find_path(value, name) and find_path(value, arguments):
            return begin, end
    return None


def find_path(value: Any, wanted: Any) -> Path | None:
    """The keys that lead to a value inside objects."""
    for key, inner in value.items():
        if inner == wanted and type(inner) is type(wanted):
            return (key,)
        if isinstance(inner, dict) and (path := find_path(inner, wanted)):
            return (key, *path)
    return None


def frame_of(text: str, start: int, name: str, arguments: Mapping[str, Any]) -> Frame:
    """Where the parts of a call stand in the one JSON object, at `start`, that it is."""
    value, _ = read_json(text, start)
    to_name, to_arguments = find_path(value, name), find_path(value, arguments)
    if to_name is None or to_arguments is None:
        raise ValueError("no call stands there")
    return Frame(to_name, to_arguments, find_path(value, call_id(name)), frozenset(_paths(value, (), to_arguments)))


def _paths(value: Mapping[str, Any], start: Path, arguments: Path) -> Iterable[Path]:
    """The paths of all members, but for those of the arguments."""
    for key, inner in value.items():
        path = (*start, key)
        yield path
        if isinstance(inner, dict) and path != arguments:
            yield from _paths(inner, path, arguments)


def same_calls(read: Calls, written: Calls) -> bool:
    """Whether calls are the same, types of values included."""
    one, other = (json.dumps([list(call) for call in calls], sort_keys=True) for calls in (read, written))
    return one == other
