"""Puts the shards of a run together, into the data set that one process makes of all its rows.

The outcomes of all shards go, in the order of the whole run, through the code that a run in one process uses: its
`Acceptance`, and its directory. All is read and decided once before anything is written, so shards that cannot be
joined leave the output as it is. Rows that came in whole batches, each shard a range of them, follow each other.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from synth.data.output import Output, closing_lines
from synth.data.row import INDEX, REASON
from synth.data.run.directory import RunDirectory
from synth.data.run.record import RunRecord, read_record
from synth.data.run.shards import read_shards
from synth.data.store.path import File, name_of, path_at
from synth.data.stream import StreamSink
from synth.engines.server_work import summed_work
from synth.errors import RunError, UsageError
from synth.generation.acceptance import Acceptance
from synth.generation.parts import Part, open_parts, outcomes_of
from synth.progress import Meter, Progress
from synth.stop import Stop

SHOWN = 1000
"""Rows after which the meter moves."""


@dataclass(frozen=True, slots=True)
class Joining:
    """The shards of a run, read and found to be whole, that are to be written as one data set.

    Attributes:
        parts: the shards, by number.
        target: rows that are wanted, or None.
        output: where they go.
        schema: their columns.
        attempts: outcomes that the run has, and what comes after them is cut; None where rows came in whole batches.
    """

    parts: Sequence[Part]
    target: int | None
    output: Output
    schema: pa.Schema
    attempts: int | None

    def write(self, progress: Progress) -> RunRecord:
        """Write the data set.

        Returns:
            What is known of the run, as if one process had made it.

        Raises:
            UsageError: the output holds something else, or a shard was damaged meanwhile.
            RunError: the run gave up, as it would have in one process; or the disk failed.
            Stopped: a person stopped it.
        """
        read = [name_of(part.path) for part in self.parts]
        with (
            Stop().on_signals(),
            progress.meter("join") as meter,
            self.output.opened(_record(self.parts, self.target), self.schema, also_read=read) as sink,
        ):
            if self.attempts is None:
                self._write_batches(sink, meter)
            else:
                self._write_rows(sink, meter, self.attempts)
        record = sink.record
        closing_lines(record, record.next, self.output, progress)
        if unused := sum(part.record.next for part in self.parts) - record.next:
            progress.say(f"  {unused:,} more rows of the shards were not needed")
        if record.note is not None:
            raise RunError(record.note)
        return record

    def _write_rows(self, sink: RunDirectory | StreamSink, meter: Meter, attempts: int) -> None:
        acceptance = Acceptance(sink, self.target, self.parts[0].rules)
        for outcome in outcomes_of(self.parts):
            if sink.next == attempts:
                break
            acceptance.judge(outcome)
            sink.commit(outcome)
            if sink.next % SHOWN == 0:
                meter.show(sink.next, attempts, "written")
        record = sink.record
        record.note = acceptance.shortfall(record.reasons) if acceptance.gave_up else None

    def _write_batches(self, sink: RunDirectory | StreamSink, meter: Meter) -> None:
        none, none_rejected = (pa.RecordBatch.from_pylist([], one) for one in (self.schema, self.schema.append(REASON)))
        for part in self.parts:
            (names, folder, _), (rejected_names, rejected_folder, _) = part.tables()
            for batch in read_shards(folder, names, part.again):
                sink.extend(batch, none_rejected, 0)
            for batch in read_shards(rejected_folder, rejected_names, part.again):
                sink.extend(none, batch, 0)
            sink.extend(none, none_rejected, part.record.next)
            meter.show(sink.next, None, "written")
        sums = [part.record.tokens for part in self.parts]
        for name in dict.fromkeys(name for one in sums for name in one):  # the same in any order of adding
            sink.record.tokens[name] = math.fsum(one.get(name, 0) for one in sums)


def joining(paths: Sequence[File], output: Output, rows: int | None, progress: Progress) -> Joining:
    """Read the shards of a run, and decide what of them is taken; nothing is written.

    Args:
        paths: their directories, in any order.
        output: where the rows are to go.
        rows: rows wanted, of a run that has a target; None is as many as the shards were asked for.
        progress: is told how it goes.

    Raises:
        UsageError: they are no shards of one run, or not all of them, or one is damaged, or the output exists.
        RunError: there are too few rows.
    """
    parts = open_parts(paths)
    target = _target(parts, rows)
    schemas = [part.schema() for part in parts]
    for part, schema in zip(parts, schemas, strict=True):
        if schema != schemas[0]:
            raise UsageError(f"{parts[0].path} and {part.path} have different columns: made by different releases?")
    output = _free(output, _record(parts, target))
    attempts = None
    with progress.meter("join") as meter:
        if INDEX.name in schemas[0].names:
            attempts = _counted(parts, target, meter)
        else:
            _check_batches(parts)
    schema = pa.schema([item for item in schemas[0] if item.name != INDEX.name])
    return Joining(parts, target, output, schema, attempts)


def _counted(parts: Sequence[Part], target: int | None, meter: Meter) -> int:
    """How many outcomes the run has, of shards whose rows came one by one.

    Raises:
        UsageError: a shard is damaged or missing.
        RunError: there are fewer rows than are wanted.
    """
    found = Acceptance(StreamSink(io.BytesIO(), _record(parts, target)), target, parts[0].rules)
    for outcome in outcomes_of(parts):
        if found.reached or found.gave_up:
            break
        found.judge(outcome)
        if found.attempts % SHOWN == 0:
            meter.show(found.accepted, target, "read")
    _check_enough(parts, found)
    return found.attempts


def _check_batches(parts: Sequence[Part]) -> None:
    """Check shards that are ranges of rows, which came in whole batches.

    Raises:
        UsageError: one is damaged or missing.
    """
    for part in parts:
        for names, folder, count in part.tables():
            found = sum(batch.num_rows for batch in read_shards(folder, names, part.again))
            if found != count:
                raise UsageError(f"{folder} is damaged ({found:,} of its {count:,} rows are there); {part.again}")
    total = sum(part.record.next for part in parts)
    if total != parts[0].shard.total:
        raise UsageError(f"shards are missing: those given have {total:,} of {parts[0].shard.total:,} rows")


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
    gave_up = "".join(f". {part.path} {part.record.note}" for part in parts if part.record.note)
    raise RunError(
        f"the shards have {found.accepted:,} of the {target:,} rows wanted, up to the first row that is in none of "
        f"them: make each again with `rows` {more}, which goes on with it, and join them with `rows` {target}{gave_up}"
    )


def _record(parts: Sequence[Part], target: int | None) -> RunRecord:
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
        devices=first.devices,
        seconds=sum(record.seconds for record in records),
        prompt_tokens=sum(record.prompt_tokens for record in records),
        completion_tokens=sum(record.completion_tokens for record in records),
        servers=summed_work(one for record in records for one in record.servers or ()),
        joining=True,
        joined=[
            {
                "shard": str(part.shard),
                "rows": part.record.accepted,
                "attempts": part.record.next,
                "seconds": part.record.seconds,
                "prompt_tokens": part.record.prompt_tokens,
                "completion_tokens": part.record.completion_tokens,
            }
            | ({"servers": part.record.servers} if part.record.servers else {})
            for part in parts
        ],
    )


def _free(output: Output, record: RunRecord) -> Output:
    """The output, where a joining that was killed begins anew; `record` is that of this one.

    Raises:
        UsageError: something else is there.
    """
    if output.path is None or output.restart:
        return output
    earlier, place = read_record(output.folder), path_at(output.path)
    killed = earlier is not None and earlier.joining
    done = earlier is not None and earlier.finished is not None
    if place.is_file():  # it may be killed when the file is there, and the rows beside it are not removed yet
        free = killed and done and earlier is not None and earlier.joined == record.joined
    elif output.folder.name != place.name:  # rows beside a file that is still to come
        free = earlier is None or killed
    else:
        free = earlier is None or (killed and not done)
    if not free:
        there = output.called if place.exists() else output.folder
        raise UsageError(f"{there} exists; choose another `output`, or add `restart` to replace it")
    return replace(output, restart=earlier is not None)
