"""What tests of runs that write elsewhere have in common."""

from pathlib import Path

import fsspec
import pytest

from synth.data.output import Output
from synth.data.read import open_source
from synth.data.row import BASE
from synth.data.run.directory import RunDirectory
from synth.data.run.record import RunRecord
from synth.errors import Stopped
from tests.synth.data.run.runs import fill

ROWS = 16


def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> Path:
    """Be on a machine of that name: it has a disk of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "machines" / name))
    return tmp_path / "machines" / name


def whole_run(place: str, rows: int = ROWS, *, restart: bool = False, seed: int = 1) -> RunRecord:
    with Output(place, restart=restart).opened(RunRecord("test", {"seed": seed}), BASE) as sink:
        assert isinstance(sink, RunDirectory)
        fill(sink, rows)
        return sink.record


def part_of_a_run(place: str, rows: int) -> None:
    with pytest.raises(Stopped), Output(place).opened(RunRecord("test", {"seed": 1}), BASE) as sink:
        assert isinstance(sink, RunDirectory)
        fill(sink, rows)
        raise KeyboardInterrupt


def ids(place: str) -> list[str]:
    return [row for batch in open_source(place).batches() for row in batch["id"].to_pylist()]


def content(place: str) -> dict[str, bytes]:
    """The files at a place, without those that say when and where they were made."""
    fs, path = fsspec.core.url_to_fs(place, use_listings_cache=False)
    names = {name.lstrip("/").removeprefix(path.lstrip("/") + "/"): name for name in fs.find(path)}
    told = ("run.json", "README.md", "state.json")
    return {short: b"" if short.endswith(told) else fs.cat_file(name) for short, name in names.items()}
