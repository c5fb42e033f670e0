"""Kinds of JSON values: what types a file's columns can have, whatever its rows hold.

Integers and floats become float64, unless an integer would change its value; text that looks like a date stays text;
values of several kinds, objects of no fixed keys and integers beyond 64 bits become text (strings as they are, anything
else as its JSON).
"""

import json
from collections.abc import Sequence
from functools import reduce
from typing import Any

import pyarrow as pa
from pyarrow import compute

MANY_KEYS = 64
"""An object with more distinct keys over the file than this is a free-form map, not a record."""

EXACT = 2**53
"""Integers up to this are floats, too, without changing."""

JsonType = Any
"""The kind of a value in the file: "null", "bool", "int", "long" (beyond `EXACT`), "float", "text", "mixed", [kind] or
{key: kind}."""

_ARROW: dict[str, pa.DataType] = {
    "null": pa.null(),
    "bool": pa.bool_(),
    "int": pa.int64(),
    "long": pa.int64(),
    "float": pa.float64(),
    "text": pa.string(),
    "mixed": pa.string(),
}
_JOINED = {frozenset(("int", "float")): "float", frozenset(("int", "long")): "long"}
_KINDS = {pa.null(): "null", pa.bool_(): "bool"}


def kind_of_column(chunks: Sequence[pa.Array], kind: pa.DataType, levels: int) -> JsonType:
    """The kind of an Arrow column as Arrow's parser gives it.

    Raises:
        RecursionError: it has more than `levels` levels.
        pa.ArrowInvalid: it holds floats that may be integers which Arrow has rounded.
    """
    if not levels and pa.types.is_nested(kind):
        raise RecursionError
    if pa.types.is_list(kind):
        inner = [chunk.flatten() for chunk in chunks] if _has_numbers(kind.value_type) else []
        return [kind_of_column(inner, kind.value_type, levels - 1)]
    if pa.types.is_struct(kind):
        fields = {}
        for index, item in enumerate(kind):
            inner = [chunk.field(index) for chunk in chunks] if _has_numbers(item.type) else []
            fields[item.name] = kind_of_column(inner, item.type, levels - 1)
        return _record(fields)
    if pa.types.is_integer(kind):
        return "long" if any(not _is_within(chunk, EXACT + 1) for chunk in chunks) else "int"
    if pa.types.is_floating(kind):
        if any(not _is_within(chunk, EXACT) for chunk in chunks):
            raise pa.ArrowInvalid("perhaps rounded")
        return "float"
    return _KINDS.get(kind, "text")  # anything else is text, perhaps such as Arrow took for a date or a time


def kind_of_value(value: Any) -> JsonType:
    """The kind of a value as Python's parser gives it."""
    if isinstance(value, list):
        return [reduce(_merge, map(kind_of_value, value), "null")]
    if isinstance(value, dict):
        return _record({key: kind_of_value(item) for key, item in value.items()})
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if abs(value) <= EXACT else "long" if -(2**63) <= value < 2**63 else "mixed"
    return "null" if value is None else "text" if isinstance(value, str) else "float"


def merge_objects(one: dict[str, JsonType], other: dict[str, JsonType]) -> dict[str, JsonType]:
    """The narrowest kinds that hold the values of both, by their keys."""
    if one == other:
        return one
    return {key: _merge(one.get(key, "null"), other.get(key, "null")) for key in one | other}


def has_mixed(kind: JsonType) -> bool:
    """Whether values of several kinds are in one place, however deep."""
    if isinstance(kind, dict):
        return any(map(has_mixed, kind.values()))
    return has_mixed(kind[0]) if isinstance(kind, list) else kind == "mixed"


def arrow_type(kind: JsonType) -> pa.DataType:
    """The type of a column."""
    if isinstance(kind, list):
        return pa.list_(arrow_type(kind[0]))
    if isinstance(kind, dict):
        # Parquet has no struct without fields: an object that is always empty is text.
        return pa.struct([(key, arrow_type(item)) for key, item in kind.items()]) if kind else pa.string()
    return _ARROW[kind]


def fitted(value: Any, kind: pa.DataType) -> Any:
    """A value of the file, converted for its column's type."""
    if value is None:
        return None
    if pa.types.is_string(kind):
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if pa.types.is_floating(kind):
        return float(value)
    if pa.types.is_list(kind):
        return [fitted(item, kind.value_type) for item in value]
    if pa.types.is_struct(kind):
        return {field.name: fitted(value.get(field.name), field.type) for field in kind}
    return value


def _merge(one: JsonType, other: JsonType) -> JsonType:
    """The narrowest kind that holds both."""
    if one == other or other == "null":
        return one
    if one == "null":
        return other
    if isinstance(one, list) and isinstance(other, list):
        return [_merge(one[0], other[0])]
    if isinstance(one, dict) and isinstance(other, dict):
        return _record(merge_objects(one, other))
    if isinstance(one, str) and isinstance(other, str):
        return _JOINED.get(frozenset((one, other)), "mixed")
    return "mixed"


def _record(fields: dict[str, JsonType]) -> JsonType:
    return fields if len(fields) <= MANY_KEYS else "mixed"


def _has_numbers(kind: pa.DataType) -> bool:
    inner = (kind.field(index).type for index in range(kind.num_fields))
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or any(map(_has_numbers, inner)))


def _is_within(numbers: pa.Array, bound: int) -> bool:
    """Whether all numbers (NaN aside) lie between minus the bound and the bound, without these."""
    found = compute.min_max(numbers)
    low, high = found["min"].as_py(), found["max"].as_py()
    return low is None or (-bound < low and high < bound)
