"""The tables of a run's directory: shards on disk (Arrow streams of bounded size), and rows waiting for the next."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from synth.data.row import batch_of
from synth.data.run.record import shard_name
from synth.data.run.store import HERE, Store
from synth.data.store.path import File
from synth.data.write import finish_dataset_dir, write_shard
from synth.errors import UsageError

SHARD_ROWS = 5_000
SHARD_BYTES = 128 * 2**20
"""A shard ends at whichever comes first."""
UNLISTED = 64
"""While rows land, one shard in so many may not be listed yet: writing the list at each landing would take longer and
longer. A run that stops or ends lists all."""
BATCH_ROWS = 500
"""Rows that are held as Python objects before they become an Arrow batch."""


class Side:
    """One table of a run: its shards, and the rows that wait for the next one, as Arrow batches."""

    def __init__(self, folder: Path, schema: pa.Schema, shards: list[str]) -> None:
        self.folder = folder
        self.schema = schema
        self.shards = shards
        self.records: list[dict[str, Any]] = []
        self.batches: list[pa.RecordBatch] = []
        self.rows = 0
        self.bytes = 0
        self._uneven = False
        self._told = 0

    def describe(self, *, all_of_it: bool) -> None:
        """List the shards for `datasets`: all of them, or where more than one in `UNLISTED` are not yet."""
        if all_of_it or len(self.shards) > self._told + self._told // UNLISTED:
            finish_dataset_dir(self.folder, self.shards, self.schema)
            self._told = len(self.shards)

    def add(self, record: dict[str, Any]) -> None:
        """Take one row."""
        self.records.append(record)
        self.rows += 1
        if len(self.records) == BATCH_ROWS:
            self.pack()

    def extend(self, batch: pa.RecordBatch) -> None:
        """Take whole rows."""
        self.pack()
        if batch.num_rows:
            self.batches.append(batch)
            self.rows += batch.num_rows
            self.bytes += batch.nbytes
            self._uneven = True

    def pack(self) -> None:
        """Turn the rows that are still Python objects into a batch."""
        if self.records:
            batch = batch_of(self.records, self.schema)
            self.batches.append(batch)
            self.bytes += batch.nbytes
            self.records = []

    @property
    def full(self) -> bool:
        """Whether enough rows wait for a shard."""
        return self.rows >= SHARD_ROWS or self.bytes >= SHARD_BYTES

    def land(self) -> None:
        """Write what is waiting, if anything is, as one more shard."""
        self.pack()
        if not self.rows:
            return
        self.folder.mkdir(exist_ok=True)
        name = shard_name(len(self.shards))
        if self._uneven:  # what is written does not depend on how the rows came
            whole = pa.Table.from_batches(self.batches, self.schema).combine_chunks()
            self.batches = whole.to_batches(max_chunksize=BATCH_ROWS)
        write_shard(self.folder / name, self.batches, self.schema)
        self.batches, self.rows, self.bytes = [], 0, 0
        self.shards.append(name)

    def remove_unlisted(self) -> None:
        """Remove shards that a killed run wrote and did not count."""
        listed = set(self.shards)
        for file in [*self.folder.glob("data-*.arrow"), *self.folder.glob("*.tmp")]:
            if file.name not in listed:
                file.unlink()


GIVE_UP = "the run cannot be continued. Choose another `output`, or add `restart` to throw this one away"


def store_failed(error: Exception) -> bool:
    """Whether a shard that is elsewhere could not be read because its store, or the disk here, failed: it may be well.

    One that is not there any more is as good as damaged.
    """
    return isinstance(error, UsageError) and not isinstance(error.__cause__, FileNotFoundError)


def read_shards(
    folder: File, names: Iterable[str], mend: str = GIVE_UP, *, store: Store = HERE
) -> Iterator[pa.RecordBatch]:
    """The rows of a run's shards, in order, memory-mapped.

    Args:
        folder: where they are.
        names: of the shards.
        mend: what can be done about one that is missing or damaged, for the message.
        store: has those that are no longer in the folder, where that is the copy of one elsewhere.

    Raises:
        UsageError: a shard is missing or damaged, or its store failed.
    """
    for name in names:
        try:
            shard: os.PathLike[str] = folder / name
            if isinstance(shard, Path):
                shard = shard if shard.exists() else store.elsewhere(shard)
                if isinstance(shard, Path) and not shard.is_file():  # opening a pipe would block
                    raise FileNotFoundError("no such file")
            with pa.memory_map(os.fspath(shard)) as file:
                batches = list(pa.ipc.open_stream(file))  # they stay mapped, and the file need not stay open
            for batch in batches:
                batch.validate(full=True)  # offsets and UTF-8, which nobody checks again
                yield batch
        except (pa.ArrowException, OSError, UsageError) as error:  # the last is of one that is elsewhere
            if store_failed(error):
                raise
            raise UsageError(
                f"{folder / name} is missing or damaged ({' '.join(str(error).split())}); {mend}"
            ) from error
