"""What survives of a run that is killed between any two steps, or interrupted at any line."""

import datetime
import itertools
import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import datasets
import pyarrow as pa
import pytest

from synth.data.row import BASE, REASON, Outcome, Row
from synth.data.run import directory as store
from synth.data.run import shards
from synth.data.run.directory import RunDirectory
from synth.data.run.record import RunRecord, read_record
from tests.synth.data.run.runs import expected, fill, ids, open_at, outcome, to_file


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_ROWS", 7)
    monkeypatch.setattr(shards, "BATCH_ROWS", 3)


def test_goes_on_after_a_kill_with_rows_kept_out_of_order(tmp_path: Path) -> None:
    run = open_at(tmp_path / "d")
    fill(run, 10)
    for index in (12, 11, 25):  # finished before row 10
        run.keep(index, outcome(index))
    os.close(run._lock)  # as a kill does

    again = open_at(tmp_path / "d")
    assert again.next < 10 and {11, 12, 25} <= again.ahead.keys()
    assert again.ahead[12].row == outcome(12).row
    fill(again, 40)
    again.finish()
    assert ids(tmp_path / "d") == expected(40)
    assert read_record(tmp_path / "d").rejected == 8  # type: ignore[union-attr]


def test_a_kill_soon_after_going_on_counts_no_row_twice_and_loses_none(tmp_path: Path) -> None:
    run = open_at(tmp_path / "d")
    for index in range(5):
        run.keep(index, outcome(index))
    os.close(run._lock)  # as a kill does
    again = open_at(tmp_path / "d")
    for index in range(4):
        again.commit(again.ahead[index])  # what the journal held lands without being kept again
    again.keep(5, outcome(5))
    os.close(again._lock)
    last = open_at(tmp_path / "d")
    assert (last.next, last.record.accepted, last.record.rejected) == (0, 0, 0)
    assert sorted(last.ahead) == list(range(6))
    fill(last, 12)
    last.finish()
    record = read_record(tmp_path / "d")
    assert record is not None
    assert record.accepted == len(ids(tmp_path / "d")) and record.accepted + record.rejected == 12


def test_torn_journal_and_stray_shard_are_ignored(tmp_path: Path) -> None:
    run = open_at(tmp_path / "d")
    fill(run, 10)
    os.close(run._lock)
    with open(tmp_path / "d" / "journal.jsonl", "ab") as journal:
        journal.write(b'{"index": 10, "reason": null, "row": {"id": "row-10", "mess')
    (tmp_path / "d" / "data-00099.arrow").write_bytes(b"half a shard")
    again = open_at(tmp_path / "d")
    assert 10 not in again.ahead
    fill(again, 12)
    again.finish()
    assert ids(tmp_path / "d") == expected(12)


def test_kill_between_any_two_file_operations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts every rename and unlink of a run, then dies in a process of its own before the 1st, the 2nd, …"""
    steps, limit = 0, 10**9
    rename, unlink = os.replace, Path.unlink

    def count() -> None:
        nonlocal steps
        steps += 1
        if steps > limit:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted_rename(*a: object, **k: object) -> None:
        count()
        rename(*a, **k)  # type: ignore[arg-type]

    def counted_unlink(self: Path, missing_ok: bool = False) -> None:
        count()
        unlink(self, missing_ok)

    monkeypatch.setattr(os, "replace", counted_rename)
    monkeypatch.setattr(Path, "unlink", counted_unlink)

    def whole_run(path: Path) -> None:
        run = open_at(path)
        fill(run, 24)
        run.finish()

    whole_run(tmp_path / "whole")
    total = steps
    assert total > 20
    for die_at in range(total):
        path = tmp_path / f"killed-{die_at}"
        steps, limit = 0, die_at
        child = os.fork()
        if child == 0:
            whole_run(path)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        steps, limit = 0, 10**9
        whole_run(path)
        assert ids(path) == expected(24), die_at
        assert datasets.load_from_disk(str(path / "rejected"))["id"][:] == expected(24, rejected=True)


def test_an_interrupt_at_any_line_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Ctrl-C raises wherever the program is; what follows it lands what there is, and the next run goes on."""
    rows = [outcome(index).row.record() for index in range(8)]
    batches = [pa.RecordBatch.from_pylist(rows[:4], BASE), pa.RecordBatch.from_pylist(rows[4:], BASE)]
    refused = pa.RecordBatch.from_pylist([], BASE.append(REASON))
    files, interrupted = {store.__file__, shards.__file__}, 0
    for moment in itertools.count(1, 2):
        lines = itertools.count(1)

        def trace(frame: FrameType, event: str, _: object, moment: int = moment, lines: Any = lines) -> Any:
            if frame.f_code.co_filename not in files:
                return None
            if event == "line" and next(lines) == moment:
                sys.settrace(None)
                signal.raise_signal(signal.SIGINT)
            return trace

        path = tmp_path / str(moment)
        run = open_at(path)
        try:
            sys.settrace(trace)
            for batch in batches:
                run.extend(batch, refused)
        except KeyboardInterrupt:
            interrupted += 1
        finally:
            sys.settrace(None)
        run.pause()
        run = open_at(path)
        for batch in batches[run.next // 4 :]:
            run.extend(batch, refused)
        run.finish()
        assert ids(path) == [f"row-{at}" for at in range(8)]
        if next(lines) <= moment:
            break
    assert interrupted > 30


def test_file_is_completed_where_a_run_was_killed_while_writing_it(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    run = to_file(path)
    fill(run, 9)
    RunDirectory._complete(run, None)
    path.write_text("written, and then came the kill")
    os.close(run._lock)
    to_file(path).finish()
    assert len(path.read_text().splitlines()) == 8 and len(list(tmp_path.iterdir())) == 2


def test_an_outcome_of_several_rows_and_pairs_survives_a_kill(tmp_path: Path) -> None:
    schema = BASE.append(pa.field("tokens", pa.int32())).append(pa.field("when", pa.timestamp("us")))
    when = datetime.datetime(2020, 1, 2)
    turn = [{"role": "user", "content": "q"}]

    def outcome(index: int) -> Outcome:
        rows = [
            Row(
                f"{index}.{part}",
                turn,
                "self-output",
                verdict="right",
                extra={"tokens": part},
                passthrough={"when": when},
            )
            for part in range(3)
        ]
        pair = {"id": f"p{index}", "prompt": turn, "chosen": turn, "rejected": turn, "model": "m", "parent": "x"}
        return Outcome(rows[0], None, rows[1:], [pair])

    killed = RunDirectory.open(tmp_path / "d", RunRecord("test", {}), schema)
    killed.keep(0, outcome(0))
    killed.keep(1, outcome(1))
    killed.commit(outcome(0))
    killed.land()
    killed.keep(2, outcome(2))
    os.close(killed._lock)  # as the kernel does for a killed process
    again = RunDirectory.open(tmp_path / "d", RunRecord("test", {}), schema)
    assert again.next == 1 and sorted(again.ahead) == [1, 2]
    for index in (1, 2):
        recalled = again.ahead[index]
        for row in (recalled.row, *recalled.more):
            assert row.passthrough == {}  # it comes with the input
            row.passthrough = {"when": when}
        again.keep(index, recalled)
        again.commit(recalled)
    again.finish()
    rows = datasets.load_from_disk(str(tmp_path / "d"))
    assert rows["id"][:] == [f"{index}.{part}" for index in range(3) for part in range(3)]
    assert rows["tokens"][:] == [0, 1, 2] * 3 and set(rows["when"][:]) == {when}
    assert datasets.load_from_disk(str(tmp_path / "d" / "pairs"))["id"][:] == ["p0", "p1", "p2"]
    record = json.loads((tmp_path / "d" / "run.json").read_text())
    assert (record["accepted"], record["methods"], record["verdicts"]) == (9, {"self-output": 9}, {"right": 9})
