"""Reads rows from files, directories, the Hub or standard input as Arrow batches, in bounded memory.

DIR                       dataset directory (ours, or of `datasets.save_to_disk`), memory-mapped; or a folder of files
FILE.arrow .feather       Arrow IPC file or stream, memory-mapped
FILE.parquet
FILE.jsonl .ndjson .json  JSON lines, or one JSON array or object of columns; see `synth.data.files.jsonlines`
FILE.csv .tsv             with a header; every column is text
FILE.jsonl.gz .zst .bz2   and other text likewise
'DIR/*.jsonl'             all that match; see `synth.data.files.sources`
s3://bucket/…             any of these elsewhere, file by file; see `synth.data.store`
org/name[/config][@revision][:split]   a data set of the Hugging Face Hub; also after hf://datasets/
nothing, -                standard input: JSON lines, or an Arrow stream, as its first bytes say
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from synth.data.files.directories import kind_of, only_split, shards_of
from synth.data.files.jsonlines import JsonRows, open_json
from synth.data.files.memory import called
from synth.data.files.sources import (
    HUB_ADDRESS,
    files_in,
    files_matching,
    format_of,
    hub_name,
    is_pattern,
    known_suffixes,
)
from synth.data.files.tables import BATCH_ROWS, Table, open_arrow, open_csv, open_parquet
from synth.data.files.unify import conformed, one_schema
from synth.data.row import BASE, FAULT, MESSAGES, PARTED
from synth.data.schema.assemble import ConversationColumns, messages_of
from synth.data.schema.benchmarks import benchmark_of, published
from synth.data.schema.openings import may_think
from synth.data.schema.shapes import LOOKED_AT, recognise
from synth.data.schema.turn_columns import may_have_parts
from synth.data.store.path import File, StoredPath, path_at
from synth.errors import UsageError
from synth.nearest import near_paths, path_hint

_LOOKED_AT, _TOLD = 1_000, 5
"""Directory entries that are examined when a name does not exist, and names that a message lists."""


@dataclass(slots=True)
class Rows:
    """Rows that can be read any number of times; nothing is held between batches.

    Attributes:
        source: their name in messages.
        schema: their columns.
        read: yields them from the start; a batch has the column `FAULT` beside those of `schema` where one of its rows
            cannot be read.
        notes: what was recognised and what is not kept; reading may add to them. Print them after reading.
        mixed: columns that hold values of several kinds, as JSON text.
        written: the same rows with some columns as they are written, where the source can tell.
        may_think: whether some text in them may begin with thoughts, as far as one knows without reading them again.
    """

    source: str
    schema: pa.Schema
    read: Callable[[], Iterator[pa.RecordBatch]]
    notes: list[str] = field(default_factory=list)
    mixed: Collection[str] = ()
    written: "Callable[[Collection[str]], Rows] | None" = None
    may_think: bool = True

    def __post_init__(self) -> None:
        """Refuse a column name with a null character: other libraries truncate it, and two columns could become one.

        Raises:
            UsageError: there is one.
        """
        if odd := next((name for name in self.schema.names if "\0" in name), None):
            raise UsageError(f"{self.source}: the name of column {odd!r} holds a null character; rename it")

    def judged(self, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """The rows from the start, or the first `limit` of them, with `FAULT` where one cannot be read.

        Raises:
            UsageError: a part of the source is damaged; the message says which.
        """
        left = sys.maxsize if limit is None else min(limit, sys.maxsize)
        for batch in self.read() if left else ():
            yield batch.slice(0, left)
            left -= batch.num_rows
            if left <= 0:
                return

    def batches(self, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """The rows of `judged`, all of `schema`: a conversation that cannot be read is null."""
        for batch in self.judged(limit):
            yield batch.drop_columns([FAULT]) if FAULT in batch.schema.names else batch

    def readable(self, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """The rows of `judged` that can be read; a note says how many cannot.

        Raises:
            UsageError: as for `judged`; or there are rows, and none can be read.
        """
        tally = Tally()
        for batch in self.judged(limit):
            tally.add(batch)
            if FAULT in batch.schema.names:
                batch = batch.filter(batch.column(FAULT).is_null()).drop_columns([FAULT])
            yield batch
        tally.tell(self, "left out")

    def look(self, columns: ConversationColumns) -> tuple[pa.DataType, bool]:
        """The type of the conversations in some columns: `PARTED` if some turn has parts; and whether any may think.

        Beyond the first `LOOKED_AT` bytes the types of the columns tell.
        """
        may_have = columns.thoughts is not None
        may_have = may_have or any(may_have_parts(self.schema.field(name).type) for name in columns.columns())
        if not (may_have or self.may_think):
            return MESSAGES, False
        left, thinks = LOOKED_AT, may_have
        with suppress(UsageError):  # what is damaged is told when it is come to
            for batch in self.read():
                some = batch.select(columns.columns())
                if may_have or any(map(may_think, some.columns)):
                    thinks = True
                    if messages_of(some, columns, [], {}).type == PARTED:
                        return PARTED, True
                left -= some.nbytes
                if left < 0:
                    return PARTED if may_have else MESSAGES, True
        return MESSAGES, thinks

    def first(self, name: str) -> object:
        """The first value of a column that is not null; None where there is none."""
        for batch in self.batches():
            for value in batch.column(name).drop_null().slice(0, 1):
                return value.as_py()
        return None


@dataclass(slots=True)
class Tally:
    """Counts rows and those among them that cannot be read, and keeps the first of the latter."""

    rows: int = 0
    unreadable: int = 0
    example: str = ""

    def add(self, batch: pa.RecordBatch) -> None:
        """Count a batch of `Rows.judged` in."""
        if FAULT in batch.schema.names:
            faults = batch.column(FAULT)
            if not self.example and faults.null_count < len(faults):
                at = faults.is_valid().index(True).as_py()
                self.example = f"row {self.rows + at:,}: {faults[at]}"
            self.unreadable += len(faults) - faults.null_count
        self.rows += batch.num_rows

    def tell(self, source: Rows, done: str) -> None:
        """Note what is `done` with the rows that cannot be read, if there are any.

        Raises:
            UsageError: none can.
        """
        if not self.unreadable:
            return
        if self.unreadable == self.rows:
            raise UsageError(f"{source.source}: none of its {self.rows:,} rows can be read; {self.example}")
        note = f"{self.unreadable:,} of {self.rows:,} rows cannot be read and are {done}; {self.example}"
        if note not in source.notes:
            source.notes.append(note)


def faults_of(batch: pa.RecordBatch) -> list[str | None]:
    """Why each row of a batch of `Rows.judged` cannot be read; None where it can."""
    if FAULT not in batch.schema.names:
        return [None] * batch.num_rows
    found: list[str | None] = batch.column(FAULT).to_pylist()
    return found


def open_rows(source: str | None, *, prompt_column: str | None = None, reference_column: str | None = None) -> Rows:
    """Open a source and bring its rows to `messages` and `reference` (`synth.data.schema.shapes` has the rules).

    Raises:
        UsageError: the source is missing, damaged or of an unknown kind, or no conversation is recognised in it.
    """
    return conversations(open_source(source), prompt_column=prompt_column, reference_column=reference_column)


def conversations(raw: Rows, *, prompt_column: str | None = None, reference_column: str | None = None) -> Rows:
    """Bring the rows of `open_source` to `messages` and `reference`.

    Raises:
        UsageError: no conversation is recognised in them.
    """
    if not raw.schema.names:
        return _without_columns(raw)
    found = benchmark_of(raw.schema, raw.batches) if prompt_column is None and reference_column is None else None
    named = {"prompt_column": prompt_column, "reference_column": reference_column}
    try:
        if found is not None:
            shape = published(raw.schema, found, raw.source)
        else:
            shape = recognise(raw.schema, **named, first=raw.first, mixed=raw.mixed, look=raw.look)
        if raw.written and (names := shape.inexact | (shape.read & set(raw.mixed))):
            raw = raw.written(names)
            shape = recognise(raw.schema, **named, first=raw.first, mixed=names, look=raw.look)
    except UsageError as error:
        said = str(error)  # reading may have failed, which names the file
        raise UsageError(said if said.startswith(raw.source) else f"{raw.source}: {said}") from error
    notes = shape.notes
    notes[:0] = raw.notes
    return Rows(raw.source, shape.schema, lambda: map(shape.convert, raw.read()), notes)


def _without_columns(raw: Rows) -> Rows:
    """An empty file, or rows that hold nothing: they are counted as what cannot be read."""
    schema = pa.schema([BASE.field("messages"), BASE.field("reference")])

    def read() -> Iterator[pa.RecordBatch]:
        for batch in raw.read():
            faults = [why or "there is nothing in it" for why in faults_of(batch)]
            columns = [*(pa.nulls(batch.num_rows, item.type) for item in schema), pa.array(faults, pa.string())]
            yield pa.record_batch(columns, schema=schema.append(pa.field(FAULT, pa.string())))

    return Rows(raw.source, schema, read, raw.notes)


def open_source(source: str | None) -> Rows:
    """Open a source with its columns as they are (Arrow schema metadata aside).

    Raises:
        UsageError: the source is missing, damaged or of an unknown kind.
    """
    try:
        if source is None or source == "-":
            return _standard_input()
        if source.startswith(HUB_ADDRESS) and (named := hub_name(source)):
            return _hub(source, named)
        if is_pattern(source):
            return _files(files_matching(source), called(source))
        path = path_at(source)
        if path.is_dir():
            return _directory(path, called(source))
        if path.exists():
            return _files([path], called(source))
    except OSError as error:
        raise UsageError(f"cannot read {source or 'standard input'}: {error.strerror or error}") from error
    if isinstance(path, StoredPath):
        raise UsageError(f"{path} does not exist{_beside(path)}")
    if path.is_symlink():
        raise UsageError(f"{source} is a link to {os.readlink(path)}, which does not exist")
    if named := hub_name(source):
        return _hub(source, named)
    raise UsageError(f"{source} does not exist{_nearest(path)}")


def _files(paths: Sequence[File], name: str) -> Rows:
    """Files of one format."""
    opener = _OPENERS.get(format_of(paths[0]) or "")
    if opener is None:
        raise UsageError(f"{name}: unknown format; known suffixes: {known_suffixes()}")
    _regular(paths)
    return opener(paths, name)


def _regular(paths: Sequence[File]) -> None:
    """Refuse a pipe, which blocks and can be read only once, and a device, which may have no end."""
    for path in paths:
        if isinstance(path, Path) and path.exists() and not path.is_file():
            raise UsageError(f"{path} is no file; what comes through a pipe is read from standard input")


def _directory(path: File, name: str) -> Rows:
    path = only_split(path)
    if (shards := shards_of(path)) is None:
        if kind := kind_of(path):
            raise UsageError(f"{path} {kind}")
        return _files(files_in(path), str(path))
    _regular(shards)
    rows = Rows(name, *open_arrow(shards, alike=True)) if shards else Rows(name, pa.schema([]), lambda: iter(()))
    if (path / "progress.json").exists():
        rows.notes.append(f"{path} is still being written, or its run was stopped: these are its rows so far")
    return rows


def _json(paths: Sequence[File], name: str) -> Rows:
    found = open_json(paths, name)

    def rows(found: JsonRows) -> Rows:
        mixed = found.mixed
        notes = [f"kept as JSON text, as values are of several types: {', '.join(mixed)}"] if mixed else []
        written = lambda names: rows(found.written(names))  # noqa: E731
        return Rows(name, found.schema, found.batches, notes, mixed, written, found.may_think)

    return rows(found)


def _tables(opener: Callable[[Sequence[File]], Table]) -> Callable[[Sequence[File], str], Rows]:
    def rows(paths: Sequence[File], name: str) -> Rows:
        schema, batches = opener(paths)
        return Rows(name, schema, batches)

    return rows


def _hub(source: str, named: dict[str, str | None]) -> Rows:
    import datasets

    try:
        found = datasets.load_dataset(**named)
    except Exception as error:  # many kinds of errors, which all mean that it cannot be loaded
        why = path_hint(Path(source), _readable) or f": {' '.join(str(error).split())}"
        raise UsageError(f"{source} is no local file, and cannot be loaded from the Hugging Face Hub{why}") from error
    if isinstance(found, dict):
        if len(found) != 1:
            raise UsageError(
                f"{source} has several splits: {', '.join(found)}; name one, as in {source}:{next(iter(found))}"
            )
        found = next(iter(found.values()))
    table = found.data.table.replace_schema_metadata(None)
    schema, path = one_schema([(Path(source), table.schema)]), Path(source)
    batches = lambda: (conformed(batch, schema, path) for batch in table.to_batches(max_chunksize=BATCH_ROWS))  # noqa: E731
    return Rows(source, schema, batches)


def _standard_input() -> Rows:
    """Standard input, copied to a temporary file, as the schema is known only once everything has been read."""
    stream: BinaryIO = sys.stdin.buffer
    if stream.isatty():
        raise UsageError("no input: name a file or a data set, or pipe rows in")
    copy = tempfile.NamedTemporaryFile()  # noqa: SIM115 (lives as long as the rows)
    shutil.copyfileobj(stream, copy, 2**20)
    copy.flush()
    copy.seek(0)
    start = copy.read(6)
    is_arrow = start.startswith(b"\xff\xff\xff\xff") or start == b"ARROW1"
    rows = _OPENERS["arrow" if is_arrow else "json"]([Path(copy.name)], "standard input")
    read = rows.read
    rows.read = lambda _keep=copy: read()  # type: ignore[misc]
    return rows


def _nearest(path: Path) -> str:
    if near_paths(path):
        return path_hint(path, _readable)
    return _beside(path)


def _beside(path: File) -> str:
    """What else is in the folder that a path is not in."""
    if isinstance(path, StoredPath) and not path.lists:
        return ""
    folder: File = path.parent
    if not folder.is_dir():
        return f": there is no {'directory ' if isinstance(folder, Path) else ''}{folder}"
    entries: Iterator[File] = iter(folder.iterdir())
    there = sorted(item.name for item in islice(entries, _LOOKED_AT) if _readable(item))
    return f"; there are: {', '.join(there[:_TOLD])}{', …' if len(there) > _TOLD else ''}" if there else ""


def _readable(path: File) -> bool:
    """Whether rows can be read from a path, as far as its name and its files tell."""
    return (path / "state.json").is_file() if path.is_dir() else format_of(path) is not None


_OPENERS: dict[str, Callable[[Sequence[File], str], Rows]] = {
    "json": _json,
    "parquet": _tables(open_parquet),
    "arrow": _tables(open_arrow),
    "csv": _tables(open_csv),
}
