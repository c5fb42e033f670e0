"""Runs for tests: rows known by their numbers, of which every fifth is rejected."""

from pathlib import Path

import datasets

from synth.data.output import Output
from synth.data.row import BASE, Outcome, Row
from synth.data.run.directory import RunDirectory
from synth.data.run.record import RunRecord


def outcome(index: int) -> Outcome:
    """Every fifth is rejected."""
    row = Row(f"row-{index}", [{"role": "user", "content": f"Ünïcode {index} \U0001f9ea"}], "test", samples=1)
    return Outcome(row, "bad: very" if index % 5 == 4 else None)


def open_at(path: Path, *, restart: bool = False, **settings: object) -> RunDirectory:
    return RunDirectory.open(path, RunRecord("test", settings or {"seed": 1}), BASE, restart=restart)


def fill(run: RunDirectory, until: int) -> None:
    while run.next < until:
        index = run.next
        made = run.ahead.get(index)
        if made is None:
            made = outcome(index)
            run.keep(index, made)
        run.commit(made)


def ids(path: Path) -> list[str]:
    loaded: list[str] = datasets.load_from_disk(str(path))["id"][:]
    return loaded


def expected(count: int, *, rejected: bool = False) -> list[str]:
    return [f"row-{index}" for index in range(count) if (index % 5 == 4) == rejected]


def to_file(path: Path, *, restart: bool = False) -> RunDirectory:
    run = Output(str(path), restart=restart).open(RunRecord("test", {}), BASE)
    assert isinstance(run, RunDirectory)
    return run
