"""Writes rows to a file, a dataset directory or standard output, batch by batch.

    FILE.jsonl     JSON lines, UTF-8, nothing escaped that need not be
    FILE.parquet   Parquet
    FILE.arrow     Arrow IPC file (Feather version 2), memory-mappable
    DIR            Arrow IPC stream shards + `dataset_info.json` + `state.json`: `datasets.load_from_disk(DIR)`
    nothing, -     JSON lines on standard output, flushed after every batch

A target appears whole or not at all: it is written under a temporary name beside it, synced, then renamed.
"""

import errno
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

from synth.data.destination import ROWS
from synth.data.files.encode import Encoder, JsonLines, Parquet
from synth.errors import RunError, UsageError

SHARD_BYTES = 500 * 2**20
"""A shard of a dataset directory ends once it holds this much Arrow memory, as with `datasets`."""

FORMATS: dict[str, Callable[[BinaryIO, pa.Schema], Encoder]] = dict(
    zip(ROWS, (JsonLines, Parquet, pa.ipc.new_file), strict=True)
)
"""How rows are written in a file, by its suffix."""

MEDIA = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""A file of sound or of a picture, as `datasets` stores it: what it holds, or where it is."""

MEDIA_FEATURES = {"audio": "Audio", "image": "Image"}
"""Columns of `MEDIA` by these names are described so that `datasets` opens their files."""


class _Target(Protocol):
    """A target to write to. Errors of the system and of Arrow are not converted."""

    def write(self, batch: pa.RecordBatch) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


class _File:
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


class _Directory:
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
        self._shard = _File(self._fresh / name, self._schema, pa.ipc.new_stream)
        self._shard_bytes = 0


class _Stream:
    """JSON lines on a stream, such as standard output: a batch is there for its reader as soon as it is written."""

    def __init__(self, stream: BinaryIO, schema: pa.Schema) -> None:
        self._stream = stream
        self._encoder = JsonLines(stream, schema)

    def write(self, batch: pa.RecordBatch) -> None:
        """Take one batch."""
        try:
            self._encoder.write_batch(batch)
            self._stream.flush()
        except BrokenPipeError:
            # Python flushes standard output once more as it exits; that must not fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise

    def close(self) -> None:
        """Nothing to do: every batch was flushed."""

    def abort(self) -> None:
        """Nothing to do: what was written cannot be taken back."""


class Writer:
    """Where rows go. As a context manager it closes when its block ends, and aborts when the block fails."""

    rows = 0
    """Written so far."""

    def __init__(self, name: str, open_target: Callable[[], _Target]) -> None:
        self._name = name
        with self._one_line(opening=True):
            self._target = open_target()

    def write(self, batch: pa.RecordBatch) -> None:
        """Take one batch of the schema the writer was opened with.

        Raises:
            RunError: the disk is full or the target is not writable any more.
            UsageError: the format cannot hold such data.
            BrokenPipeError: the reader of standard output is gone; a command then ends quietly.
        """
        with self._one_line():
            self._target.write(batch)
        self.rows += batch.num_rows

    def close(self) -> None:
        """Finish: the target is there from now on. Raises as `write` does."""
        with self._one_line():
            self._target.close()

    def abort(self) -> None:
        """Remove what was written."""
        self._target.abort()

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

    @contextmanager
    def _one_line(self, opening: bool = False) -> Iterator[None]:
        """Say in one line what failed and how to mend it."""
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            reason = f"cannot write {self._name}: {error.strerror or error}"
            if opening and error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise UsageError(f"{reason}; choose another `output`") from error
            raise RunError(f"{reason}. Nothing was kept: fix that and run again") from error
        except pa.ArrowException as error:
            reason = " ".join(str(error).split())
            raise UsageError(f"{self._name}: this format cannot hold these rows: {reason}") from error


def open_writer(
    target: str | BinaryIO | None, schema: pa.Schema, *, source: str | None = None, force: bool = False
) -> Writer:
    """Open the place a user named for rows of `schema`.

    Args:
        target: `FILE.jsonl`, `FILE.parquet`, `FILE.arrow`, a directory (a name without a suffix of letters), or
            None or "-" for JSON lines on standard output; or a stream for JSON lines.
        schema: of every batch to come.
        source: where the rows come from; it is never overwritten.
        force: replace a file or data set that exists. A directory that is no data set is never replaced.

    Raises:
        UsageError: the target exists, is the source, is not writable, or has an unknown suffix.
        RunError: there is no space left.
    """
    schema = schema.remove_metadata()  # features that `datasets` recorded there may no longer fit
    if target is None or not isinstance(target, str) or target == "-":
        stream = sys.stdout.buffer if target is None or isinstance(target, str) else target
        return Writer("standard output", lambda: _Stream(stream, schema))
    path = Path(os.path.abspath(target))  # "." has no name of its own
    if path.suffix[1:].isalpha() and path.suffix.lower() not in FORMATS:
        raise UsageError(
            f"cannot write {target}: {path.suffix!r} is an unknown format; end the name in "
            f"{', '.join(FORMATS)}, or in no suffix for a dataset directory"
        )
    if source not in (None, "-") and _same_place(path, Path(str(source))):
        raise UsageError(f"{target} is the input itself; choose another `output`")
    _check_free(path, force)
    encoder = FORMATS.get(path.suffix.lower())

    def open_target() -> _Target:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _File(path, schema, encoder) if encoder else _Directory(path, schema)

    return Writer(target, open_target)


def write_shard(
    path: Path,
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    encoder: Callable[[BinaryIO, pa.Schema], Encoder] = pa.ipc.new_stream,
) -> None:
    """Write one shard of a dataset directory, by default as an Arrow IPC stream; it lands whole, synced.

    Raises:
        OSError: the disk is full or not writable; nothing is left behind.
    """
    shard = _File(path, schema, encoder)
    try:
        for batch in batches:
            shard.write(batch)
        shard.close()
    except BaseException:
        shard.abort()
        raise


def finish_dataset_dir(folder: Path, shard_names: Sequence[str], schema: pa.Schema) -> None:
    """Make `datasets.load_from_disk(folder)` find these shards, in this order; replaces what it found before.

    `state.json` lists the shards, `dataset_info.json` their features (left out where a type has no name there:
    `datasets` then derives them from the shards). `datasets` cannot load a directory without any shard.

    Raises:
        OSError: the disk is full or not writable; the old state stays.
    """
    info: dict[str, Any] = {"citation": "", "description": "", "homepage": "", "license": ""}
    with suppress(KeyError):
        info["features"] = {field.name: _column_feature(field) for field in schema}
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
    """Write a small file of text, as `replace_bytes` does."""
    replace_bytes(path, text.encode())


def replace_bytes(path: Path, content: bytes) -> None:
    """Write a small file so that a reader sees the old one or the new one, never a part.

    Raises:
        OSError: the disk is full or not writable; the old file stays.
    """
    fresh = _temporary(path)
    try:
        with open(fresh, "wb") as file:
            file.write(content)
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


def _column_feature(field: pa.Field) -> dict[str, Any]:
    """A column as `dataset_info.json` spells it. Raises KeyError as `_feature` does."""
    if field.type == MEDIA and field.name in MEDIA_FEATURES:
        return {"_type": MEDIA_FEATURES[field.name]}
    return _feature(field.type)


def _feature(kind: pa.DataType) -> dict[str, Any]:
    """An Arrow type as `dataset_info.json` spells it. Raises KeyError for types beyond `_DTYPES`."""
    if kind == pa.json_(pa.string()):
        return {"_type": "Json"}
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind}
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "List"}
    if pa.types.is_large_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "LargeList"}
    return {"dtype": _DTYPES[str(kind)], "_type": "Value"}


def _check_free(path: Path, force: bool) -> None:
    if not path.exists() or (path.is_dir() and not path.suffix[1:].isalpha() and not any(path.iterdir())):
        return
    if path.is_dir() and not (path / "state.json").is_file():
        raise UsageError(f"{path} is a directory that holds other things; choose another `output`")
    if not force:
        raise UsageError(f"{path} exists; choose another `output`, or add `force` to replace it")
    if path.is_dir() == (path.suffix.lower() in FORMATS):
        raise UsageError(f"{path} is a {'directory' if path.is_dir() else 'file'}; choose another `output`")


def _same_place(target: Path, source: Path) -> bool:
    target, source = target.resolve(), source.resolve()
    return source.exists() and (target == source or source in target.parents or target in source.parents)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


@contextmanager
def resumable(path: Path) -> Iterator[None]:
    """Say in one line that the disk failed on which a run keeps what it has finished, and how to go on.

    Args:
        path: the run's directory.

    Raises:
        RunError: in place of an OSError.
    """
    try:
        yield
    except OSError as error:
        hint = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "fix that"
        raise RunError(
            f"cannot write to {path}: {error.strerror or error}. What was finished is kept: {hint} and run this again "
            "(without `restart`)"
        ) from error
