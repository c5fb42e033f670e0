"""Rows of replay that are drawn while a model is trained: the file that they are kept in."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path

import pytest

from synth.methods.drawing import Drawer
from synth.training.fresh import FreshReplay, fresh_drawing
from synth.training.settings import ReplaySettings

BATCHES = [[*range(64 * batch, 64 * batch + 64)] for batch in range(5)]
"""Three groups: two batches in each, but for the last."""

FIRST = 3
"""The batch that a run goes on with, in the middle of a group."""


@pytest.fixture(scope="module")
def drawer(model: str) -> Iterator[Drawer]:
    replay = ReplaySettings(tokens_per_batch=256, length=4)
    drawing = fresh_drawing(model, replay, 0, "cpu", trust_remote_code=False)
    assert drawing is not None
    with closing(Drawer(drawing)) as drawer:
        yield drawer


def taken(drawer: Drawer, file: Path, first: int = 0) -> list[list[int]]:
    fresh = FreshReplay(drawer, BATCHES, file)
    fresh.begin(first)
    found = []
    for batch in BATCHES[first:]:
        found.append(fresh.take(batch).tolist())
        fresh.keep()
    return found


@pytest.fixture(scope="module")
def whole(drawer: Drawer, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[list[int]]]:
    """The file and the batches of a run that was not interrupted."""
    file = tmp_path_factory.mktemp("fresh") / "0.jsonl"
    found = taken(drawer, file)
    return file.read_bytes(), found


def test_who_ends_a_job_does_not_end_the_drawing(drawer: Drawer, whole: tuple[bytes, list[list[int]]]) -> None:
    """`timeout` and Slurm send SIGTERM to a group, or to all processes of a job; the owner is to finish its step."""
    pid = drawer._process.pid
    assert os.getpgid(pid) == pid
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(pid, number)
    group = [*BATCHES[0], *BATCHES[1]]
    drawer.ask(group)
    found = drawer.rows()
    assert [*chain(*(row["input_ids"] for row in found))] == [*chain(*whole[1][:2])]


@pytest.mark.parametrize(
    "left",
    [
        lambda lines: lines,
        lambda lines: lines[: 64 * FIRST],
        lambda lines: [*lines[:202], lines[202][:30]],
        lambda lines: [*lines[:70], lines[70][:30]],
        lambda lines: [lines[0][:-1]],
        lambda lines: lines[64:],
        lambda lines: lines[:100] + lines[101:],
        lambda lines: [],
    ],
    ids=["all", "to the checkpoint", "torn after", "torn before", "torn at once", "no begin", "a gap", "none"],
)
def test_whatever_a_kill_left_the_file_ends_as_it_would_have(
    left: Callable[[list[bytes]], list[bytes]],
    drawer: Drawer,
    whole: tuple[bytes, list[list[int]]],
    tmp_path: Path,
) -> None:
    file, (kept, batches) = tmp_path / "0.jsonl", whole
    assert len(kept.splitlines()) == len([*chain(*BATCHES)])
    lines = left(kept.splitlines(keepends=True))
    if lines:
        file.write_bytes(b"".join(lines))
    assert taken(drawer, file, FIRST) == batches[FIRST:]
    assert file.read_bytes() == kept
