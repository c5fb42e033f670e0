"""Reads tables: for each format, one schema for all files, and valid batches of bounded length."""

import csv
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from synth.data.files.compressed import check_encoding, open_bytes
from synth.data.files.unify import conformed, one_schema
from synth.data.store.path import File, peeked
from synth.errors import UsageError

Table = tuple[pa.Schema, Callable[[], Iterator[pa.RecordBatch]]]

BATCH_ROWS = 16_384
"""Rows of a batch, at most; longer stored batches are sliced, not copied."""

_DELIMITERS = (",", "\t", ";")
"""What separates the values of CSV files."""

_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"


def open_csv(paths: Sequence[File]) -> Table:
    """CSV files with a header; every column is text. Values are separated as the header is.

    Raises:
        UsageError: a header is damaged, or has a name twice.
    """
    from pyarrow import csv as arrow_csv

    def delimiter(path: File) -> str:
        with io.TextIOWrapper(open_bytes(path), encoding="utf-8-sig", errors="replace") as file:
            named = re.sub(r'"[^"]*"', "", file.readline())
        return max(_DELIMITERS, key=named.count)

    def header(path: File) -> pa.Schema:
        check_encoding(path, str(path))
        with io.TextIOWrapper(open_bytes(path), encoding="utf-8-sig", errors="replace", newline="") as file:
            try:
                columns = next(csv.reader(file, delimiter=delimiter(path)), [])
            except csv.Error as error:
                raise UsageError(f"{path} is no CSV file: {error}") from error
        if len(set(columns)) < len(columns):
            raise UsageError(f"{path}: several columns have one name in the header {', '.join(columns)}")
        return pa.schema([(column, pa.string()) for column in columns])

    def batches(path: File) -> Iterator[pa.RecordBatch]:
        own = header(path)
        if not own.names:
            return iter(())
        return iter(
            arrow_csv.open_csv(
                open_bytes(path),
                read_options=arrow_csv.ReadOptions(block_size=2**23, use_threads=False),  # for row numbers in errors
                parse_options=arrow_csv.ParseOptions(delimiter=delimiter(path), newlines_in_values=True),
                convert_options=arrow_csv.ConvertOptions(column_types=own),
            )
        )

    schema = one_schema([(path, header(path)) for path in paths])
    return schema, _checked(paths, schema, batches)


def open_parquet(paths: Sequence[File]) -> Table:
    """Parquet files.

    Raises:
        UsageError: one is damaged, or their columns are incompatible.
    """
    from pyarrow import parquet

    def opened(path: Path | str | BinaryIO) -> Any:
        return parquet.ParquetFile(path, memory_map=True)

    def schema_of(path: File) -> pa.Schema:
        with peeked(path) as place, _damaged(path):
            return opened(place).schema_arrow.remove_metadata()

    def batches(path: File) -> Iterator[pa.RecordBatch]:
        with _damaged(path):
            return iter(opened(os.fspath(path)).iter_batches(BATCH_ROWS))

    schema = one_schema([(path, schema_of(path)) for path in paths])

    return schema, _checked(paths, schema, batches)


def open_arrow(paths: Sequence[File], *, alike: bool = False) -> Table:
    """Arrow IPC files and streams; of those that are `alike` only the first is looked at before they are read.

    Raises:
        UsageError: one is damaged, or their columns are incompatible.
    """

    def schema_of(path: File) -> pa.Schema:
        with peeked(path) as place, _damaged(path):
            found = _open_ipc(path)[0] if isinstance(place, Path) else _begun_ipc(place)
            if "\ufffd" in str(found):  # Arrow cannot print a name that is not UTF-8, at any depth
                raise pa.ArrowInvalid("names of columns are not UTF-8")
        return found.remove_metadata()

    schema = one_schema([(path, schema_of(path)) for path in (paths[:1] if alike else paths)])
    return schema, _checked(paths, schema, lambda path: _open_ipc(path)[1])


def _open_ipc(path: File) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The schema and the batches of an Arrow IPC file or stream, memory-mapped.

    Raises:
        pa.ArrowException, OSError: the file is damaged.
    """
    with open(path, "rb") as file:
        is_file = file.read(6) == b"ARROW1"
        if not is_file:
            # A stream cut between two batches reads without an error.
            file.seek(max(0, file.seek(0, 2) - len(_END_OF_STREAM)))
            if file.read() != _END_OF_STREAM:
                raise pa.ArrowInvalid("no end-of-stream mark")
    mapped = pa.memory_map(os.fspath(path))
    if is_file:
        reader = pa.ipc.open_file(mapped)
        return reader.schema, (reader.get_batch(index) for index in range(reader.num_record_batches))
    stream = pa.ipc.open_stream(mapped)
    return stream.schema, iter(stream)


def _begun_ipc(file: BinaryIO) -> pa.Schema:
    """The schema of an Arrow IPC file or stream of which no more is read. Raises as `_open_ipc` does."""
    is_file = file.read(6) == b"ARROW1"
    file.seek(0)
    return (pa.ipc.open_file if is_file else pa.ipc.open_stream)(file).schema


def _checked(
    paths: Sequence[File], schema: pa.Schema, batches: Callable[[File], Iterator[pa.RecordBatch]]
) -> Callable[[], Iterator[pa.RecordBatch]]:
    """Reads the batches of all files: valid, of one schema without metadata, and of BATCH_ROWS at most.

    A file that was read to its end is not validated again, unless it has changed since.
    """
    valid: dict[File, tuple[int, int, int]] = {}

    def read() -> Iterator[pa.RecordBatch]:
        for path in paths:
            with _damaged(path):
                state = os.stat(path)
                version = state.st_ino, state.st_size, state.st_mtime_ns
                for batch in batches(path):
                    if valid.get(path) != version:
                        batch.validate(full=True)  # damaged offsets would crash whatever reads them
                    whole = conformed(batch.replace_schema_metadata(None), schema, path)
                    for start in range(0, whole.num_rows, BATCH_ROWS):
                        yield whole.slice(start, BATCH_ROWS)
                valid[path] = version

    return read


@contextmanager
def _damaged(path: File) -> Iterator[None]:
    """Arrow's message about a damaged file, in one line."""
    try:
        yield
    except FileNotFoundError as error:
        raise UsageError(f"{path} is missing") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is damaged: the name of a column is not UTF-8") from error
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{path} is damaged or cut short: {' '.join(str(error).split())}") from error
