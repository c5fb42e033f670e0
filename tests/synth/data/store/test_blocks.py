"""Blocks of a run on Ray that lie in a store: made on several machines, which share nothing else, and joined there."""

from pathlib import Path
from typing import Any

import pytest

import synth
from synth.api.places import output_at
from synth.data.output import Output
from synth.data.store.path import path_at
from synth.distributed.actor import block_path
from synth.distributed.blocks import Blocks, Prefix, clear_blocks
from synth.distributed.plan import plan_of
from synth.errors import BusyError
from synth.generation.acceptance import Acceptance
from tests.synth.data.store.writing import content, machine

pytestmark = pytest.mark.usefixtures("small_shards")


def made(output: Any) -> synth.Dataset:
    rows = [{"question": f"{n} + 1?", "answer": str(n + 1 + n % 2), "reference": str(n + 1)} for n in range(11)]
    return synth.verify(rows, verifier="number", output=output, progress=synth.SILENT)


def files(place: str) -> list[str]:
    path = path_at(place)
    return [str(file) for file in path.rglob("*")] if path.exists() else []


@pytest.mark.parametrize("store", ["s3", "memory"])
def test_blocks_of_several_machines_are_joined_in_their_store(
    store: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"{request.getfixturevalue('bucket') if store == 's3' else 'memory://of-ray'}/out"
    made(str(tmp_path / "whole"))
    plan, output = plan_of(made), output_at(place)
    blocks = Blocks(place, plan, 4, restart=False)
    assert (blocks.place, (blocks.path / "driver").read_text()) == (f"{place}.blocks", blocks.word)
    for number in (3, 1, 2):
        machine(monkeypatch, tmp_path, f"actor-{number}")
        made(Output(block_path(blocks.place, blocks.shard(number)), shard=blocks.shard(number)))
    machine(monkeypatch, tmp_path, "driver")
    again = Blocks(place, plan, 999, restart=False)
    assert (again.size, again.finished) == (4, {1, 2, 3})
    with output.opened(plan.record, plan.schema) as sink:
        prefix = Prefix(sink, Acceptance(sink, None, plan.rules), again)
        while not prefix.complete:
            prefix.take(again.part(prefix.block), "actor 1")
            again.remove(prefix.block - 1)
    assert content(place) == content(str(tmp_path / "whole"))
    again.leave()
    assert not files(again.place)
    Blocks(place, plan, 4, restart=False)
    clear_blocks(place)
    assert not files(again.place)


def test_a_block_that_another_machine_writes_is_busy() -> None:
    plan = plan_of(made)
    blocks = Blocks("memory://busy/out", plan, 4, restart=False)
    block = Output(block_path(blocks.place, blocks.shard(1)), shard=blocks.shard(1))
    said = r"another run is writing to memory://busy/out\.blocks/000001"
    with block.opened(plan.record, plan.schema), pytest.raises(BusyError, match=said):
        made(block)
