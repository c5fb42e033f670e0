"""JSON as Arrow batches: one schema for the whole file, memory for a few megabytes of it.

Two passes over the file, in blocks of whole lines. The first finds the kind of every value, so that a column that
first appears in the last line is there from the first row on; the second parses with the types that hold
everywhere. Both hand blocks to Arrow's parser. Where it gives up, the block is gone through line by line: that
either names the broken line or finds values of several kinds under one name.

Types: integers and floats become float64; text that looks like a date stays text; values of several kinds, objects
of no fixed keys and integers beyond 64 bits become text (strings as they are, anything else as its JSON).
"""

import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import pyarrow as pa

from synth.errors import UsageError

BLOCK_BYTES = 8 * 2**20

MANY_KEYS = 64
"""An object with more different keys over the file than this is a free-form map, not a record."""

DEEPEST = 64
"""Levels of a row, the row itself among them: Arrow's own format holds no column of more than 63."""

_SAFE_LEVELS = 2000
"""Arrow's parser calls itself for every level: at some thousands of them it overflows its stack, and all is over."""

Kind = Any
"""What a place in the file holds: "null", "bool", "int", "float", "text", "mixed", [kind] or {key: kind}."""

_ARROW: dict[str, pa.DataType] = {
    "null": pa.null(),
    "bool": pa.bool_(),
    "int": pa.int64(),
    "float": pa.float64(),
    "text": pa.string(),
    "mixed": pa.string(),
}
_STRING = re.compile(rb'"(?:[^"\\\n]++|\\.)*+"?')
"""A JSON string up to its closing quote or the end of its line; its text may hold brackets."""
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_KINDS = {str(kind): name for name, kind in _ARROW.items() if name != "mixed"}
_MEND = "; write it anew in UTF-8, as in: iconv -f LATIN1 -t UTF-8 FILE"


def open_json(path: Path, name: str) -> tuple[pa.Schema, Callable[[], Iterator[pa.RecordBatch]], list[str]]:
    """Open a file of JSON lines, or one JSON array of objects, or one object of equally long columns.

    Returns its schema, a function that reads it from the start, and notes for the user. `name` is what errors
    call the file.

    Raises:
        UsageError: a line is not a JSON object in UTF-8, is nested too deeply or has too long an integer; the message
            has its number.
    """
    unfolded, unit = None, "line"
    if _is_folded(path):
        unfolded, unit = _unfold(path, name), "value"
        path = Path(unfolded.name)
    kinds: dict[str, Kind] = {}
    for block in _blocks(path, name, unit):
        kinds = _merge_objects(kinds, _kinds_of_block(block))
    schema = pa.schema([(key, _arrow_type(kind)) for key, kind in kinds.items()])
    mixed = [key for key, kind in kinds.items() if _has_mixed(kind)]
    notes = [f"kept as JSON text, as there is no one type for it: {', '.join(mixed)}"] if mixed else []

    def read(_keep: object = unfolded) -> Iterator[pa.RecordBatch]:
        for block in _blocks(path, name, unit):
            yield from _parse(block, schema).combine_chunks().to_batches()

    return schema, read, notes


@dataclass(frozen=True, slots=True)
class _Block:
    """Whole lines of a file, from byte `start` on. `unit` is what people know a line as: the file may be unfolded."""

    path: Path
    name: str
    unit: str
    start: int
    content: bytes

    def place(self, index: int) -> str:
        """How errors name line `index` (from 0) of the block. Lines are only counted when one is wrong."""
        number, left = index + 1, self.start
        with open(self.path, "rb") as file:
            while left:
                left -= len(chunk := file.read(min(left, BLOCK_BYTES)))
                number += chunk.count(b"\n")
        return f"{self.name}, {self.unit} {number}"


def _blocks(path: Path, name: str, unit: str) -> Iterator[_Block]:
    """The file in blocks of about BLOCK_BYTES."""
    with open(path, "rb") as file:
        if file.read(3) != b"\xef\xbb\xbf":  # the byte-order mark that some editors put first
            file.seek(0)
        start = file.tell()
        while content := file.read(BLOCK_BYTES):
            content += file.readline()
            yield _Block(path, name, unit, start, content)
            start += len(content)


def _kinds_of_block(block: _Block) -> dict[str, Kind]:
    if not _overflows(block.content):
        try:
            table = _arrow_parse(block.content)
            table.validate(full=True)  # Arrow's parser lets broken UTF-8 pass
            if not _has_huge(table):
                return {field.name: _kind_of_type(field.type) for field in table.schema}
        except (pa.ArrowInvalid, UnicodeDecodeError, RecursionError):
            pass
    kinds: dict[str, Kind] = {}
    for row in _rows(block):
        kinds = _merge_objects(kinds, {key: _kind_of_value(value) for key, value in row.items()})
    return kinds


def _parse(block: _Block, schema: pa.Schema) -> pa.Table:
    try:
        table = _arrow_parse(block.content, schema).select(schema.names)
        table.validate()  # of nulls in lists that hold nothing else Arrow's parser counts one a list
        return table
    except pa.ArrowInvalid:
        rows = [{field.name: _fitted(row.get(field.name), field.type) for field in schema} for row in _rows(block)]
        return pa.Table.from_pylist(rows, schema=schema)


def _arrow_parse(content: bytes, schema: pa.Schema | None = None) -> pa.Table:
    from pyarrow import json as arrow_json

    options = arrow_json.ParseOptions(explicit_schema=schema)
    if content.isspace():
        return pa.table({}) if schema is None else schema.empty_table()
    try:
        return arrow_json.read_json(pa.BufferReader(content), parse_options=options)
    except pa.ArrowInvalid as error:
        if "straddling" not in str(error):
            raise
        # A line longer than the megabyte that one thread takes at a time.
        whole = arrow_json.ReadOptions(block_size=len(content) + 1)
        return arrow_json.read_json(pa.BufferReader(content), read_options=whole, parse_options=options)


def _rows(block: _Block) -> Iterator[dict[str, Any]]:
    """The objects of a block, one a line, by Python's parser.

    Half of a surrogate pair, which is no character, becomes "?".
    """
    for index, line in enumerate(block.content.split(b"\n")):
        if not line.strip():
            continue
        if _is_deeper(line, DEEPEST):
            raise UsageError(f"{block.place(index)}: nested more than {DEEPEST} levels deep")
        try:
            row = json.loads(line.decode())
        except UnicodeDecodeError as error:
            raise UsageError(f"{block.place(index)}: not UTF-8 (byte {error.start + 1} of the line){_MEND}") from error
        except json.JSONDecodeError as error:
            raise UsageError(f"{block.place(index)}: not JSON: {error.msg} (column {error.colno})") from error
        except ValueError as error:
            raise UsageError(f"{block.place(index)}: {_too_long()}") from error
        if not isinstance(row, dict):
            raise UsageError(f"{block.place(index)}: a row is an object, {{…}}; this is {_called(row)}")
        if b"\\ud" in line.lower():
            row = json.loads(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace"))
        yield row


def _overflows(content: bytes) -> bool:
    """Whether Arrow's parser would overflow its stack. It reads on over line ends, but never on from "}" to "{"."""
    start = 0
    while start < len(content):  # only a part longer than so many levels can have them
        end = content.rfind(b"}\n{", start, start + _SAFE_LEVELS)
        if end < 0:
            end = content.find(b"}\n{", start)
            end = len(content) if end < 0 else end
            if _is_deeper(content[start:end], _SAFE_LEVELS):
                return True
        start = end + 2
    return False


def _is_deeper(text: bytes, levels: int) -> bool:
    """Whether JSON is nested more than `levels` deep, as far as it can be read."""
    if text.count(b"[") + text.count(b"{") <= levels:
        return False
    depth = 0
    for bracket in _STRING.sub(b"", text).translate(None, _NO_BRACKETS):
        depth = depth + 1 if bracket in b"[{" else max(depth - 1, 0)
        if depth > levels:
            return True
    return False


def _has_huge(table: pa.Table) -> bool:
    """Whether a float column may hold integers beyond 64 bits, which Arrow has then rounded."""
    from pyarrow import compute

    floats = (column for column in table.columns if column.type == pa.float64())
    return any((compute.max(compute.abs(column)).as_py() or 0) >= 2**63 for column in floats)


def _kind_of_type(kind: pa.DataType, levels: int = DEEPEST - 1) -> Kind:
    """The kind of an Arrow column.

    Raises:
        RecursionError: it has more than `levels` levels.
    """
    if not levels and pa.types.is_nested(kind):
        raise RecursionError
    if pa.types.is_list(kind):
        return [_kind_of_type(kind.value_type, levels - 1)]
    if pa.types.is_struct(kind):
        return _record({field.name: _kind_of_type(field.type, levels - 1) for field in kind})
    return _KINDS.get(str(kind), "text")  # anything else is text that Arrow took for a date or a time


def _kind_of_value(value: Any) -> Kind:
    if isinstance(value, list):
        return [reduce(_merge, map(_kind_of_value, value), "null")]
    if isinstance(value, dict):
        return _record({key: _kind_of_value(item) for key, item in value.items()})
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if -(2**63) <= value < 2**63 else "mixed"
    return "null" if value is None else "text" if isinstance(value, str) else "float"


def _merge(one: Kind, other: Kind) -> Kind:
    """The narrowest kind that holds both."""
    if one == other or other == "null":
        return one
    if one == "null":
        return other
    if isinstance(one, list) and isinstance(other, list):
        return [_merge(one[0], other[0])]
    if isinstance(one, dict) and isinstance(other, dict):
        return _record(_merge_objects(one, other))
    return "float" if (one, other) in (("int", "float"), ("float", "int")) else "mixed"


def _merge_objects(one: dict[str, Kind], other: dict[str, Kind]) -> dict[str, Kind]:
    if one == other:
        return one
    return {key: _merge(one.get(key, "null"), other.get(key, "null")) for key in one | other}


def _record(fields: dict[str, Kind]) -> Kind:
    return fields if len(fields) <= MANY_KEYS else "mixed"


def _has_mixed(kind: Kind) -> bool:
    if isinstance(kind, dict):
        return any(map(_has_mixed, kind.values()))
    return _has_mixed(kind[0]) if isinstance(kind, list) else kind == "mixed"


def _arrow_type(kind: Kind) -> pa.DataType:
    if isinstance(kind, list):
        return pa.list_(_arrow_type(kind[0]))
    if isinstance(kind, dict):
        # Parquet has no struct without fields: an object that is always empty is text.
        return pa.struct([(key, _arrow_type(item)) for key, item in kind.items()]) if kind else pa.string()
    return _ARROW[kind]


def _fitted(value: Any, kind: pa.DataType) -> Any:
    """A value of the file as its column's type takes it."""
    if value is None:
        return None
    if pa.types.is_string(kind):
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if pa.types.is_floating(kind):
        return float(value)
    if pa.types.is_list(kind):
        return [_fitted(item, kind.value_type) for item in value]
    if pa.types.is_struct(kind):
        return {field.name: _fitted(value.get(field.name), field.type) for field in kind}
    return value


def _is_folded(path: Path) -> bool:
    """Whether the file is one JSON text over many lines (an array, an indented object) and not one a line."""
    with open(path, "rb") as file:
        for line in file:
            if start := line.removeprefix(b"\xef\xbb\xbf").strip():
                return start == b"{" or start.startswith(b"[")
    return False


def _unfold(path: Path, name: str) -> Any:
    """The same rows as JSON lines in a temporary file, which is removed with the returned object."""
    lines = tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".jsonl")  # noqa: SIM115
    count, value = 0, None
    for count, (text, value) in enumerate(_values(path, name), 1):
        if not isinstance(value, dict):
            raise UsageError(f"{name}, value {count}: a row is an object, {{…}}; this is {_called(value)}")
        lines.write(text.replace("\n", " ").replace("\r", " ") + "\n")  # JSON strings hold no raw line ends
    if count == 1 and isinstance(value, dict) and (rows := _rows_of_columns(value)):
        lines.seek(0)
        lines.truncate()
        lines.writelines(json.dumps(row) + "\n" for row in rows)
    lines.flush()
    return lines


def _rows_of_columns(value: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of an object of equally long lists (empty ones aside); none if it is not that."""
    columns = {key: items for key, items in value.items() if items != []}
    if not all(isinstance(items, list) for items in columns.values()) or len(set(map(len, columns.values()))) != 1:
        return []
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _values(path: Path, name: str) -> Iterator[tuple[str, Any]]:
    """Each value of a JSON array (or of values in a row), with its text; holds one chunk of the file at a time."""
    decode = json.JSONDecoder().raw_decode
    line = 1
    with open(path, encoding="utf-8-sig", newline="") as file:
        try:
            text = file.read(BLOCK_BYTES)
            array = text.lstrip().startswith("[")
            at = text.index("[") + 1 if array else 0
            while True:
                while at < len(text) and text[at] in " \t\r\n,":
                    at += 1
                if array and text.startswith("]", at):
                    return
                try:
                    value, end = decode(text, at)
                except RecursionError as error:
                    place = line + text.count("\n", 0, at)
                    raise UsageError(f"{name}, line {place}: nested more than {DEEPEST} levels deep") from error
                except json.JSONDecodeError as error:
                    more = file.read(max(BLOCK_BYTES, len(text)))
                    if more:  # perhaps the value goes on in the next chunk
                        line += text.count("\n", 0, at)
                        text, at = text[at:] + more, 0
                        continue
                    if at == len(text) and not array:
                        return
                    place = line + text.count("\n", 0, error.pos)
                    raise UsageError(f"{name}, line {place}: not JSON: {error.msg}") from error
                except ValueError as error:
                    place = line + text.count("\n", 0, at)
                    raise UsageError(f"{name}, line {place}: {_too_long()}") from error
                yield text[at:end], value
                at = end
        except UnicodeDecodeError as error:
            raise UsageError(f"{name}: not UTF-8 ({error.reason}){_MEND}") from error


def _too_long() -> str:
    """What is wrong where Python's parser gives up with a plain ValueError."""
    return f"an integer of more than {sys.get_int_max_str_digits():,} digits; write it as text, in quotes"


def _called(value: Any) -> str:
    names = {list: "a list", str: "text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")
