"""Blocks that one call makes, one after another, here without Ray: prepared once, the same rows as one process has."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import synth
from synth.api.places import output_at
from synth.data.output import Output
from synth.data.read import Rows
from synth.data.run.lock import lock_directory, unlock_directory
from synth.data.run.record import RunRecord, read_record
from synth.distributed.blocks import Blocks, Prefix
from synth.distributed.plan import plan_of
from synth.distributed.series import Series
from synth.errors import BusyError
from synth.generation.acceptance import Acceptance
from synth.progress import SILENT

Make = Callable[[Any], Any]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    turns = [[("user", f"What is {n} + 1?"), ("assistant", f"It is {n + n % 2}.")][: 1 + n % 5] for n in range(22)]
    messages = [[{"role": role, "content": text} for role, text in row] for row in turns]
    file.write_text("".join(json.dumps({"messages": row, "reference": "4"}) + "\n" for row in messages))
    return file


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sources that are read, each time from the start."""
    found: list[str] = []
    judged = Rows.judged

    def noted(self: Rows, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        found.append(self.source)
        yield from judged(self, limit)

    monkeypatch.setattr(Rows, "judged", noted)
    return found


def by_blocks(make: Make, output: Path, size: int, servers: bool = False) -> RunRecord:
    """The data set that `make` makes of an output, made block by block by one call, and joined."""
    place = output_at(output)
    plan = plan_of(make)
    blocks, series = Blocks(str(output), plan, size, restart=False), Series(make)
    assert blocks.last is not None
    for number in range(1, blocks.last + 1):
        folder = blocks.path / f"{number:06d}"
        series.make(Output(str(folder), shard=blocks.shard(number)))
        if servers:
            one = {"url": f"http://gpu{number % 2}:8000", "requests": number, "seconds": 2.0, "state": "well"}
            record = json.loads((folder / "run.json").read_text())
            (folder / "run.json").write_text(json.dumps(record | {"servers": [one, one | {"url": "http://gpu9"}]}))
    with place.opened(plan.record, plan.schema) as sink:
        prefix = Prefix(sink, Acceptance(sink, None, plan.rules), blocks)
        while not prefix.complete:
            prefix.take(blocks.part(prefix.block), "actor 1")
    return sink.record


def same(one: Path, other: Path) -> None:
    files = sorted(file.relative_to(one) for file in one.rglob("*.arrow"))
    assert files and all((one / file).read_bytes() == (other / file).read_bytes() for file in files)


def test_the_input_is_read_once_for_all_blocks(rows: Path, tmp_path: Path, readings: list[str]) -> None:
    def make(output: Any) -> Any:
        return synth.verify(rows, verifier="number", output=output, progress=SILENT)

    make(tmp_path / "whole")
    alone = len(readings)
    by_blocks(make, tmp_path / "out", 4)
    same(tmp_path / "whole", tmp_path / "out")
    assert 0 < len(readings) - alone <= 2 * alone  # once to plan it here, once by the call that made six blocks


def test_scored_rows_and_what_servers_did_are_summed(model: str, rows: Path, tmp_path: Path) -> None:
    with synth.load(model, engine="transformers", device="cpu", concurrency=1) as loaded:

        def make(output: Any) -> Any:
            return synth.score_tokens(loaded, rows, mask_hardest=0.2, output=output, progress=SILENT)

        whole = make(tmp_path / "whole")
        record = by_blocks(make, tmp_path / "out", 5, servers=True)
    same(tmp_path / "whole", tmp_path / "out")
    first = read_record(Path(str(whole.path)))
    assert first is not None and first.rejected and record.rejected == first.rejected
    assert (record.reasons, record.next) == (first.reasons, first.next) == (first.reasons, 22)
    assert record.tokens == pytest.approx(first.tokens)
    assert record.servers is not None
    assert {one["url"]: one["requests"] for one in record.servers} == {
        "http://gpu0:8000": 6,
        "http://gpu1:8000": 9,
        "http://gpu9": 15,
    }


def test_a_block_that_another_process_writes_ends_no_call_and_an_error_does(rows: Path, tmp_path: Path) -> None:
    calls: list[Output] = []

    def make(output: Any) -> object:
        calls.append(output)
        return synth.verify(rows, verifier="number", output=output, progress=SILENT)

    series, shard = Series(make), Blocks(str(tmp_path / "out"), plan_of(make), 9, restart=False).shard(2)
    calls.clear()
    block, taken = Output(str(tmp_path / "block"), shard=shard), Output(str(rows), shard=shard)
    lock = lock_directory(tmp_path / "block")
    with pytest.raises(BusyError):
        series.make(block)
    unlock_directory(tmp_path / "block", lock)
    series.make(block)
    assert len(calls) == 1
    with pytest.raises(synth.UsageError, match="is the input itself"):
        series.make(taken)
    series.make(block)
    assert len(calls) == 2


def test_a_block_of_a_call_that_failed_early_is_not_taken_for_the_next(rows: Path, tmp_path: Path) -> None:
    calls: list[object] = []

    def make(output: Any) -> object:
        calls.append(output)
        if len(calls) == 2:
            raise BusyError("another process prepares this")
        return synth.verify(rows, verifier="number", output=output, progress=SILENT)

    blocks = Blocks(str(tmp_path / "out"), plan_of(make), 9, restart=False)
    series = Series(make)
    places = [Output(str(tmp_path / str(number)), shard=blocks.shard(number)) for number in (1, 2)]
    with pytest.raises(BusyError):
        series.make(places[0])
    assert series._thread is not None
    series._thread.join()
    for place in places:
        series.make(place)
        assert read_record(Path(str(place.path))) is not None
