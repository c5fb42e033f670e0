"""JSON as Arrow batches: one schema for all files, a few megabytes in memory.

Two passes over the files, in blocks of whole lines. The first finds the kind of every value
(`synth.data.files.json_types`), so that a column that first appears in the last line is there from the first row on;
the second parses with the types that hold everywhere. Both hand blocks to Arrow's parser. Where it gives up, the block
is gone through line by line: that either names the broken line or finds values of several kinds under one name.
"""

import io
import json
import math
import re
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from synth.data.files.compressed import check_encoding, open_bytes
from synth.data.files.json_types import (
    JsonType,
    arrow_type,
    fitted,
    has_mixed,
    kind_of_column,
    kind_of_value,
    merge_objects,
)
from synth.data.row import FAULT
from synth.data.schema.openings import may_think
from synth.data.schema.turns import HALF, half_character, is_conversation
from synth.data.store.path import File
from synth.errors import UsageError

BLOCK_BYTES = 8 * 2**20

DEEPEST = 64
"""Levels of a row, the row itself among them: Arrow's own format holds no column of more than 63."""

_SAFE_LEVELS = 2000
"""Arrow's parser recurses at every level: at some thousands it overflows the stack and the process ends."""

_STRING = re.compile(rb'"(?:[^"\\\n]++|\\.)*+"?')
"""A JSON string up to its closing quote or the end of its line; its text may hold brackets."""
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_MEND = "; write it anew in UTF-8, as in: iconv -f LATIN1 -t UTF-8 FILE"


@dataclass(frozen=True, slots=True)
class JsonRows:
    """Rows of JSON files.

    Attributes:
        files: where they are, as JSON lines.
        kinds: of their columns.
        as_written: columns read as text whatever they hold: strings as they are, anything else as JSON, numbers
            with the very digits of the file.
        may_think: whether some text in them may begin with thoughts.
    """

    files: Sequence["_Lines"]
    kinds: dict[str, JsonType]
    as_written: frozenset[str] = frozenset()
    may_think: bool = True

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        kinds = self.kinds | dict.fromkeys(self.as_written, "text")
        return pa.schema([(key, arrow_type(kinds[key])) for key in self.kinds])

    @property
    def mixed(self) -> list[str]:
        """The columns that hold values of several kinds, as JSON text."""
        return [key for key, kind in self.kinds.items() if key not in self.as_written and has_mixed(kind)]

    def written(self, names: Collection[str]) -> "JsonRows":
        """The same rows with some columns as they are written."""
        return replace(self, as_written=frozenset(names), may_think=True)  # of turns that are text now nothing is known

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows from the start, with the column `FAULT` where one of them cannot be read."""
        schema = self.schema
        for lines in self.files:
            for block in lines.blocks():
                yield from _parse(block, schema, self.as_written).combine_chunks().to_batches()


def open_json(paths: Sequence[File], name: str) -> JsonRows:
    """Open files of JSON lines, or of one JSON array of objects, or of one object of equally long columns.

    `name` is the file's name in error messages, if it has one.

    Raises:
        UsageError: a line is not a JSON object in UTF-8, is nested too deeply or has too long an integer; the message
            has its number.
    """
    files = [_lines(path, name if len(paths) == 1 else str(path)) for path in paths]
    kinds: dict[str, JsonType] = {}
    thinks = False
    for lines in files:
        for block in lines.blocks():
            own, found = _look(block, further=not thinks)
            kinds, thinks = merge_objects(kinds, own), thinks or found
    return JsonRows(files, kinds, may_think=thinks)


@dataclass(frozen=True, slots=True)
class _Lines:
    """A file of JSON lines. `unit` is what messages call a line, as the file may be converted from another (`keep`)."""

    path: File
    name: str
    unit: str = "line"
    keep: object = field(default=None, repr=False)

    def blocks(self) -> Iterator["_Block"]:
        """The file in blocks of about BLOCK_BYTES."""
        with open_bytes(self.path) as file:
            start = 0
            while content := file.read(BLOCK_BYTES):
                content += file.readline()
                if not start:
                    content = content.removeprefix(b"\xef\xbb\xbf")  # the byte-order mark that some editors put first
                yield _Block(self, start, content)
                start += content.count(b"\n")


@dataclass(frozen=True, slots=True)
class _Block:
    """Whole lines of a file; `start` lines are before it."""

    lines: _Lines
    start: int
    content: bytes

    def place(self, index: int) -> str:
        """Line `index` (from 0) of the block, as error messages name it."""
        return f"{self.lines.name}, {self.lines.unit} {self.start + index + 1}"


def _look(block: _Block, *, further: bool) -> tuple[dict[str, JsonType], bool]:
    """The kinds of a block's values, and, looking `further`, whether some text may begin with thoughts."""
    if not _is_fatal(block.content):
        try:
            table = _arrow_parse(block.content)
            table.validate(full=True)  # Arrow's parser accepts broken UTF-8
            kinds = {
                item.name: kind_of_column(column.chunks, item.type, DEEPEST - 1)
                for item, column in zip(table.schema, table.columns, strict=True)
            }
            return kinds, further and any(may_think(chunk) for column in table.columns for chunk in column.chunks)
        except (pa.ArrowInvalid, UnicodeDecodeError, RecursionError):
            pass
    kinds = {}
    for row, _, _ in _rows(block):
        kinds = merge_objects(kinds, {key: kind_of_value(value) for key, value in row.items()})
    return kinds, True


def _parse(block: _Block, schema: pa.Schema, as_written: Collection[str]) -> pa.Table:
    try:
        if _is_fatal(block.content):
            raise pa.ArrowInvalid
        table = _arrow_parse(block.content, schema).select(schema.names)
        table.validate()  # in lists of nulls alone, Arrow's parser counts one null a list
        return table
    except pa.ArrowInvalid:
        rows = []
        faults: list[str | None] = []
        for row, line, fault in _rows(block):
            for key in as_written:
                if isinstance(value := row.get(key), float):
                    row[key] = json.loads(line, parse_float=str, parse_constant=str)[key]
                    if not math.isfinite(value):
                        fault = fault or f"no number: {key!r} is {row[key]}"
            rows.append({item.name: fitted(row.get(item.name), item.type) for item in schema})
            faults.append(fault)
        table = pa.Table.from_pylist(rows, schema=schema)
        return table.append_column(FAULT, pa.array(faults, pa.string())) if any(faults) and schema.names else table


def _arrow_parse(content: bytes, schema: pa.Schema | None = None) -> pa.Table:
    from pyarrow import json as arrow_json

    options = arrow_json.ParseOptions(explicit_schema=schema)
    if content.isspace() or not content:
        return pa.table({}) if schema is None else schema.empty_table()
    try:
        return arrow_json.read_json(pa.BufferReader(content), parse_options=options)
    except pa.ArrowInvalid as error:
        if "straddling" not in str(error):
            raise
        # A line longer than the megabyte that one thread takes at a time.
        whole = arrow_json.ReadOptions(block_size=len(content) + 1)
        return arrow_json.read_json(pa.BufferReader(content), read_options=whole, parse_options=options)


def _rows(block: _Block) -> Iterator[tuple[dict[str, Any], bytes, str | None]]:
    """The objects of a block, one a line, by Python's parser: each with its line, and why it cannot be read."""
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
        fault = None
        if row is None:
            row, fault = {}, "no row: the line is null"
        if not isinstance(row, dict):
            raise UsageError(f"{block.place(index)}: a row is an object, {{…}}; this is {_called(row)}")
        if b"\\ud" in line.lower():
            text = json.dumps(row, ensure_ascii=False)
            if half := HALF.search(text):
                fault = half_character(half)
                row = json.loads(HALF.sub("\ufffd", text))
        yield row, line, fault


def _is_fatal(content: bytes) -> bool:
    """Whether Arrow's parser would end the process: by a null before any object, or by overflowing its stack.

    It reads on over line ends, but never on from "}" to "{".
    """
    if content[:1024].lstrip().startswith(b"null"):
        return True
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


def _lines(path: File, name: str) -> _Lines:
    """A file as JSON lines, which it is or which are written to a temporary file."""
    check_encoding(path, name)
    if not _is_folded(path):
        return _Lines(path, name)
    unfolded = _unfold(path, name)
    return _Lines(Path(unfolded.name), name, "value", unfolded)


def _is_folded(path: File) -> bool:
    """Whether the file is one JSON text (an array, an indented object, the one object of a .json file), no lines."""
    with open_bytes(path) as file:
        lines = (text for line in file if (text := line.removeprefix(b"\xef\xbb\xbf").strip()))
        start = next(lines, b"")
        if start == b"{" or start.startswith(b"["):
            return True
        return ".json" in path.suffixes and start.startswith(b"{") and next(lines, None) is None


def _unfold(path: File, name: str) -> Any:
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
    """The rows of an object of equally long lists (empty ones aside); none if it is not that, but a row itself.

    A row may consist of lists, too: of turns, or of tokens.
    """
    columns = {key: items for key, items in value.items() if items != []}
    if not all(isinstance(items, list) for items in columns.values()) or len(set(map(len, columns.values()))) != 1:
        return []
    told = any(isinstance(items[0], str | list) for items in columns.values())
    if not told or any(map(is_conversation, columns.values())):
        return []
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _values(path: File, name: str) -> Iterator[tuple[str, Any]]:
    """Each value of a JSON array (or of values in a row), with its text; holds one chunk of the file at a time."""
    decode = json.JSONDecoder().raw_decode
    line = 1
    with io.TextIOWrapper(open_bytes(path), encoding="utf-8-sig", newline="") as file:
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
