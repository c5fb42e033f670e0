"""Puts the shards of a run together, into the data set that one process makes of all its rows.

The outcomes of all shards go, in the order of the whole run, through the code that a run in one process uses: its
`Acceptance`, and its directory. All is read and decided once before anything is written, so shards that cannot be
joined leave the output as it is.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import merge
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa

from synth.data.output import Output, StreamSink, closing_lines
from synth.data.row import BASE, REASON, Outcome, Row, records_of
from synth.data.run.record import RunRecord, differences, read_record
from synth.data.run.shard import INDEX, Shard
from synth.data.run.shards import BATCH_ROWS, read_shards
from synth.errors import RunError, UsageError
from synth.generation.acceptance import Acceptance, Rules
from synth.progress import Progress
from synth.stop import Stop

SHOWN = 1000
"""Rows after which the meter moves."""


@dataclass(frozen=True, slots=True)
class Part:
    """A shard of a run on disk, finished.

    Attributes:
        path: its directory.
        record: what is known of it.
        shard: which part of the run it is.
        rules: by what rows are to be taken.
    """

    path: Path
    record: RunRecord
    shard: Shard
    rules: Rules

    def whole(self) -> RunRecord:
        """Its record without what tells it from the other shards of its run."""
        return replace(self.record, shard=None)

    def schema(self) -> pa.Schema:
        """The columns of its rows.

        Raises:
            UsageError: its first file is missing or damaged.
        """
        try:
            with pa.memory_map(str(self.path / self.record.shards[0])) as file:
                schema = pa.ipc.open_stream(file).schema
            return pa.schema([item for item in schema if item.name != INDEX.name])
        except (pa.ArrowException, OSError, IndexError) as error:
            raise UsageError(f"{self.path} is damaged ({error}); {self._again()}") from error

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
                raise UsageError(f"{self.path} is damaged (row {index:,} of the run is out of place); {self._again()}")
            reasons = [entry.pop(REASON.name) for entry in found["rejected"]]
            first, *more = (self._row(entry) for entry in (*found["accepted"], *found["rejected"]))
            yield Outcome(first, reasons[0] if reasons else None, more, found["pairs"])
            done += 1
        if done != record.next:
            raise UsageError(
                f"{self.path} is damaged ({done:,} of its {record.next:,} rows are there); {self._again()}"
            )

    def _rows(self, folder: Path, names: Iterable[str], side: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
        for batch in read_shards(folder, names, self._again()):
            for start in range(0, batch.num_rows, BATCH_ROWS):
                for entry in records_of(batch.slice(start, BATCH_ROWS)):
                    yield entry.pop(INDEX.name), side, entry

    def _row(self, entry: dict[str, Any]) -> Row:
        """A row as its method made it. A column `cost` that no method made came with the input, and is not summed."""
        own = {name: entry.pop(name, None) for name in BASE.names}
        carried = {"cost": entry.pop("cost")} if self.record.cost is None and "cost" in entry else {}
        return Row(**own | {"messages": own["messages"] or []}, extra=entry, passthrough=carried)

    def _again(self) -> str:
        return f"make shard {self.shard} again, with `restart`"


def join_rows(paths: Sequence[Path], output: Output, rows: int | None, progress: Progress) -> RunRecord:
    """Join shards of a run whose rows came one by one.

    Args:
        paths: their directories, in any order.
        output: where the rows go.
        rows: rows wanted, of a run that has a target; None is as many as the shards were asked for.
        progress: is told how it goes.

    Returns:
        What is known of the run, as if one process had made it.

    Raises:
        UsageError: they are no shards of one run, or not all of them, or the output exists.
        RunError: there are too few rows, or the disk failed.
        Stopped: a person stopped it.
    """
    parts = open_parts(paths)
    first = parts[0]
    target = _target(parts, rows)
    schema = first.schema()
    fresh = joined_record(parts, target)
    output = free_output(output)
    with Stop().on_signals(), progress.meter("join") as meter:
        counted = Acceptance(StreamSink(io.BytesIO(), replace(fresh)), target, first.rules)
        for outcome in _outcomes(parts):
            if counted.reached or counted.gave_up:
                break
            counted.judge(outcome)
            if counted.attempts % SHOWN == 0:
                meter.show(counted.accepted, target, "read")
        _check_enough(parts, counted)
        with output.opened(fresh, schema, also_read=map(str, paths)) as sink:
            accepted = Acceptance(sink, target, first.rules)
            for outcome in _outcomes(parts):
                if sink.next == counted.attempts:
                    break
                accepted.judge(outcome)
                sink.commit(outcome)
                if sink.next % SHOWN == 0:
                    meter.show(accepted.accepted, counted.accepted, "written")
            record = sink.record
            record.note = accepted.shortfall(record.reasons) if accepted.gave_up else None
    tell_joined(record, output, progress)
    if record.note is not None:
        raise RunError(record.note)
    return record


def open_parts(paths: Sequence[Path]) -> list[Part]:
    """The shards in these directories, in their order.

    Raises:
        UsageError: they are no shards of one run, one is not finished, there twice or missing.
    """
    parts = sorted(map(_opened, paths), key=lambda part: part.shard.number)
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


def _opened(path: Path) -> Part:
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


def _target(parts: Sequence[Part], rows: int | None) -> int | None:
    """The rows that are wanted of a run, None where it has no target.

    Raises:
        UsageError: the shards were made for different targets, or there is none.
    """
    asked = {part.record.asked: part for part in parts}
    if rows is not None:
        if None in asked:
            raise UsageError(f"`rows`: a run of synth {parts[0].record.command} has no target, all rows are joined")
        return rows
    if len(asked) > 1:
        said = ", ".join(f"{target:,} in {part.path}" for target, part in asked.items() if target is not None)
        raise UsageError(f"the shards were made for different `rows` ({said}): say how many are wanted with `rows`")
    return parts[0].record.asked


def _outcomes(parts: Sequence[Part]) -> Iterator[Outcome]:
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


def _check_enough(parts: Sequence[Part], found: Acceptance) -> None:
    """Refuse shards that together have too few rows.

    Raises:
        UsageError: some are missing.
        RunError: there are fewer than are wanted.
    """
    shard, target = parts[0].shard, found.target
    if target is None:
        total = sum(part.record.next for part in parts) if shard.total is None else shard.total
        if found.attempts != total:
            raise UsageError(f"shards are missing: those given have {found.attempts:,} of {total:,} rows")
        return
    if found.reached or found.gave_up:
        return
    more = (parts[0].record.asked or target) + max(2 * (target - found.accepted), len(parts))
    raise RunError(
        f"the shards have {found.accepted:,} of the {target:,} rows wanted, up to the first row that is in none of "
        f"them: make each again with `rows` {more}, which goes on with it, and join them with `rows` {target}"
    )


def joined_record(parts: Sequence[Part], target: int | None) -> RunRecord:
    """The record of a run in shards before its first row: what they took is summed."""
    first = parts[0].record
    records = [part.record for part in parts]
    packages = dict.fromkeys(name for record in records for name in record.versions)
    found = {
        name: dict.fromkeys(record.versions[name] for record in records if name in record.versions) for name in packages
    }
    return RunRecord(
        first.command,
        first.settings,
        first.model,
        {name: ", ".join(several) for name, several in found.items()},
        source=first.source,
        asked=target,
        seconds=sum(record.seconds for record in records),
        prompt_tokens=sum(record.prompt_tokens for record in records),
        completion_tokens=sum(record.completion_tokens for record in records),
        joined=[
            {
                "shard": str(part.shard),
                "rows": part.record.accepted,
                "attempts": part.record.next,
                "seconds": part.record.seconds,
                "prompt_tokens": part.record.prompt_tokens,
                "completion_tokens": part.record.completion_tokens,
            }
            for part in parts
        ],
    )


def free_output(output: Output) -> Output:
    """The output, where a joining that was killed begins anew.

    Raises:
        UsageError: something else is there.
    """
    if output.path is None or output.restart:
        return output
    earlier = read_record(output.folder)
    if Path(output.path).is_file() or (earlier is not None and (earlier.finished or not earlier.joined)):
        raise UsageError(f"{output.path} exists; choose another `output`, or add `restart` to replace it")
    return replace(output, restart=earlier is not None)


def tell_joined(record: RunRecord, output: Output, progress: Progress) -> None:
    """The closing lines."""
    closing_lines(record, record.next, output, progress)
    attempts = sum(one["attempts"] for one in record.joined)
    if unused := attempts - record.next:
        progress.say(f"  {unused:,} more rows of the shards were not needed")
