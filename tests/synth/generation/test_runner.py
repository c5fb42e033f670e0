"""The runner: what is written depends on the rows alone, not on concurrency, speed, failures or kills."""

import asyncio
import datetime
import random
import signal
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest

from synth.data.row import BASE, Outcome, Row
from synth.data.run import shards
from synth.data.run.directory import RunDirectory
from synth.data.run.lock import unlock_directory
from synth.data.run.record import RunRecord, read_record
from synth.engines.base import Usage
from synth.errors import RequestError, RunError
from synth.generation.acceptance import ANYTHING, Acceptance, Quota, Rules
from synth.generation.runner import AHEAD, HELD, Method, Run
from synth.generation.waiting import Waiting
from tests.cli.running import Command


def rows(start: int) -> Iterator[Row]:
    for index in count(start):
        yield Row(f"row-{index}", [], "test")


def first(total: int) -> Callable[[int], Iterator[Row]]:
    return lambda start: (row for _, row in zip(range(total - start), rows(start), strict=False))


async def method(row: Row) -> Outcome:
    """Takes its time, in no order; rejects every fifth; the 7th request in ten fails; texts repeat every 40 rows."""
    index = int(row.id.removeprefix("row-"))
    await asyncio.sleep(random.random() * 0.004)
    row.messages.append({"role": "user", "content": f"question {index % 40 if index % 2 else index}"})
    if index % 10 == 7:
        raise RequestError("the server said no")
    return Outcome(row, "bad" if index % 5 == 4 else None)


def run_at(
    path: Path,
    *,
    work: Method = method,
    source: Any = rows,
    schema: Any = BASE,
    target: int | None = None,
    rules: Rules = ANYTHING,
    **given: Any,
) -> Run:
    sink = RunDirectory.open(path, RunRecord("test", {}), schema)
    return Run(work, source, sink, [], acceptance=Acceptance(sink, target, rules), **{"concurrency": 16, **given})


def ids(path: Path) -> list[str]:
    loaded: list[str] = datasets.load_from_disk(str(path))["id"][:]
    return loaded


def accepted(until: int, unique: bool) -> list[str]:
    """What `method` must give, worked out without the runner."""
    seen: set[str] = set()
    found = []
    for index in range(until):
        text = f"question {index % 40 if index % 2 else index}"
        if index % 10 == 7 or index % 5 == 4 or (unique and text in seen):
            continue
        seen.add(text)
        found.append(f"row-{index}")
    return found


async def to_the_end(run: Run) -> None:
    """Drive a run as whoever opened its sink does."""
    try:
        await run.go()
    except BaseException:
        run.sink.pause()
        raise
    if run.complete:
        run.sink.finish(run.sink.record.note)
    else:
        run.sink.pause()


@pytest.mark.parametrize("concurrency", [1, 7, 300])
def test_result_does_not_depend_on_concurrency(tmp_path: Path, concurrency: int) -> None:
    run = run_at(tmp_path / "d", concurrency=concurrency, target=100, rules=Rules(unique=True))
    asyncio.run(to_the_end(run))
    assert ids(tmp_path / "d") == accepted(400, unique=True)[:100]
    reasons = run.sink.record.reasons
    assert reasons.keys() == {"bad", "request failed", "duplicate"} and all(reasons.values())


def test_equally_many_of_each_kind_are_taken_whatever_the_target_was_before(tmp_path: Path) -> None:
    """Kinds take turns; of one every row is good, of the other every third."""

    async def work(row: Row) -> Outcome:
        await asyncio.sleep(random.random() * 0.002)
        index = int(row.id.removeprefix("row-"))
        row.extra = {"kind": "easy" if index % 2 == 0 else "hard"}
        row.messages = [{"role": "user", "content": f"question {index % 60}"}]
        return Outcome(row, "bad" if index % 6 in (1, 3) else None)

    given: dict[str, Any] = {"work": work, "rules": Rules(unique=True, quota=Quota("kind", ("easy", "hard")))}
    given["schema"] = pa.schema([*BASE, ("kind", pa.string())])
    asyncio.run(to_the_end(run_at(tmp_path / "at once", target=17, concurrency=3, **given)))
    for target in (5, 12, 17):
        asyncio.run(to_the_end(run_at(tmp_path / "extended", target=target, **given)))
        kinds = datasets.load_from_disk(str(tmp_path / "extended"))["kind"][:]
        assert len(kinds) == target and abs(kinds.count("easy") - kinds.count("hard")) <= 1
    assert ids(tmp_path / "extended") == ids(tmp_path / "at once")
    rejected = datasets.load_from_disk(str(tmp_path / "at once" / "rejected"))
    reasons = {row["reason"] for row in rejected}
    assert reasons == {"bad", "surplus: there are fewer rows of another kind than of easy"}


def test_every_row_once_without_a_target(tmp_path: Path) -> None:
    run = run_at(tmp_path / "d", source=first(123), total=123)
    asyncio.run(to_the_end(run))
    assert ids(tmp_path / "d") == accepted(123, unique=False)
    assert run.sink.record.accepted + run.sink.record.rejected == 123


def test_failed_request_is_a_rejected_row_with_what_it_had(tmp_path: Path) -> None:
    asyncio.run(to_the_end(run_at(tmp_path / "d", source=first(10))))
    rejected = datasets.load_from_disk(str(tmp_path / "d" / "rejected"))
    by_id = {row["id"]: row for row in rejected}
    assert by_id["row-7"]["reason"] == "request failed: the server said no"
    assert by_id["row-7"]["messages"] == [{"role": "user", "content": "question 7"}]


def test_gives_up_when_nothing_is_accepted(tmp_path: Path) -> None:
    async def never(row: Row) -> Outcome:
        return Outcome(row, "empty")

    run = run_at(tmp_path / "d", work=never, target=10)
    asyncio.run(to_the_end(run))
    assert run.acceptance.gave_up
    note = run.sink.record.note or ""
    assert "0 of the 10 rows" in note and "200 empty" in note
    assert (tmp_path / "d" / "run.json").exists()


def test_rows_that_wait_for_a_slow_one_are_bounded_and_most_of_them_on_disk(tmp_path: Path) -> None:
    """What they carry from their input, dates among it, comes back with them."""
    born = datetime.date(2026, 11, 28)

    async def main(concurrency: int = 4) -> None:
        started, full, release = 0, asyncio.Event(), asyncio.Event()

        async def first_is_slow(row: Row) -> Outcome:
            nonlocal started
            started += 1
            if started == AHEAD * concurrency:
                full.set()
            if row.id == "row-0":
                await release.wait()
            return Outcome(row)

        def born_rows(start: int) -> Iterator[Row]:
            for row in rows(start):
                row.passthrough = {"born": born}
                yield row

        schema = pa.schema([*BASE, ("born", pa.date32())])
        given: dict[str, Any] = {"concurrency": concurrency, "target": 500, "schema": schema}
        run = run_at(tmp_path / "d", work=first_is_slow, source=born_rows, **given)
        task = asyncio.ensure_future(to_the_end(run))
        await full.wait()
        while run.in_flight > 1:
            await asyncio.sleep(0)
        assert started == AHEAD * concurrency and run.finished == started - 1
        assert len(run._waiting._here) == HELD * concurrency
        release.set()
        await task

    asyncio.run(main())
    assert ids(tmp_path / "d") == [f"row-{index}" for index in range(500)]
    assert set(datasets.load_from_disk(str(tmp_path / "d"))["born"][:]) == {born}


def test_what_has_finished_is_kept_where_rows_find_no_place_to_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def first_is_slow(row: Row) -> Outcome:
        if row.id == "row-0":
            await asyncio.Event().wait()
        return Outcome(row)

    def full(*_: object) -> None:
        raise RunError("no space is left")

    monkeypatch.setattr("synth.generation.runner.HELD", 0)
    monkeypatch.setattr(Waiting, "_ask", full)
    run = run_at(tmp_path / "d", work=first_is_slow, source=first(20))
    with pytest.raises(RunError, match="no space is left"):
        asyncio.run(to_the_end(run))
    assert set(run_at(tmp_path / "d").sink.ahead) == set(range(1, 20))


def test_dead_engine_ends_the_run_and_keeps_what_is_finished(tmp_path: Path) -> None:
    async def dies(row: Row) -> Outcome:
        index = int(row.id.removeprefix("row-"))
        if index == 50:
            raise RunError("the engine is dead")
        return Outcome(row)

    with pytest.raises(RunError, match="the engine is dead"):
        asyncio.run(to_the_end(run_at(tmp_path / "d", work=dies, target=100)))
    assert len(ids(tmp_path / "d")) == 50
    assert not (tmp_path / "d" / "run.json").exists()
    again = run_at(tmp_path / "d", work=method, target=60)
    assert again.sink.next == 50
    again.sink.pause()


def test_stop_finishes_what_is_in_flight(tmp_path: Path) -> None:
    async def main() -> Run:
        run = run_at(tmp_path / "d", target=10_000, concurrency=50)
        task = asyncio.ensure_future(to_the_end(run))
        while run.sink.record.accepted + run.sink.record.rejected < 50:
            await asyncio.sleep(0.001)
        run.stop()
        await task
        return run

    run = asyncio.run(main())
    record = run.sink.record
    assert record.accepted + record.rejected >= 50 and not run.in_flight
    assert ids(tmp_path / "d") == accepted(record.accepted + record.rejected, unique=False)
    finish = run_at(tmp_path / "d", target=record.accepted + 20)
    asyncio.run(to_the_end(finish))
    assert ids(tmp_path / "d") == accepted(10_000, unique=False)[: record.accepted + 20]


def test_second_stop_abandons_what_is_in_flight(tmp_path: Path) -> None:
    async def endless(row: Row) -> Outcome:
        if int(row.id.removeprefix("row-")) >= 20:
            await asyncio.sleep(3600)
        return Outcome(row)

    async def main() -> None:
        run = run_at(tmp_path / "d", work=endless, target=100)
        task = asyncio.ensure_future(to_the_end(run))
        while run.sink.record.accepted < 20:
            await asyncio.sleep(0.001)
        run.stop()
        await asyncio.sleep(0.05)
        assert not task.done()
        run.stop()
        await asyncio.wait_for(task, 60)

    asyncio.run(main())
    assert len(ids(tmp_path / "d")) == 20


def test_larger_target_extends_a_finished_run(tmp_path: Path) -> None:
    asyncio.run(to_the_end(run_at(tmp_path / "d", target=30, rules=Rules(unique=True))))
    asyncio.run(to_the_end(run_at(tmp_path / "d", target=70, rules=Rules(unique=True))))
    assert ids(tmp_path / "d") == accepted(400, unique=True)[:70]


def test_few_rows_are_begun_beyond_the_target(tmp_path: Path) -> None:
    run = run_at(tmp_path / "d", target=500, concurrency=100)
    asyncio.run(to_the_end(run))
    assert run.surplus <= 50


@pytest.mark.parametrize("shard_rows", [7, 1000])
def test_what_a_killed_run_took_is_counted(tmp_path: Path, shard_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before rows landed, and after some did: those of the journal, too, took what they took."""
    monkeypatch.setattr(shards, "SHARD_ROWS", shard_rows)
    taken: list[int] = []
    usage = Usage()

    async def work(row: Row) -> Outcome:
        usage.prompt_tokens += 10
        usage.completion_tokens += 3
        taken.append(int(row.id.removeprefix("row-")))
        if len(taken) == 21:
            raise MemoryError
        return Outcome(row)

    def begun() -> Run:
        run = run_at(tmp_path / "d", work=work, source=first(40), concurrency=1)
        return Run(work, run.rows, run.sink, [usage], 1, run.acceptance)

    killed = begun()
    with pytest.raises(MemoryError):
        asyncio.run(killed.go())
    unlock_directory(tmp_path / "d", killed.sink._lock)  # type: ignore[attr-defined]  # as a kill does
    if shard_rows == 7:
        landed = read_record(tmp_path / "d")
        assert landed is not None and landed.next > 0 and landed.seconds > 0
        assert 10 * landed.next <= landed.prompt_tokens <= 10 * (landed.next + 2)
    continued = begun()
    before = continued.sink.record.seconds
    assert before > 0
    asyncio.run(to_the_end(continued))
    record = continued.sink.record
    assert record.next == 40 and record.seconds > before
    assert 400 <= record.prompt_tokens <= 10 * len(taken) and 120 <= record.completion_tokens <= 3 * len(taken)


def in_small_shards(arguments: list[str]) -> None:
    shards.SHARD_ROWS = 60
    asyncio.run(to_the_end(run_at(Path(arguments[0]), target=1200, concurrency=64)))


def test_kill_at_random_moments_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """`kill -9` at up to 20 moments of one run, each time continued."""
    path = tmp_path / "d"
    moments = random.Random(1)
    kills = 0
    for _ in range(20):
        with Command(path, program=in_small_shards) as child:
            while not (path / "progress.json").exists() and child.is_alive():
                time.sleep(0.01)
            time.sleep(moments.random() * 0.12)
            child.send(signal.SIGKILL)
            kills += child.wait() == -signal.SIGKILL
        if (path / "run.json").exists():
            break
    assert kills >= 3
    with Command(path, program=in_small_shards) as child:
        assert child.wait() == 0, child.said
    assert ids(path) == accepted(5000, unique=False)[:1200]
    assert isinstance(RunDirectory.open(path, RunRecord("test", {}), BASE), RunDirectory)
