"""The blocks of a run on disk, and how far they make up the whole without a gap."""

import json
import math
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

from synth.data.run.directory import RunDirectory
from synth.data.run.record import RunRecord, differences, read_record, refuse_changed
from synth.data.run.shard import Shard
from synth.data.store.address import here, is_address
from synth.data.store.path import File, path_at
from synth.data.stream import StreamSink
from synth.data.write import replace_text
from synth.distributed.actor import WORD, block_path
from synth.distributed.plan import Plan
from synth.engines.server_work import summed_work
from synth.errors import RunError, UsageError
from synth.generation.acceptance import Acceptance
from synth.generation.parts import Part, open_part

SUFFIX = ".blocks"
"""Of the directory beside an output that has its blocks until they are joined."""
SHARES = 8
"""Blocks for each actor, where rows suffice: a slow one makes fewer."""
BATCHES = 4, 16
"""Rows of a block, in batches of an engine: with fewer an engine would be half empty most of the time, as a block
begins and ends; with more the last blocks are long in coming, and there are no more than that to wait for."""


def block_rows(wanted: int | None, actors: int, at_once: int) -> int:
    """How many rows a block has.

    Args:
        wanted: rows of the run, where known.
        actors: who make them.
        at_once: requests that one of them works on at once.
    """
    least, most = (batches * at_once for batches in BATCHES)
    if wanted is None:
        return least
    size = min(max(math.ceil(wanted / (SHARES * actors)), least), most)
    return max(1, min(size, math.ceil(wanted / actors)))


def block_rows_before(record: RunRecord) -> int | None:
    """How many rows the blocks have that a run has taken; None where it has taken none, or not all of one."""
    blocks = sum(one.get("blocks", 0) for one in record.joined)
    return record.next // blocks if blocks and record.next % blocks == 0 else None


class Blocks:
    """The directory of blocks.

    Attributes:
        place: its path or address.
        size: rows of a block.
        finished: the numbers of those that are done and not joined yet.
    """

    def __init__(self, output: str, plan: Plan, size: int, *, restart: bool, done: int = 0) -> None:
        """Look at what is there; a run that goes on keeps the size of its blocks.

        Args:
            output: of the whole run.
            plan: of the whole run.
            size: rows of a block, where there is none yet.
            restart: remove the blocks that an earlier run left.
            done: rows that are in the output already; blocks of no others are removed.

        Raises:
            UsageError: there are blocks of another run, or the directory cannot be made.
        """
        self.place = _place(output)
        self.path = path_at(self.place)
        self.word = secrets.token_hex(8)
        self.finished: set[int] = set()
        self._plan = plan
        _write(self.path / WORD, self.word)
        if restart:
            self._remove_until(None)
        earlier = {shard.number: record for shard, record in self._there()}
        self.size = next((record.shard["block"] for record in earlier.values() if record.shard), size)
        self._remove_until(done // self.size)
        self.finished.update(number for number, one in earlier.items() if one.finished and number * self.size > done)

    def shard(self, number: int) -> Shard:
        """A block as a shard of the run."""
        return Shard(number, None, self.size, self.total)

    @property
    def total(self) -> int | None:
        """Rows there are to work on; None where a run goes on until there are enough."""
        return self._plan.total

    @property
    def one_by_one(self) -> bool:
        """Whether its rows come one by one, not in whole batches."""
        return self._plan.one_by_one

    @property
    def last(self) -> int | None:
        """The number of the last block; None where a run goes on until there are enough rows."""
        return None if self.total is None else math.ceil(self.total / self.size)

    def part(self, number: int) -> Part:
        """A finished block.

        Raises:
            UsageError: it is damaged.
            RunError: it is not what was to be made.
        """
        shard = self.shard(number)
        part = open_part(path_at(block_path(self.place, shard)))
        if part.shard != shard:
            raise RunError(f"{part.path} holds shard {part.shard}, not {shard}: `restart` makes all blocks again")
        if differing := differences(part.whole(), self._planned()):
            raise RunError(
                f"{part.path} was made with other settings than the run's ({differing}): let all machines have the "
                "same software and files; what was finished is kept"
            )
        return part

    def remove(self, number: int) -> None:
        """Remove a block whose rows have landed in the output."""
        _remove(path_at(block_path(self.place, self.shard(number))))

    def _remove_until(self, last: int | None) -> None:
        """Remove the blocks up to a number, or all of them."""
        for folder in self._folders():
            if folder.name.isdecimal() and (last is None or int(folder.name) <= last):
                _remove(folder)

    def leave(self) -> None:
        """Leave what is done to the next call; nothing stays where there is nothing."""
        _remove(self.path / WORD)
        if isinstance(self.path, Path):
            with suppress(OSError):  # it is not empty
                self.path.rmdir()

    def _folders(self) -> list[File]:
        found: Iterable[File] = self.path.iterdir()
        return sorted(found, key=lambda folder: folder.name)

    def _planned(self) -> RunRecord:
        """The record of the whole run, as it is read."""
        return replace(self._plan.record, settings=json.loads(json.dumps(self._plan.record.settings)))

    def _there(self) -> Iterator[tuple[Shard, RunRecord]]:
        planned = self._planned()
        for folder in self._folders():
            record = read_record(folder) if folder.is_dir() else None
            if record is not None and record.shard is not None:
                refuse_changed(folder, replace(record, shard=None), planned)
                yield Shard.read(record.shard), record


def clear_blocks(output: str) -> None:
    """Remove all blocks of a run whose rows are in its output."""
    _remove(path_at(_place(output)))


def _place(output: str) -> str:
    """Where the blocks of a run are: beside its output, here or in its store."""
    output = output.rstrip("/")
    return (output if is_address(output) else os.path.abspath(here(output))) + SUFFIX


def _write(file: File, content: str) -> None:
    """Write a small file into the directory of blocks, which is made if it is missing.

    Raises:
        UsageError: that is not possible.
    """
    if not isinstance(file, Path):
        file.write_text(content)
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_text(file, content)
    except OSError as error:
        raise UsageError(f"cannot write to {file.parent}: {error.strerror or error}") from error


def _remove(path: File) -> None:
    """Remove a file or a directory, if that is possible now."""
    with suppress(OSError, UsageError):
        if not isinstance(path, Path):
            path.remove()
        elif path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


class Prefix:
    """The rows of a run, in its output, as far as blocks have made them without a gap.

    Attributes:
        acceptance: what decides which are taken.
        block: the number of the block that comes next.
    """

    def __init__(self, sink: RunDirectory | StreamSink, acceptance: Acceptance, blocks: Blocks) -> None:
        """Go on after what a run has taken.

        Raises:
            UsageError: it ends within a block of rows that come in whole batches: they cannot be told apart.
        """
        if sink.next % blocks.size and not blocks.one_by_one:
            raise UsageError(
                f"`ray`: the output has {sink.next:,} rows, which one process made, and they end within a block of "
                f"{blocks.size:,}: go on without `ray`, or add `restart`"
            )
        self.sink, self.acceptance = sink, acceptance
        self.block = sink.next // blocks.size + 1
        self._blocks = blocks

    @property
    def complete(self) -> bool:
        """Whether the run has all its rows, or gave up."""
        return self.acceptance.reached or self.acceptance.gave_up or self.sink.next == self._blocks.total

    def take(self, part: Part, maker: str) -> None:
        """Take the rows of the next block, or those that are still wanted.

        Args:
            part: the block.
            maker: who made it, for the record.

        Raises:
            RunError: the disk failed.
            UsageError: the block is damaged.
        """
        begin = (self.block - 1) * self._blocks.size
        if self._blocks.one_by_one:
            for outcome in islice(part.outcomes(), self.sink.next - begin, None):
                if self.complete:
                    return
                if self.sink.next == begin:
                    self._count(part, maker)
                self.acceptance.judge(outcome)
                self.sink.commit(outcome)
        else:
            accepted, rejected = part.batches()
            self._count(part, maker)
            self.sink.extend(accepted, rejected, part.record.next)  # in one call: all of them land, or none
        self.block += 1

    def _count(self, part: Part, maker: str) -> None:
        """Count what a block took, with its first row: so it is counted once, however often a run is killed."""
        if isinstance(self.sink, RunDirectory):
            self.sink.begin()  # which writes the record, as yet without this block
        record = self.sink.record
        entry = next((one for one in record.joined if one["shard"] == maker), None)
        if entry is None:
            entry = {"shard": maker, "blocks": 0, "rows": 0, "attempts": 0, "seconds": 0.0}
            entry |= {"prompt_tokens": 0, "completion_tokens": 0}
            record.joined.append(entry)
        entry["blocks"] += 1
        entry["rows"] += part.record.accepted
        entry["attempts"] += part.record.next
        for name in ("seconds", "prompt_tokens", "completion_tokens"):
            spent = getattr(part.record, name)
            entry[name] += spent
            setattr(record, name, getattr(record, name) + spent)
        for name, value in part.record.tokens.items():
            record.tokens[name] = record.tokens.get(name, 0) + value
        if part.record.servers:
            record.servers = summed_work([*(record.servers or ()), *part.record.servers])
