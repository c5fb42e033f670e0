"""Rows in memory as a source: a temporary file, which is called by what it is."""

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol, runtime_checkable

from synth.data.store.address import is_address, shown
from synth.errors import UsageError

_names: dict[str, str] = {}
"""What temporary files and directories are called, by their paths."""


@runtime_checkable
class ArrowTable(Protocol):
    """A table of pyarrow, polars, pandas or any other library that hands it over by Arrow's C stream interface."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The table as a stream of batches."""
        ...


@contextmanager
def rows_in_memory(rows: Iterable[Mapping[str, Any]] | ArrowTable) -> Iterator[str]:
    """The path of a file of rows, which can be read any number of times until this ends.

    Raises:
        UsageError: they are no rows.
    """
    suffix = ".arrow" if isinstance(rows, ArrowTable) else ".jsonl"
    with tempfile.NamedTemporaryFile(suffix=suffix, prefix="synth-") as file:
        count = _write_table(rows, file) if isinstance(rows, ArrowTable) else _write_rows(rows, file)
        file.flush()
        name(Path(file.name), f"in memory, {count:,} rows")
        try:
            yield file.name
        finally:
            forget(Path(file.name))


def name(path: Path, called: str) -> None:
    """Call a temporary file, or what is in a temporary directory, by what it is, until `forget`."""
    _names[str(path)] = called


def forget(path: Path) -> None:
    """Call it by its path again."""
    _names.pop(str(path), None)


def temporary(source: str) -> str | None:
    """What a source is called where it is temporary: the same for the same rows in memory, whenever they are read."""
    path = Path(source)
    return next((_names[str(place)] for place in (path, *path.parents) if str(place) in _names), None)


def called(source: str) -> str:
    """What a source is called in messages and records: by its path or address, or by what it is if it is temporary."""
    return shown(source) if is_address(source) else temporary(source) or source


def _write_rows(rows: Any, file: IO[bytes]) -> int:
    kind = type(rows).__name__
    if isinstance(rows, Mapping) or not isinstance(rows, Iterable):
        raise UsageError(
            f"{kind} is no source of rows: it is a path, a list of dictionaries, a `datasets.Dataset` (one split), or "
            "a table of pyarrow, polars or pandas"
        )
    count = 0
    for row in rows:
        if not isinstance(row, Mapping):
            raise UsageError(f"row {count} of the {kind} in memory is a {type(row).__name__}, not a dictionary")
        try:
            file.write(_line(dict(row)))
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"row {count} of the {kind} in memory cannot be written as JSON: {error}") from error
        count += 1
    return count


def _line(row: dict[str, Any]) -> bytes:
    text = json.dumps(row, ensure_ascii=False, default=_json) + "\n"
    try:
        return text.encode()
    except UnicodeEncodeError:  # half a character: it is for the reader to judge
        return json.dumps(row, default=_json).encode() + b"\n"


def _json(value: Any) -> Any:
    """What JSON has no form for: arrays and numbers of NumPy and torch as lists and numbers, anything else as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _write_table(table: ArrowTable, file: IO[bytes]) -> int:
    """Write a table in as few batches as it fits in: a run over the same rows is continued however they are chunked."""
    import pyarrow as pa

    try:
        rows = pa.RecordBatchReader.from_stream(table).read_all().combine_chunks()
    except pa.ArrowException as error:
        raise UsageError(f"the {type(table).__name__} in memory is no table of rows: {error}") from error
    with pa.ipc.new_stream(file, rows.schema) as stream:
        stream.write_table(rows)
    return int(rows.num_rows)
