"""The shards of a run on disk, as they are read to be joined."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import merge
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any

import pyarrow as pa

from synth.data.row import BASE, INDEX, REASON, Outcome, Row, records_of
from synth.data.run.record import RunRecord, differences, read_record
from synth.data.run.shard import Shard
from synth.data.run.shards import read_shards, store_failed
from synth.data.store.path import File
from synth.errors import UsageError
from synth.generation.acceptance import Rules

FEW = 32
"""Rows of each shard that are Python objects at a time: of shards that take turns, all are read at once."""


@dataclass(frozen=True, slots=True)
class Part:
    """A shard of a run on disk, finished.

    Attributes:
        path: its directory.
        record: what is known of it.
        shard: which part of the run it is.
        rules: by what rows are to be taken.
    """

    path: File
    record: RunRecord
    shard: Shard
    rules: Rules

    def whole(self) -> RunRecord:
        """Its record without what tells it from the other shards of its run."""
        return replace(self.record, shard=None)

    def schema(self) -> pa.Schema:
        """The columns of its rows, with `INDEX` where they came one by one.

        Raises:
            UsageError: its first file is missing or damaged.
        """
        try:
            with pa.memory_map(os.fspath(self.path / self.record.shards[0])) as file:
                return pa.ipc.open_stream(file).schema
        except (pa.ArrowException, OSError, IndexError, UsageError) as error:
            if store_failed(error):
                raise
            raise UsageError(f"{self.path} is damaged ({error}); {self.again}") from error

    def outcomes(self) -> Iterator[Outcome]:
        """What became of its rows, in order.

        Raises:
            UsageError: a file is missing or damaged, or a row is not there.
        """
        record = self.record
        sides = (
            self._rows(self.path, record.shards, "accepted"),
            self._rows(self.path / "rejected", record.rejected_shards, "rejected"),
            self._rows(self.path / "pairs", record.pair_shards, "pairs"),
        )
        done = 0
        for index, entries in groupby(merge(*sides, key=itemgetter(0)), key=itemgetter(0)):
            found: dict[str, list[dict[str, Any]]] = {"accepted": [], "rejected": [], "pairs": []}
            for _, side, entry in entries:
                found[side].append(entry)
            if index != self.shard.row(done) or len(found["rejected"]) != (not found["accepted"]):
                raise UsageError(f"{self.path} is damaged (row {index:,} of the run is out of place); {self.again}")
            reasons = [entry.pop(REASON.name) for entry in found["rejected"]]
            first, *more = (self._row(entry) for entry in (*found["accepted"], *found["rejected"]))
            yield Outcome(first, reasons[0] if reasons else None, more, found["pairs"])
            done += 1
        if done != record.next:
            raise UsageError(f"{self.path} is damaged ({done:,} of its {record.next:,} rows are there); {self.again}")

    def _rows(self, folder: File, names: Iterable[str], side: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
        for batch in read_shards(folder, names, self.again):
            for start in range(0, batch.num_rows, FEW):
                for entry in records_of(batch.slice(start, FEW)):
                    yield entry.pop(INDEX.name), side, entry

    def _row(self, entry: dict[str, Any]) -> Row:
        """A row as its method made it. A column `cost` that no method made came with the input, and is not summed."""
        own = {name: entry.pop(name, None) for name in BASE.names}
        carried = {"cost": entry.pop("cost")} if self.record.cost is None and "cost" in entry else {}
        return Row(**own | {"messages": own["messages"] or []}, extra=entry, passthrough=carried)

    def tables(self) -> list[tuple[list[str], File, int]]:
        """Its accepted rows and its rejected ones: the names of their files, where they are, and how many rows."""
        record = self.record
        return [
            (record.shards, self.path, record.accepted),
            (record.rejected_shards, self.path / "rejected", record.rejected),
        ]

    def batches(self) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """Its accepted rows and its rejected ones, where they came in whole batches; all at once.

        Raises:
            UsageError: a file is missing or damaged, or rows are not there.
        """
        schema = self.schema()
        found = []
        for (names, folder, count), kind in zip(self.tables(), (schema, schema.append(REASON)), strict=True):
            none = pa.RecordBatch.from_pylist([], kind)
            batch = pa.concat_batches([none, *read_shards(folder, names, self.again)])
            if batch.num_rows != count:
                there = f"{batch.num_rows:,} of its {count:,} rows are there"
                raise UsageError(f"{folder} is damaged ({there}); {self.again}")
            found.append(batch)
        return found[0], found[1]

    @property
    def again(self) -> str:
        """What to do where it is damaged."""
        return f"make shard {self.shard} again, with `restart`"


def open_parts(paths: Sequence[File]) -> list[Part]:
    """The shards in these directories, in their order.

    Raises:
        UsageError: they are no shards of one run, one is not finished, there twice or missing.
    """
    parts = sorted(map(open_part, paths), key=lambda part: part.shard.number)
    if not parts:
        raise UsageError("there is nothing to join: name the directories of the shards")
    first = parts[0]
    for part in parts[1:]:
        if differing := differences(first.whole(), part.whole()):
            raise UsageError(f"{first.path} and {part.path} are of different runs ({differing}, in {part.path})")
        cut = replace(part.shard, number=first.shard.number)
        if cut != first.shard or part.rules != first.rules:
            raise UsageError(
                f"{first.path} and {part.path} do not belong together: shard {first.shard} and shard {part.shard}"
            )
    for one, next_one in pairwise(parts):
        if one.shard == next_one.shard:
            raise UsageError(f"shard {one.shard} is there twice: {one.path} and {next_one.path}")
    there = {part.shard.number for part in parts}
    missing = [number for number in range(1, (first.shard.of or max(there)) + 1) if number not in there]
    if missing:
        named = ", ".join(str(replace(first.shard, number=number)) for number in missing[:8])
        raise UsageError(f"{len(missing):,} shards are missing: {named}{', …' if len(missing) > 8 else ''}")
    return parts


def open_part(path: File) -> Part:
    """The shard in a directory.

    Raises:
        UsageError: there is none, or it is not finished or damaged.
    """
    record = read_record(path)
    if record is None:
        raise UsageError(f"{path} holds no shard: name the directories that were made with `shard`")
    if record.shard is None:
        raise UsageError(f"{path} is no shard, but a whole run of synth {record.command}")
    try:
        part = Part(path, record, Shard.read(record.shard), Rules.read(record.shard))
    except ValueError as error:
        raise UsageError(f"{path} is damaged ({error}); make it again, with `restart`") from error
    if record.finished is None:
        again = f"go on with {record.command_line}" if record.command_line else "make it with the same call again"
        raise UsageError(f"{path}: shard {part.shard} is not finished; {again}")
    return part


def outcomes_of(parts: Sequence[Part]) -> Iterator[Outcome]:
    """The outcomes of a whole run, in order, as far as there is no gap."""
    block = parts[0].shard.block
    sources = [part.outcomes() for part in parts]
    of = parts[0].shard.of
    index = 0
    while True:
        number = index // block if of is None else index // block % of
        outcome = next(sources[number], None) if number < len(sources) else None
        if outcome is None:
            return
        yield outcome
        index += 1
