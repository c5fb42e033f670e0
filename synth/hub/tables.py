"""A dataset directory as the Hub's loader reads it: Parquet files, `NAME-00000-of-0000N.parquet`, made one at a time.

Arrow shards with a `state.json` are what `datasets.load_from_disk` reads; `load_dataset` of a repository wants Parquet.
A file takes the rows of whole shards, from the first on: a run that was extended has the same files but for the last.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from synth.data.files.encode import Parquet
from synth.data.write import write_shard
from synth.errors import UsageError

if TYPE_CHECKING:
    import datasets

FILE_BYTES = 500 * 2**20
"""A file ends once its rows take this much as Arrow, as with `datasets`; and what lies beside them, such as sounds."""
BATCH_ROWS, BATCH_ROWS_WITH_FILES = 1_000, 20
"""Rows that are read at once."""
SPLIT = "train"
_DAMAGED = (pa.ArrowException, OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What reading a directory that is no longer whole ends with."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a set, and the files it becomes.

    Attributes:
        config: what the Hub's loader calls it.
        folder: of the files, in the repository.
        rows: how many it has.
        bytes: what they take as Arrow.
        ends: rows of the first file, of the first two, and so on.
    """

    config: str
    folder: str
    source: "datasets.Dataset"
    rows: int
    bytes: int
    ends: tuple[int, ...]

    @classmethod
    def of(cls, directory: Path, config: str, folder: str) -> "Table":
        """The table in a dataset directory.

        Raises:
            UsageError: a shard is missing or damaged, or a file that a row names.
        """
        import datasets

        try:
            source = datasets.load_from_disk(str(directory))
            sizes = list(_sizes(directory, source))
        except _DAMAGED as error:
            raise UsageError(f"{directory} is damaged: {' '.join(str(error).split())}") from error
        ends, rows, held = [], 0, 0
        for count, size in sizes:
            if held and held + size > FILE_BYTES:
                ends.append(rows)
                held = 0
            rows, held = rows + count, held + size
        return cls(config, folder, source, rows, sum(size for _, size in sizes), (*ends, rows))

    @property
    def pattern(self) -> str:
        """The paths of its files, those of another number of files not among them."""
        return f"{self.folder}/{SPLIT}-*-of-{len(self.ends):05d}.parquet"

    @property
    def paths(self) -> list[str]:
        """The paths of its files."""
        count = len(self.ends)
        return [f"{self.folder}/{SPLIT}-{number:05d}-of-{count:05d}.parquet" for number in range(count)]

    def write(self, number: int, path: Path) -> None:
        """Write one of its files; what lies beside the rows, such as sounds, goes into it.

        Raises:
            UsageError: a shard is damaged, or a file that a row names is missing.
            OSError: the disk is full.
        """
        from datasets import config

        chunks = config.DEFAULT_CDC_OPTIONS  # so that storage by content holds what did not change once
        encoder = partial(Parquet, use_content_defined_chunking=chunks, write_page_index=True)
        start, stop = list(pairwise((0, *self.ends)))[number]
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_shard(path, self._batches(start, stop), self.source.features.arrow_schema, encoder)
        except pa.ArrowException as error:
            raise UsageError(f"{self.config} rows from {start:,} on: {' '.join(str(error).split())}") from error
        except FileNotFoundError as error:
            raise UsageError(f"{error.filename or error}: a row names this file, and it is not there") from error

    def _batches(self, start: int, stop: int) -> Iterator[pa.RecordBatch]:
        from datasets.table import embed_table_storage

        step = BATCH_ROWS_WITH_FILES if _files_beside(self.source) else BATCH_ROWS
        rows, schema = self.source.with_format("arrow"), self.source.features.arrow_schema
        for at in range(start, stop, step):
            batch = rows[at : min(at + step, stop)]
            batch.validate(full=True)  # offsets and UTF-8, which nobody checks again
            yield from embed_table_storage(batch).cast(schema).to_batches()


def _sizes(directory: Path, source: "datasets.Dataset") -> Iterator[tuple[int, int]]:
    """Rows and bytes of the parts that a file may end after: shards; of rows with files beside them each row."""
    columns = _files_beside(source)
    names = [entry["filename"] for entry in json.loads((directory / "state.json").read_text())["_data_files"]]
    for name in names:
        with pa.memory_map(str(directory / name)) as file:
            for batch in pa.ipc.open_stream(file) if columns else ():
                for row in batch.select(columns).to_pylist():
                    yield 1, batch.nbytes // batch.num_rows + sum(map(_size, row.values()))
            if not columns:
                yield sum(batch.num_rows for batch in pa.ipc.open_stream(file)), (directory / name).stat().st_size


def _files_beside(source: "datasets.Dataset") -> list[str]:
    """Columns of files, which may lie beside the rows."""
    return [name for name, kind in source.features.items() if getattr(kind, "_type", "") in ("Audio", "Image")]


def _size(file: dict[str, Any] | None) -> int:
    if file is None:
        return 0
    return len(file["bytes"]) if file["bytes"] is not None else Path(file["path"]).stat().st_size
