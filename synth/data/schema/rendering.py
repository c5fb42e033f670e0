"""Columns that say how a conversation is rendered (`synth.data.row.RENDERING`), as other people have them.

`tools` may be a list of functions, each perhaps as JSON text, or the JSON text of such a list; `template_args` an
object, or its JSON text. A column of one of these names that holds something else is somebody else's.
"""

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

import pyarrow as pa

from synth.data.row import RENDERING
from synth.data.schema.parts import Unreadable, is_nothing, parsed, present, tools_text

NAMES: Mapping[str, tuple[str, ...]] = {
    "tools": ("tools", "functions"),
    "template_args": ("template_args", "chat_template_kwargs"),
    "mode": ("mode",),
    "drawn": ("drawn",),
}
"""What columns of `RENDERING` may be called: the first that is there is read. TRL has `chat_template_kwargs`."""

MODES = ("thinking", "plain")


def found_in(schema: pa.Schema, used: Collection[str | None], first: Callable[[str], object]) -> dict[str, str]:
    """Which columns are read as which of `RENDERING`: their names, and what they become.

    Args:
        schema: of the rows as they come.
        used: columns that are something else.
        first: gives the first value of a column.
    """
    found = {}
    for ours, names in NAMES.items():
        name = next((name for name in names if name in schema.names and name not in used), None)
        if name is not None and _is(ours, schema.field(name).type, first(name)):
            found[name] = ours
    return found


def read_column(ours: str, column: pa.Array, faults: dict[int, str]) -> pa.Array:
    """A column of `found_in` as `RENDERING` has it; `faults` says of which rows it cannot be read.

    Of values that are alike one is looked at.
    """
    if ours not in ("tools", "template_args"):
        return column.cast(RENDERING.field(ours).type)
    make = tools_text if ours == "tools" else _arguments_text
    values = column.to_pylist()
    texts: list[str | None] = []
    known: dict[str, str | None] = {}
    for row, value in enumerate(values):
        text = None
        try:
            if not isinstance(value, str):
                text = make(present(value))
            elif value in known:
                text = known[value]
            else:
                text = known[value] = make(value)
        except Unreadable as error:
            faults[row] = str(error)
        texts.append(text)
    return pa.array(texts, pa.string())


def _is(ours: str, kind: pa.DataType, value: Any) -> bool:
    """Whether a column holds what its name says, as far as its type and its first value tell."""
    if value is None:
        return ours in ("tools", "template_args") or kind == RENDERING.field(ours).type
    if ours == "drawn":
        return _is_list(kind) and _is_list(kind.value_type) and pa.types.is_integer(kind.value_type.value_type)
    if ours == "mode":
        return value in MODES
    try:
        (tools_text if ours == "tools" else _arguments_text)(value)
    except Unreadable:
        return False
    return True


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _arguments_text(value: Any) -> str | None:
    """Variables of a chat template as JSON text of an object; None where there are none.

    Raises:
        Unreadable: it is no object.
    """
    if isinstance(value, str):
        value = parsed(value, "template_args") if value.strip() else None
    if is_nothing(value):
        return None
    if not isinstance(value, dict):
        raise Unreadable("template_args: no object of names and values")
    return json.dumps(value, ensure_ascii=False)
