"""A run's dataset directory: crash-proof while the run is under way, an ordinary data set when it is done.

    DIR/data-00000.arrow …      accepted rows, Arrow stream shards; `datasets.load_from_disk(DIR)` reads them
    DIR/dataset_info.json, state.json
    DIR/rejected/               the same for the rows that did not make it, each with its `reason`
    DIR/pairs/                  the same for preference pairs, where the method makes them
    DIR/README.md               the dataset card
    DIR/run.json                settings, counts, versions, throughput; written last: its presence means finished

While the run is under way two more files make it safe to kill at any moment:

    DIR/journal.jsonl           every finished row that is in no shard yet, appended as it finishes, in any order
    DIR/progress.json           how many shards are valid and the index of the first row beyond them

A row is kept by a single appended line. Shards land in row order under their final names, then count once
`progress.json` is replaced; after that the journal is rewritten without their rows. Killed between any two of
these steps, the next run finds a consistent state: unlisted shards are removed, journal lines of landed rows and a
torn last line are ignored.

Nothing is written, and nothing of an earlier run removed, before there is a first row: a run that is refused, or whose
model cannot be loaded, leaves the directory as it was.
"""

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Self

import pyarrow as pa

from synth.data.row import INDEX, REASON, Outcome, batch_of, pairs_schema
from synth.data.run.card import write_card
from synth.data.run.journal import NAME as JOURNAL
from synth.data.run.journal import Journal
from synth.data.run.lock import NAME as LOCK
from synth.data.run.lock import lock_directory, unlock_directory
from synth.data.run.record import RECORDS, RunRecord, read_record, refuse_changed, refuse_foreign, shard_name
from synth.data.run.shard import Shard
from synth.data.run.shards import Side, read_shards
from synth.data.run.store import HERE, Store
from synth.data.write import replace_text, resumable, write_shard
from synth.errors import UsageError
from synth.interrupts import uninterrupted

SHARD_SECONDS = 600.0
"""Rows land no later than this, so that a slow run's can be looked at, too; else when there is a shard of them."""
BATCH_SECONDS = 60.0
"""Rows that come in whole batches wait no longer than this to land."""

SIDE_TABLES = ("rejected", "pairs")
"""Directories that a run may have beside its accepted rows."""


class RunDirectory:
    """One run's rows on disk. `keep` each outcome as it finishes, `commit` them in order, then `finish`."""

    @classmethod
    def open(
        cls, path: Path, fresh: RunRecord, schema: pa.Schema, *, restart: bool = False, store: Store = HERE
    ) -> Self:
        """Begin a run in `path`, or continue the one that is there.

        A finished run is opened again too, so that a larger target extends it.

        Args:
            path: the directory; made if missing.
            fresh: the record of a run that has no rows yet. Its target, model name and versions may differ from those
                of the run that is there; its command and settings may not.
            schema: the accepted rows' columns; of a shard whose rows come one by one with `INDEX`.
            restart: throw away what an earlier run left there, once there is a row of this one.
            store: is kept after the directory, where that is the copy of one elsewhere.

        Raises:
            UsageError: the path holds something else, a run with other settings, or a run that is under way.
        """
        try:
            refuse_foreign(path, _is_ours, "run of synth", "a directory, or a file name ending in .jsonl or .parquet")
            lock = lock_directory(path)
        except OSError as error:
            raise UsageError(f"cannot write to {path}: {error.strerror or error}") from error
        try:
            return cls(path, fresh, schema, lock, restart, store)
        except BaseException:
            unlock_directory(path, lock)
            raise

    def __init__(self, path: Path, fresh: RunRecord, schema: pa.Schema, lock: int, restart: bool, store: Store) -> None:
        self.path = path
        self.store = store
        self.schema = schema
        self._journal = Journal(path)
        self._lock = lock
        self._replaces = restart
        self.record = replace(fresh, settings=json.loads(json.dumps(fresh.settings)))
        earlier = None if restart else read_record(path)
        same = earlier is not None and (earlier.asked, earlier.shard) == (fresh.asked, fresh.shard)
        self._ended = earlier if earlier is not None and same and earlier.finished else None
        if earlier is not None:
            taken = self._journal.read(earlier.next)
            earlier.seconds = max(earlier.seconds, taken[0])
            earlier.prompt_tokens = max(earlier.prompt_tokens, taken[1])
            earlier.completion_tokens = max(earlier.completion_tokens, taken[2])
            if earlier.binding or self._journal:
                self.record = self._going_on(earlier)
        record = self.record
        self.schema = schema = self._as_begun(record, schema)
        self.shard = None if record.shard is None else Shard.read(record.shard)
        self.accepted = Side(path, schema, record.shards)
        self.rejected = Side(path / "rejected", schema.append(REASON), record.rejected_shards)
        self.pairs = Side(path / "pairs", pairs_schema(schema), record.pair_shards)
        self._committed = record.next
        self._landed = time.monotonic()
        batch_of([], schema)  # pyarrow imports pandas at its first conversion: now, not while rows are in flight

    def _going_on(self, earlier: RunRecord) -> RunRecord:
        fresh = self.record
        refuse_changed(self.path, earlier, fresh)
        return replace(
            earlier,
            settings=fresh.settings,  # they agree; an earlier release recorded them in another form
            source=fresh.source,
            asked=fresh.asked,
            devices=fresh.devices,
            command_line=fresh.command_line,
            model=fresh.model,
            versions=fresh.versions,
            joining=False,
            finished=None,
            note=None,
        )

    def _as_begun(self, record: RunRecord, schema: pa.Schema) -> pa.Schema:
        """The schema of a run that goes on: without `drawn` where it began before there was such a column."""
        for folder, shards in ((self.path, record.shards), (self.path / "rejected", record.rejected_shards)):
            with suppress(UsageError):  # whoever reads a damaged shard is told of it
                begun = next(read_shards(folder, shards[:1], store=self.store), None)
                if begun is not None and "drawn" not in begun.schema.names:
                    return pa.schema([item for item in schema if item.name != "drawn"])
        return schema

    def begin(self) -> None:
        """Claim the directory on disk when there is a first row.

        This happens before the row is counted: what is written here is read after a kill, and lists landed rows only.
        """
        if self._journal.begun:
            return
        with resumable(self.path):
            if self._replaces:
                clear_run(self.path)
            for side in self._sides:
                side.remove_unlisted()
            self._save_progress(list_all=True)
            self._journal.rewrite(self._committed)
        self.store.settle()

    @property
    def next(self) -> int:
        """Index of the next row to commit."""
        return self._committed

    @property
    def ahead(self) -> Mapping[int, Outcome]:
        """Finished rows that are in no shard yet, by index: before this run keeps any, those of an earlier one."""
        return self._journal

    @property
    def _sides(self) -> tuple[Side, ...]:
        return self.accepted, self.rejected, self.pairs

    @uninterrupted()
    def keep(self, index: int, outcome: Outcome) -> None:
        """Make a finished row survive a kill; rows may finish in any order.

        Raises:
            RunError: the disk is full or not writable.
        """
        self.begin()
        record = self.record
        with resumable(self.path):
            self._journal.add(index, outcome, (record.seconds, record.prompt_tokens, record.completion_tokens))

    @uninterrupted()
    def commit(self, outcome: Outcome) -> None:
        """Take the outcome of row `next`, kept before; it lands with its shard.

        Raises:
            RunError: the disk is full or not writable.
        """
        self.begin()
        index = {} if self.shard is None else {INDEX.name: self.shard.row(self._committed)}
        if outcome.reason is None:
            for row in (outcome.row, *outcome.more):
                self.accepted.add(row.record() | index)
        else:
            self.rejected.add(outcome.row.record() | {"reason": outcome.reason} | index)
        for pair in outcome.pairs:
            self.pairs.add(pair | index)
        self.record.count(outcome)
        self._committed += 1
        late = time.monotonic() - self._landed > SHARD_SECONDS
        if late or any(side.full for side in self._sides):
            self.land(list_all=late)

    @uninterrupted()
    def extend(self, accepted: pa.RecordBatch, rejected: pa.RecordBatch, taken: int | None = None) -> None:
        """Take the rows from `next` on, in order, whole batches of them; they land after `BATCH_SECONDS` at most.

        `taken` is how many rows they came from, where these are not as many. Such rows are not kept before they land:
        after a kill those of the last minute are made again.

        Raises:
            RunError: the disk is full or not writable.
        """
        if accepted.num_rows + rejected.num_rows:
            self.begin()
        self.accepted.extend(accepted)
        self.rejected.extend(rejected)
        self.record.count_batches(accepted, rejected)
        self._committed += accepted.num_rows + rejected.num_rows if taken is None else taken
        if any(side.full for side in self._sides) or time.monotonic() - self._landed > BATCH_SECONDS:
            self.land()

    @uninterrupted()
    def land(self, *, list_all: bool = False) -> None:
        """Write the committed rows that wait as shards, valid from now on.

        Args:
            list_all: whether `datasets` is to find all of them now, not only most (`Side.describe`).

        Raises:
            RunError: the disk is full or not writable.
        """
        self.begin()
        self._landed = time.monotonic()
        with resumable(self.path):
            for side in self._sides:
                side.land()
            self.record.next = self._committed
            self._save_progress(list_all=list_all)
            self._journal.rewrite(self._committed)
        self.store.landed()

    def rows(self) -> Iterator[pa.RecordBatch]:
        """The accepted rows landed so far, in order, memory-mapped.

        Raises:
            UsageError: a shard is missing or damaged.
        """
        return read_shards(self.path, self.record.shards, store=self.store)

    def pause(self) -> None:
        """Leave a run that is not done: everything finished is on disk, and the next call continues from there.

        A run that has finished no row leaves nothing behind: other settings may be tried in the same place.
        """
        try:
            if self._journal.begun:
                self.land(list_all=True)
                if self._committed == 0 and not self._journal:
                    clear_run(self.path)
        finally:
            self._unlock()

    def finish(self, note: str | None = None) -> None:
        """Land the rest, write the card and, last of all, `run.json`.

        Args:
            note: what people should know of how it ended, such as a target that was not reached.
        """
        try:
            self._complete(note)
        finally:
            self._unlock()

    @uninterrupted()
    def _complete(self, note: str | None) -> None:
        if not self._journal.begun and self._ended is not None and (self.path / "README.md").is_file():
            self.record.finished, self.record.note = self._ended.finished, self._ended.note
            self._drop_progress()  # where it was killed at its very end
            return
        self.land(list_all=True)
        with resumable(self.path):
            if not self.record.shards:  # `datasets` cannot load a directory without a shard
                write_shard(self.path / shard_name(0), [], self.schema)
                self.record.shards.append(shard_name(0))
                self.accepted.describe(all_of_it=True)
            self.record.finished = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            self.record.note = note
            write_card(self.path, self.record, next(self.rows(), None))
            replace_text(self.path / "run.json", self.record.as_json())
        self._drop_progress()

    def _drop_progress(self) -> None:
        """Remove what is there while a run is under way."""
        with resumable(self.path):
            for name in ("progress.json", JOURNAL):
                (self.path / name).unlink(missing_ok=True)

    def _save_progress(self, *, list_all: bool) -> None:
        replace_text(self.path / "progress.json", self.record.as_progress())
        (self.path / "run.json").unlink(missing_ok=True)
        for side in self._sides:
            if side.shards or side is self.accepted:
                side.describe(all_of_it=list_all)

    def _unlock(self) -> None:
        self._journal.close()
        unlock_directory(self.path, self._lock)


def _is_ours(name: str) -> bool:
    """Whether a run that was killed before its first row may have left a file of that name."""
    return name == LOCK or name.endswith(".tmp")


def clear_run(path: Path) -> None:
    """Remove a run; its record goes last, so that a kill in between leaves something that is known to be a run."""
    for side in SIDE_TABLES:
        with suppress(FileNotFoundError):
            shutil.rmtree(path / side)
    for file in path.glob("data-*.arrow"):
        file.unlink()
    for name in (JOURNAL, "state.json", "dataset_info.json", "README.md", *RECORDS):
        (path / name).unlink(missing_ok=True)
