"""Blocks that are planned, made one by one, and joined, here without Ray: what one process writes, byte for byte."""

import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import synth
from synth.api.places import output_at
from synth.data.run.record import RunRecord, read_record
from synth.distributed.actor import Workplace, block_path
from synth.distributed.blocks import Blocks, Prefix, block_rows_before
from synth.distributed.driver import Driver, Team
from synth.distributed.plan import plan_of
from synth.errors import Stopped
from synth.generation.acceptance import Acceptance
from synth.progress import SILENT

PLACE = Workplace("blocks", "word", ".", "1", 1, None)


def test_blocks_make_up_the_whole(tmp_path: Path) -> None:
    tasks = [{"question": f"{n} + 1?", "answer": str(n + n % 3)} for n in range(20)]
    given: dict[str, Any] = {"source": [*tasks, {"question": "and?"}], "verifier": "number", "progress": SILENT}
    whole = synth.verify(**given, output=tmp_path / "whole")
    plan = plan_of(lambda place: synth.verify(**given, output=place))
    assert (plan.total, plan.wanted, plan.record.command) == (21, 21, "verify")
    output = output_at(tmp_path / "out")
    assert output.path is not None
    blocks = Blocks(output.path, plan, 6, restart=False)
    assert blocks.last == 4 and not blocks.finished
    for number in (2, 1, 4):
        shard = blocks.shard(number)
        synth.verify(**given, output=block_path(blocks.path, shard), shard=shard)
    again = Blocks(output.path, plan, 1000, restart=False)  # the size stays that of the blocks that are there
    assert (again.size, again.finished, again.shard(4)) == (6, {1, 2, 4}, blocks.shard(4))
    with output.opened(plan.record, plan.schema) as sink:
        prefix = Prefix(sink, Acceptance(sink, None, plan.rules), again)
        for number in (1, 2):
            prefix.take(again.part(number), f"actor {number}")
        assert (prefix.block, prefix.complete, sink.next) == (3, False, 12)
        synth.verify(**given, output=block_path(again.path, again.shard(3)), shard=again.shard(3))
        for number in (3, 4):
            prefix.take(again.part(number), "actor 1")
        assert prefix.complete
    one = Path(str(whole.path))
    files = [file.relative_to(one) for file in one.rglob("*.arrow")]
    assert files
    assert all((one / file).read_bytes() == (tmp_path / "out" / file).read_bytes() for file in files)
    joined = {one["shard"]: (one["blocks"], one["attempts"]) for one in sink.record.joined}
    assert joined == {"actor 1": (3, 15), "actor 2": (1, 6)}


def test_a_block_is_counted_once_however_the_driver_ends(tmp_path: Path) -> None:
    """Killed before the first row of a block has landed, or ended as the block turns out to be damaged."""
    given: dict[str, Any] = {
        "source": [{"question": f"{n} + 1?", "answer": str(n + 1)} for n in range(6)],
        "verifier": "number",
        "progress": SILENT,
    }
    plan, output = plan_of(lambda place: synth.verify(**given, output=place)), output_at(tmp_path / "out")
    blocks = Blocks(str(output.path), plan, 3, restart=False)
    for number in (1, 2):
        shard = blocks.shard(number)
        synth.verify(**given, output=block_path(blocks.path, shard), shard=shard)

    def counted(folder: Path) -> tuple[int, int]:
        record = read_record(folder)
        assert record is not None
        return record.next, sum(one["blocks"] for one in record.joined)

    with pytest.raises(Stopped), output.opened(plan.record, plan.schema) as sink:
        Prefix(sink, Acceptance(sink, None, plan.rules), blocks).take(blocks.part(1), "actor 1")
        raise KeyboardInterrupt
    second = blocks.part(2)
    with pytest.raises(Stopped), output.opened(plan.record, plan.schema) as sink:
        Prefix(sink, Acceptance(sink, None, plan.rules), blocks).take(second, "actor 1")
        shutil.copytree(tmp_path / "out", tmp_path / "killed", ignore=shutil.ignore_patterns(".lock"))
        raise KeyboardInterrupt
    assert (counted(tmp_path / "killed"), counted(tmp_path / "out")) == ((3, 1), (6, 2))
    assert block_rows_before(sink.record) == 3 and block_rows_before(RunRecord("verify", {})) is None
    Path(str(second.path), second.record.shards[0]).write_bytes(b"damaged")
    shutil.rmtree(tmp_path / "out")
    shutil.copytree(tmp_path / "killed", tmp_path / "out")
    with pytest.raises(synth.UsageError, match="damaged"), output.opened(plan.record, plan.schema) as sink:
        Prefix(sink, Acceptance(sink, None, plan.rules), blocks).take(second, "actor 1")
    assert counted(tmp_path / "out") == (3, 1)


def test_batches_of_one_process_are_not_gone_on_with_within_a_block(tmp_path: Path) -> None:
    given: dict[str, Any] = {"source": [{"question": "1 + 1?", "answer": "2"}] * 9, "progress": SILENT}
    one_by_one = plan_of(lambda place: synth.verify(**given, verifier="number", output=place))
    sink: Any = SimpleNamespace(next=5, record=one_by_one.record)
    for plan, refused in ((one_by_one, False), (replace(one_by_one, one_by_one=False), True)):
        blocks = Blocks(str(tmp_path / "out"), plan, 4, restart=False)
        with pytest.raises(synth.UsageError, match=r"has 5 rows.* go on without `ray`") if refused else nullcontext():
            assert Prefix(sink, Acceptance(sink, None, plan.rules), blocks).block == 2
    sink.next = 8
    assert Prefix(sink, Acceptance(sink, None, plan.rules), blocks).block == 3


def test_blocks_of_another_run_are_refused(tmp_path: Path) -> None:
    given: dict[str, Any] = {"source": [{"question": "1 + 1?", "answer": "2"}], "progress": SILENT}
    plans = [
        plan_of(lambda place: synth.verify(**given, verifier="number", output=place)),
        plan_of(lambda place: synth.verify(**given, verifier="exact", output=place)),
    ]
    output = str(tmp_path / "out")
    blocks = Blocks(output, plans[0], 6, restart=False)
    shard = blocks.shard(1)
    synth.verify(**given, verifier="number", output=block_path(blocks.path, shard), shard=shard)
    with pytest.raises(synth.UsageError, match=r"verifier\.name"):
        Blocks(output, plans[1], 6, restart=False)
    path = Path(block_path(blocks.path, shard))
    read_again = Blocks(output, plans[0], 6, restart=False)
    assert read_again.part(1).shard == shard
    path.rename(path.with_name("000002"))
    with pytest.raises(synth.RunError, match=r"holds shard 1 \(of 6 rows\), not 2"):
        read_again.part(2)
    path.with_name("000002").rename(path)
    synth.verify(**given, verifier="exact", output=path, shard=shard, restart=True)  # as software elsewhere might
    with pytest.raises(synth.RunError, match=r"other settings than the run's \(.*verifier\.name"):
        read_again.part(1)
    assert path.is_dir()
    assert Blocks(output, plans[1], 6, restart=True).finished == set()
    assert not path.exists()


def test_blocks_that_were_joined_are_removed_and_the_next_one_is_always_made(tmp_path: Path) -> None:
    given: dict[str, Any] = {"source": [{"question": f"{n} + 1?", "answer": str(n + 1)} for n in range(20)]}
    given |= {"verifier": "number", "progress": SILENT}
    plan = plan_of(lambda place: synth.verify(**given, output=place))
    output = output_at(tmp_path / "out")
    assert output.path is not None
    blocks = Blocks(output.path, plan, 4, restart=False)
    for number in (1, 2, 4):
        shard = blocks.shard(number)
        synth.verify(**given, output=block_path(blocks.path, shard), shard=shard)
    again = Blocks(output.path, plan, 4, restart=False, done=9)  # it was killed before it removed the first two
    assert again.finished == {4}
    assert sorted(folder.name for folder in again.path.iterdir() if folder.is_dir()) == ["000004"]
    with output.opened(plan.record, plan.schema) as sink:
        acceptance = Acceptance(sink, 1, plan.rules)
        driver = Driver(Team(1, 0, b"", PLACE), again, Prefix(sink, acceptance, again), SILENT, ray=None)
        assert [driver._next(), driver._next()] == [1, None]  # what is done suffices, but for the one that comes next
