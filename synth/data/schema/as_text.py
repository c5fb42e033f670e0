"""Values as text: an answer may be a number, a boolean or an object, and is trained on as the file writes it."""

import json
import math
from typing import Any

import pyarrow as pa
from pyarrow import compute

from synth.data.schema.turns import is_text


def is_writable(kind: pa.DataType) -> bool:
    """Whether values of a type can be written as text; audio and images cannot."""
    if pa.types.is_dictionary(kind):
        return is_writable(kind.value_type)
    if pa.types.is_nested(kind):
        return all(is_writable(kind.field(index).type) for index in range(kind.num_fields))
    return is_text(kind) or is_exact(kind) or bool(pa.types.is_floating(kind))


def is_exact(kind: pa.DataType) -> bool:
    """Whether the type alone determines how a value is written."""
    return bool(
        is_text(kind)
        or of_several(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_temporal(kind)
    )


def of_several(kind: pa.DataType) -> str | None:
    """Which field holds the answers, or the best of them, where any of several is right; None for any other type.

    SQuAD has {text: […], answer_start: […]}, TriviaQA {value, aliases: […], …}.
    """
    fields = {item.name: item.type for item in kind} if pa.types.is_struct(kind) else {}
    for name, beside in (("text", "answer_start"), ("value", "aliases")):
        if name in fields and beside in fields:
            inner = fields[name].value_type if _is_list(fields[name]) else fields[name]
            return name if is_text(inner) else None
    return None


def written(column: pa.Array, name: str) -> tuple[pa.StringArray, dict[int, str]]:
    """A column as texts, and the faults of those that cannot be written, by their index.

    A float gets the fewest digits that identify it; null fields of an object, which may have been absent, are left out.
    Of several right answers it is the first.
    """
    kind = column.type
    if (answers := of_several(kind)) is not None:
        column = compute.struct_field(column, answers)
        if _is_list(column.type):
            column = pa.array([next(iter(texts or ()), None) for texts in column.to_pylist()], pa.string())
        kind = column.type
    if is_exact(kind):
        return column.cast(pa.string()), {}
    faults = {}
    texts: list[str | None] = []
    values = column.to_numpy(zero_copy_only=False) if pa.types.is_floating(kind) else column.to_pylist()
    known = compute.is_valid(column).to_pylist()
    for index, (value, is_there) in enumerate(zip(values, known, strict=True)):
        text = None
        if is_there and pa.types.is_floating(kind):
            text = str(value)
            if not math.isfinite(value):
                text, faults[index] = None, f"no number: {name!r} is {text}"
        elif is_there:
            text = json.dumps(_there(value), ensure_ascii=False, default=str)
        texts.append(text)
    return pa.array(texts, pa.string()), faults


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _there(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _there(item) for key, item in value.items() if item is not None}
    return [_there(item) for item in value] if isinstance(value, list) else value
