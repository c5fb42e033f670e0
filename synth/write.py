"""Rows to a file, a dataset directory or standard output, batch by batch.

    FILE.jsonl     JSON lines, UTF-8, nothing escaped that need not be
    FILE.parquet   Parquet
    FILE.arrow     Arrow IPC file (Feather version 2), memory-mappable
    DIR            Arrow IPC stream shards + `dataset_info.json` + `state.json`: `datasets.load_from_disk(DIR)`
    nothing, -     JSON lines on standard output, flushed after every batch

A target appears whole or not at all: it is written under a temporary name beside it, synced, then renamed.
"""

import errno
import io
import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self

import pyarrow as pa

from synth.errors import RunError, UsageError
from synth.row import BASE

SHARD_BYTES = 500 * 2**20
"""A shard of a dataset directory ends once it holds this much Arrow memory, as with `datasets`."""

ROW_GROUP_BYTES = 64 * 2**20
"""Batches are gathered to this much Arrow memory before they become a Parquet row group."""


class Encoder(Protocol):
    """Turns batches into the bytes of one file. `close` writes the footer and leaves the file open."""

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Encode one batch."""
        ...

    def close(self) -> None:
        """Finish the format."""
        ...


class JsonLines:
    """One JSON object a line.

    A column of `synth.row.BASE` in which a whole batch holds nothing is left out of that batch's lines.
    """

    def __init__(self, file: BinaryIO, schema: pa.Schema) -> None:
        for field in schema:
            if _holds_bytes(field.type):
                raise UsageError(
                    f"column {field.name!r} holds {field.type}, which JSON lines cannot: write .parquet, .arrow or a "
                    "dataset directory"
                )
        self._file = file

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Encode one batch."""
        import polars as pl

        kept = [
            name
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
            if name not in BASE.names or column.null_count < len(column)
        ]
        lines = io.BytesIO()
        pl.DataFrame(batch.select(kept)).write_ndjson(lines)
        self._file.write(lines.getbuffer())

    def close(self) -> None:
        """JSON lines have no footer."""


class Parquet:
    """Row groups of `ROW_GROUP_BYTES`, whatever the size of the batches."""

    def __init__(self, file: BinaryIO, schema: pa.Schema) -> None:
        from pyarrow import parquet

        self._file = parquet.ParquetWriter(file, schema)
        self._waiting: list[pa.RecordBatch] = []
        self._bytes = 0

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Encode one batch."""
        self._waiting.append(batch)
        self._bytes += batch.nbytes
        if self._bytes >= ROW_GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Write the last row group and the footer."""
        self._flush()
        self._file.close()

    def _flush(self) -> None:
        if self._waiting:
            self._file.write_table(pa.Table.from_batches(self._waiting))
        self._waiting, self._bytes = [], 0


FORMATS: dict[str, Callable[[BinaryIO, pa.Schema], Encoder]] = {
    ".jsonl": JsonLines,
    ".parquet": Parquet,
    ".arrow": pa.ipc.new_file,
}


class Writer:
    """Where rows go. As a context manager it closes when its block ends, and aborts when the block fails."""

    rows = 0
    """Written so far."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Take one batch of the schema the writer was opened with.

        Raises:
            RunError: the disk is full or the target is not writable any more.
            UsageError: the format cannot hold such data.
            BrokenPipeError: nobody reads standard output any more; a command ends quietly then.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Finish: the target is there from now on. Raises as `write` does."""
        raise NotImplementedError

    def abort(self) -> None:
        """Leave nothing behind."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.abort()
            return
        try:
            self.close()
        except BaseException:
            self.abort()
            raise


class FileWriter(Writer):
    """One file, under a temporary name until `close`. Raises OSError and pa.ArrowException as they come."""

    def __init__(self, path: Path, schema: pa.Schema, encoder: Callable[[BinaryIO, pa.Schema], Encoder]) -> None:
        self._path = path
        self._fresh = _temporary(path)
        self._file = open(self._fresh, "wb")  # noqa: SIM115 (closed by close or abort)
        try:
            self._encoder = encoder(self._file, schema)
        except BaseException:
            self._discard()
            raise

    def write(self, batch: pa.RecordBatch) -> None:
        """Take one batch."""
        self._encoder.write_batch(batch)
        self.rows += batch.num_rows

    def close(self) -> None:
        """Sync the file and give it its name."""
        self._encoder.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._fresh, self._path)

    def abort(self) -> None:
        """Remove the temporary file."""
        with suppress(OSError, pa.ArrowException):
            self._encoder.close()
        self._discard()

    def _discard(self) -> None:
        with suppress(OSError):
            self._file.close()
        self._fresh.unlink(missing_ok=True)


class DirectoryWriter(Writer):
    """A dataset directory, under a temporary name until `close`."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path = path
        self._schema = schema
        self._fresh = _temporary(path)
        self._fresh.mkdir()
        self._names: list[str] = []
        self._open_shard()

    def write(self, batch: pa.RecordBatch) -> None:
        """Take one batch; the next one starts a new shard if this one is full."""
        if self._shard_bytes >= SHARD_BYTES:
            self._shard.close()
            self._open_shard()
        self._shard.write(batch)
        self._shard_bytes += batch.nbytes
        self.rows += batch.num_rows

    def close(self) -> None:
        """Sync the last shard, describe the data set, and give the directory its name."""
        self._shard.close()
        finish_dataset_dir(self._fresh, self._names, self._schema)
        if self._path.exists():
            old = _temporary(self._path).with_suffix(".old")
            os.rename(self._path, old)
            os.rename(self._fresh, self._path)
            shutil.rmtree(old)
        else:
            os.rename(self._fresh, self._path)

    def abort(self) -> None:
        """Remove the temporary directory."""
        self._shard.abort()
        shutil.rmtree(self._fresh, ignore_errors=True)

    def _open_shard(self) -> None:
        name = f"data-{len(self._names):05d}.arrow"
        self._names.append(name)
        self._shard = FileWriter(self._fresh / name, self._schema, pa.ipc.new_stream)
        self._shard_bytes = 0


class StandardOutput(Writer):
    """JSON lines on standard output, each batch there for the next command as soon as it is written."""

    def __init__(self, schema: pa.Schema) -> None:
        self._encoder = JsonLines(sys.stdout.buffer, schema)

    def write(self, batch: pa.RecordBatch) -> None:
        """Take one batch."""
        try:
            self._encoder.write_batch(batch)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            # Python flushes standard output once more as it exits; that must not fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise
        self.rows += batch.num_rows

    def close(self) -> None:
        """Everything is out already."""

    def abort(self) -> None:
        """What is out is out."""


class _Guarded(Writer):
    """A writer whose failures read as one clear line."""

    def __init__(self, target: str, open_it: Callable[[], Writer]) -> None:
        self._target = target
        with self._guard(opening=True):
            self._writer = open_it()

    @property
    def rows(self) -> int:  # type: ignore[override]
        """Written so far."""
        return self._writer.rows

    def write(self, batch: pa.RecordBatch) -> None:
        """Take one batch."""
        with self._guard():
            self._writer.write(batch)

    def close(self) -> None:
        """Finish the target."""
        with self._guard():
            self._writer.close()

    def abort(self) -> None:
        """Leave nothing behind."""
        self._writer.abort()

    @contextmanager
    def _guard(self, opening: bool = False) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            reason = error.strerror or str(error)
            if opening and error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise UsageError(f"cannot write {self._target}: {reason}; choose another -o") from error
            raise RunError(
                f"cannot write {self._target}: {reason}. The unfinished copy is removed; mend that and run again"
            ) from error
        except pa.ArrowException as error:
            raise UsageError(f"{self._target}: this format cannot hold the rows ({_one_line(error)})") from error


def open_writer(target: str | None, schema: pa.Schema, *, source: str | None = None, force: bool = False) -> Writer:
    """Open the place a user named for rows of `schema`.

    Args:
        target: `FILE.jsonl`, `FILE.parquet`, `FILE.arrow`, a directory (a name without a suffix of letters), or
            None or "-" for JSON lines on standard output.
        schema: of every batch to come.
        source: where the rows come from; it is never overwritten.
        force: replace a file or data set that exists. A directory that is no data set is never replaced.

    Raises:
        UsageError: the target exists, is the source, is not writable, or has an unknown suffix.
        RunError: there is no space left.
    """
    schema = schema.remove_metadata()  # features that `datasets` noted there may not fit any more
    if target is None or target == "-":
        return StandardOutput(schema)
    path = Path(target)
    if path.suffix[1:].isalpha() and path.suffix.lower() not in FORMATS:
        raise UsageError(
            f"cannot write {target}: {path.suffix!r} is not a format that is known here; end the name in "
            f"{', '.join(FORMATS)}, or in no suffix for a dataset directory"
        )
    if source not in (None, "-") and _same_place(path, Path(str(source))):
        raise UsageError(f"{target} is the input itself; choose another -o")
    _check_free(path, force)
    encoder = FORMATS.get(path.suffix.lower())

    def open_it() -> Writer:
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileWriter(path, schema, encoder) if encoder else DirectoryWriter(path, schema)

    return _Guarded(target, open_it)


def write_shard(path: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> None:
    """Write one shard of a dataset directory (Arrow IPC stream); it lands whole, synced.

    Raises:
        OSError: the disk is full or not writable; nothing is left behind.
    """
    with FileWriter(path, schema, pa.ipc.new_stream) as writer:
        for batch in batches:
            writer.write(batch)


def finish_dataset_dir(folder: Path, shard_names: Sequence[str], schema: pa.Schema) -> None:
    """Make `datasets.load_from_disk(folder)` find these shards, in this order; replaces what it found before.

    `state.json` lists the shards, `dataset_info.json` their features (left out where a type has no name there:
    `datasets` then derives them from the shards). `datasets` cannot load a directory without any shard.

    Raises:
        OSError: the disk is full or not writable; the old state stays.
    """
    info: dict[str, Any] = {"citation": "", "description": "", "homepage": "", "license": ""}
    with suppress(KeyError):
        info["features"] = {field.name: _feature(field.type) for field in schema}
    state: dict[str, Any] = {
        "_data_files": [{"filename": name} for name in shard_names],
        "_fingerprint": secrets.token_hex(8),  # `datasets` caches by it: other contents, other fingerprint
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    replace_text(folder / "dataset_info.json", json.dumps(info, indent=2, sort_keys=True) + "\n")
    replace_text(folder / "state.json", json.dumps(state, indent=2, sort_keys=True) + "\n")


def replace_text(path: Path, text: str) -> None:
    """Write a small file so that a reader sees the old one or the new one, never a part.

    Raises:
        OSError: the disk is full or not writable; the old file stays.
    """
    fresh = _temporary(path)
    try:
        with open(fresh, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


_DTYPES = {
    str(kind): name
    for kind, name in {
        pa.null(): "null",
        pa.bool_(): "bool",
        pa.float16(): "float16",
        pa.float32(): "float32",
        pa.float64(): "float64",
        pa.string(): "string",
        pa.large_string(): "large_string",
        pa.binary(): "binary",
        **{kind: str(kind) for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64())},
        **{kind: str(kind) for kind in (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())},
    }.items()
}


def _feature(kind: pa.DataType) -> dict[str, Any]:
    """An Arrow type as `dataset_info.json` spells it. Raises KeyError for types beyond `_DTYPES`."""
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind}
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "List"}
    if pa.types.is_large_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "LargeList"}
    return {"dtype": _DTYPES[str(kind)], "_type": "Value"}


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return True
    return any(_holds_bytes(kind.field(index).type) for index in range(kind.num_fields))


def _check_free(path: Path, force: bool) -> None:
    if not path.exists() or (path.is_dir() and not path.suffix[1:].isalpha() and not any(path.iterdir())):
        return
    if path.is_dir() and not (path / "state.json").is_file():
        raise UsageError(f"{path} is a directory that holds other things; choose another -o")
    if not force:
        raise UsageError(f"{path} exists; choose another -o, or add --force to replace it")
    if path.is_dir() == (path.suffix.lower() in FORMATS):
        raise UsageError(f"{path} is a {'directory' if path.is_dir() else 'file'}; choose another -o")


def _same_place(target: Path, source: Path) -> bool:
    target, source = target.resolve(), source.resolve()
    return source.exists() and (target == source or source in target.parents or target in source.parents)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
