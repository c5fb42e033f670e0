"""Runs that write elsewhere where something goes wrong: torn files, claims, puts that fail, kills at a record."""

import contextlib
import errno
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from synth.data.output import Output
from synth.data.read import open_source
from synth.data.row import BASE
from synth.data.run.directory import RunDirectory
from synth.data.run.record import RECORDS, RunRecord
from synth.data.store import owner
from synth.data.store.copy import working_place
from synth.errors import RunError, Stopped, UsageError
from tests.synth.data.run.runs import expected, fill
from tests.synth.data.store.writing import ROWS, content, ids, part_of_a_run, whole_run

pytestmark = pytest.mark.usefixtures("small_shards")


def test_another_data_set_below_a_run_stays() -> None:
    place = "memory://below/exp"
    part_of_a_run(place, 9)
    whole_run(f"{place}/filtered", 5)
    before = content(f"{place}/filtered")
    whole_run(place)
    whole_run(place, 12, restart=True, seed=2)
    assert content(f"{place}/filtered") == before
    assert (ids(place), ids(f"{place}/filtered")) == (expected(12), expected(5))


def test_records_that_never_landed_do_not_cost_the_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, memory = "memory://never-landed/run", type(fsspec.filesystem("memory"))
    part_of_a_run(place, 8)
    pipe = memory.pipe_file

    def die_at_a_record(self: Any, path: str, value: bytes, **more: Any) -> None:
        if path.endswith(RECORDS):
            os._exit(9)
        pipe(self, path, value, **more)

    for rows in (9, 10, 11):
        if (child := os.fork()) == 0:  # what it does to a store in memory is its own
            monkeypatch.setattr(memory, "pipe_file", die_at_a_record)
            with contextlib.suppress(BaseException):
                whole_run(place, rows)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    with Output(place).opened(RunRecord("test", {"seed": 1}), BASE) as sink:
        assert isinstance(sink, RunDirectory)
        assert sink.next == 9
        fill(sink, ROWS)
    assert ids(place) == expected(ROWS)


def failing_store(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise PermissionError("the disk of the store is full")

    for name in ("pipe_file", "put_file"):
        monkeypatch.setattr(type(fsspec.filesystem("memory")), name, fail)


def test_what_cannot_be_put_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ZeroDivisionError), Output("memory://kept/page.html").made(force=False) as place:
        place.write_text("half")
        raise ZeroDivisionError
    assert not list(tmp_path.glob("synth-*"))
    failing_store(monkeypatch)
    with (
        pytest.raises(RunError, match="It is kept there"),
        Output("memory://kept/page.html").made(force=False) as place,
    ):
        place.write_text("whole")
    assert place.read_text() == "whole"


def test_a_password_names_no_folder() -> None:
    one, two = (working_place(f"sftp://me:{word}@host/dir/run") for word in ("hunter2", "other"))
    assert "hunter2" not in str(one) and "me" not in one.parts[-3] and one != two and one.name == "run"
    assert working_place("memory://a/b/") == working_place("memory://a/b")
    with pytest.raises(UsageError, match="question mark") as error:
        working_place("abfs://box/run?sig=hunter2")
    assert "hunter2" not in str(error.value)


def test_stopped_while_the_store_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    output = Output("memory://stopped/run").opened(RunRecord("test", {"seed": 1}), BASE)
    with pytest.raises(Stopped, match=r"^stopped; .*full") as error, output as sink:
        assert isinstance(sink, RunDirectory)
        fill(sink, 3)
        failing_store(monkeypatch)
        sink.land()
        while sink.store._failure is None:  # type: ignore[attr-defined]
            threading.Event().wait(0.01)
        raise KeyboardInterrupt
    assert str(error.value).count("full") == 1
    assert isinstance(sink, RunDirectory) and not (sink.path / ".lock").exists()


def test_a_reader_is_told_of_a_replacement(steps: list[Callable[[], object]]) -> None:
    place, fs = "memory://replaced/run", fsspec.filesystem("memory")
    whole_run(place)
    told = []

    def look() -> None:
        rows = open_source(place)
        try:
            count = sum(batch.num_rows for batch in rows.batches())
        except UsageError as error:  # replaced while it was read
            assert "has changed since it was first looked at" in str(error)
            return
        if count < len(expected(ROWS)) and not fs.exists(f"{place}/run.json"):
            assert "still being written" in rows.notes[0]
            told.append(rows)
        if not json.loads(fs.cat_file("/replaced/run/state.json"))["_data_files"]:
            assert rows.notes

    steps.append(look)
    whole_run(place, 12, restart=True, seed=2)
    assert told


def test_a_torn_claim_is_not_anothers(monkeypatch: pytest.MonkeyPatch) -> None:
    fs = fsspec.filesystem("memory")
    claim = owner.Owner(fs, "/torn/.owner", "memory://torn", token="mine")
    claim.claim()
    whole, read = fs.cat_file("/torn/.owner"), type(fs).cat_file
    answers = [whole[:7], b"", whole]
    monkeypatch.setattr(type(fs), "cat_file", lambda self, path, **_: answers.pop(0) if answers else read(self, path))
    claim.check()
    assert not answers
    fs.pipe_file("/torn/.owner", whole[:7])
    claim.check()
    fs.pipe_file("/torn/.owner", b'{"token": "of another", "count": 1}')
    with pytest.raises(RunError, match="another run has begun"):
        claim.check()


def test_no_beat_follows_the_end_of_a_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "BEAT_SECONDS", 0.001)
    monkeypatch.setattr(owner, "WATCH_SECONDS", 30)
    fs, writing, pipe = fsspec.filesystem("memory"), threading.Event(), type(fsspec.filesystem("memory")).pipe_file
    claim = owner.Owner(fs, "/beat/.owner", "memory://beat", token="mine")
    claim.claim()

    def slow(self: Any, path: str, value: bytes, **more: Any) -> None:
        writing.set()
        assert claim._over is None or claim._over.wait(30)  # the claim is given back while this is on its way
        pipe(self, path, value, **more)

    monkeypatch.setattr(type(fs), "pipe_file", slow)
    assert writing.wait(30)
    claim.leave()
    assert claim._beating is not None and not claim._beating.is_alive() and not fs.exists("/beat/.owner")


def test_a_torn_record_in_the_store_does_not_cost_the_copy() -> None:
    place = "memory://torn-record/run"
    part_of_a_run(place, 9)
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/torn-record/run/progress.json", fs.cat_file("/torn-record/run/progress.json")[:20])
    with Output(place).opened(RunRecord("test", {"seed": 1}), BASE) as sink:
        assert isinstance(sink, RunDirectory) and sink.next == 9
        fill(sink, ROWS)
    assert ids(place) == expected(ROWS)


def test_no_space_left_is_told_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place, here = "memory://full/run", f"{tmp_path}/machines/one/"

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    part_of_a_run(place, 8)
    with monkeypatch.context() as patch:
        patch.setattr("synth.data.store.carrying.replace_text", full)
        with pytest.raises(UsageError, match=rf"^cannot write to {place}: no space is left in {here}"):
            whole_run(place)
    whole_run(place)
    assert ids(place) == expected(ROWS)
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    with pytest.raises(UsageError, match=r"^cannot work on memory://full/other in /proc/nowhere/.*XDG_CACHE_HOME"):
        whole_run("memory://full/other")


def test_a_copy_that_is_removed_meanwhile_does_not_cost_what_was_carried() -> None:
    place = "memory://removed/run"
    with (
        pytest.raises(RunError, match="No such file or directory"),
        Output(place).opened(RunRecord("test", {"seed": 1}), BASE) as sink,
    ):
        assert isinstance(sink, RunDirectory)
        fill(sink, 9)
        sink.land()
        sink.store.settle()
        shutil.rmtree(sink.path)
        sink.store.settle()
    assert ids(place) == expected(9)
    with Output(place).opened(RunRecord("test", {"seed": 1}), BASE) as sink:
        assert isinstance(sink, RunDirectory) and sink.next == 9
        fill(sink, ROWS)
    assert ids(place) == expected(ROWS)
