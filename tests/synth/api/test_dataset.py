"""What functions return, as a notebook uses it; and rows in memory whose run ends early."""

import os
import re
import signal
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

import synth
from synth.data.row import Row

SHORT: dict[str, Any] = {"max_tokens": 40, "progress": synth.SILENT}
ROWS = [{"question": f"What is {n} + 4?", "answer": str(n + 4), "level": n} for n in range(8)]


@pytest.mark.parametrize("name", ["rows", "rows.jsonl"])
def test_rows_are_read_as_those_of_datasets(tmp_path: Path, name: str) -> None:
    rows = synth.export(ROWS, tmp_path / name, progress=synth.SILENT)
    assert rows[2]["level"] == 2 and rows[-1] == list(rows)[-1]
    assert rows[1:3]["level"] == [1, 2] and rows["level"][:3] == [0, 1, 2]
    assert list(rows.to_pandas()["level"]) == list(range(8))
    with pytest.raises(IndexError):
        rows[8]


def test_a_notebook_shows_the_first_rows_and_no_markup_of_theirs(tmp_path: Path) -> None:
    hostile: list[dict[str, Any]] = [{"question": "<script>alert(1)</script>", "answer": "x" * 1000}, *ROWS]
    page = synth.export(hostile, tmp_path / "rows", progress=synth.SILENT)._repr_html_()
    assert "9 rows" in page and "<script>" not in page and "&lt;script&gt;" in page and "x" * 401 not in page
    assert page.count("<tr>") == 5
    texts = synth.export([{"text": "<b>one</b>"}], tmp_path / "texts", progress=synth.SILENT)._repr_html_()
    assert "&lt;b&gt;one" in texts


def test_rows_in_memory_of_a_run_that_is_stopped_are_kept(model: synth.Model) -> None:
    started = threading.Event()

    async def answered(row: Row) -> str:
        if row.passthrough["level"] == 5 and not started.is_set():
            started.set()
            os.kill(os.getpid(), signal.SIGINT)
        return "The answer is 7."

    many = [one | {"level": number} for number, one in enumerate(ROWS * 300)]
    with pytest.raises(synth.Stopped, match=r"what was finished is in .*: give it as `output`") as stopped:
        synth.run(answered, model, many, **SHORT)
    found = re.search(r" is in (\S+): ", str(stopped.value))
    assert found is not None
    assert len(synth.run(answered, model, many, output=found[1], **SHORT)) == len(many)


def test_a_preview_that_fails_leaves_nothing(
    model: synth.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(row: Row) -> str:
        if row.passthrough["level"] == 2:
            raise ValueError("not yet")
        return "The answer is 7."

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    many = [one | {"level": number} for number, one in enumerate(ROWS * 4)]
    with pytest.raises(synth.RunError, match="not yet") as failed:
        synth.run(failing, model, many, output=synth.FirstRows(4), **SHORT)
    assert not getattr(failed.value, "__notes__", []) and not [*tmp_path.glob("synth-*")]


def test_rows_in_memory_of_a_run_that_fails_are_kept(model: synth.Model) -> None:
    async def failing(row: Row) -> str:
        if row.passthrough["level"] == 5:
            raise ValueError("not yet")
        return "The answer is 7."

    with pytest.raises(synth.RunError) as failed:
        synth.run(failing, model, ROWS, **SHORT)
    [note] = failed.value.__notes__
    found = re.search(r" is in (\S+): ", note)
    assert found is not None and Path(found[1]).is_dir()


def test_rows_in_memory_go_with_their_data_set(model: synth.Model) -> None:
    rows = synth.magpie(model, rows=1, **SHORT)
    place = rows.path
    assert place.is_dir()
    del rows
    assert not place.exists()
