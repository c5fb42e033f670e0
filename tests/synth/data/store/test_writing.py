"""Runs that write elsewhere: what is there at every moment, whatever is killed, and who may write."""

import contextlib
import json
import os
import random
import signal
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
from synth.data.run.invocation import command_line, remember
from synth.data.run.record import RunRecord, read_record
from synth.data.store import address, cache, carrying, owner
from synth.data.store.path import path_at
from synth.errors import RunError, UsageError
from tests.conftest import Here
from tests.synth.data.run.runs import expected, fill
from tests.synth.data.store.writing import ROWS, content, ids, machine, part_of_a_run, whole_run

pytestmark = pytest.mark.usefixtures("small_shards")


def test_a_run_is_there_as_it_would_be_here(bucket: str, tmp_path: Path) -> None:
    whole_run(str(tmp_path / "run"))
    whole_run(f"{bucket}/run")
    assert content(f"{bucket}/run") == content(str(tmp_path / "run"))
    assert ids(f"{bucket}/run") == expected(ROWS)
    assert ids(f"{bucket}/run/rejected") == expected(ROWS, rejected=True)
    assert not [file for file in (tmp_path / "machines").rglob("*") if file.is_file()]  # nothing is left here
    whole_run(str(tmp_path / "rows.jsonl"))
    whole_run(f"{bucket}/rows.jsonl")
    for name in ("rows.jsonl", "rows.rejected.jsonl"):
        assert content(bucket)[name] == (tmp_path / name).read_bytes()
    assert not [name for name in content(bucket) if "partial" in name]


def test_a_finished_run_is_known_and_may_be_extended(bucket: str) -> None:
    whole_run(bucket)
    assert whole_run(bucket).next == ROWS
    assert whole_run(bucket, ROWS + 10).accepted == len(expected(ROWS + 10))
    assert ids(bucket) == expected(ROWS + 10)
    with pytest.raises(UsageError, match=rf"{bucket} holds a run with other settings \(seed: 1, now 2\)"):
        whole_run(bucket, seed=2)
    with pytest.raises(UsageError, match="other settings"):
        Output(bucket).refuse_early(lambda: RunRecord("test", {"seed": 2}))


def test_a_reader_sees_whole_shards_of_one_run(steps: list[Callable[[], object]]) -> None:
    place, fs = "memory://whole/run", fsspec.filesystem("memory")
    seen: set[tuple[int, ...]] = set()

    def look() -> None:
        with contextlib.suppress(FileNotFoundError):
            listed = [item["filename"] for item in json.loads(fs.cat_file("/whole/run/state.json"))["_data_files"]]
            try:
                numbers = ids(place) if listed else []
            except UsageError as error:  # replaced while it was read
                assert "has changed since it was first looked at" in str(error)
                return
            seen.add(tuple(int(name.removeprefix("row-")) for name in numbers))
            assert numbers == expected(5 * ROWS)[: len(numbers)]  # a missing shard fails

    steps.append(look)
    whole_run(place)
    assert len(seen) >= 3
    before = len(seen)
    whole_run(place, 12, restart=True, seed=2)
    assert len(seen) > before and tuple() in seen
    assert ids(place) == expected(12)


@pytest.mark.parametrize("name", ["run", "rows.parquet"])  # JSON lines by polars, which cannot write after a fork
def test_killed_at_any_moment_and_run_again(
    name: str, bucket: str, tmp_path: Path, steps: list[Callable[[], object]]
) -> None:
    count, limit = 0, 10**9

    def die() -> None:
        nonlocal count
        count += 1
        if count > limit:
            os.kill(os.getpid(), signal.SIGKILL)

    steps.append(die)
    whole_run(f"{bucket}/whole/{name}")
    total = count
    whole_run(str(tmp_path / name))
    for number in random.Random(name).sample(range(1, total), 2):
        place = f"{bucket}/{number}/{name}"
        count, limit = 0, number
        if (child := os.fork()) == 0:
            with contextlib.suppress(BaseException):
                whole_run(place)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        count, limit = 0, 10**9
        try:
            whole_run(place)
        except UsageError as error:  # it was complete, and only its traces were not yet removed
            assert "exists" in str(error) and name != "run"
        if name == "run":
            assert ids(place) == expected(ROWS)
            assert ids(f"{place}/rejected") == expected(ROWS, rejected=True)
        else:
            assert content(f"{bucket}/{number}")[name] == (tmp_path / name).read_bytes()
        assert set(content(f"{bucket}/{number}")) == set(content(f"{bucket}/whole"))


def test_another_machine_goes_on_from_what_was_carried(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part_of_a_run(bucket, 9)
    assert not (tmp_path / "machines" / "two").exists()
    machine(monkeypatch, tmp_path, "two")
    assert whole_run(bucket, 14).accepted == len(expected(14))
    machine(monkeypatch, tmp_path, "one")  # whose copy is out of date now
    assert whole_run(bucket, ROWS).accepted == len(expected(ROWS))
    assert ids(bucket) == expected(ROWS)


def test_what_was_removed_in_the_store_begins_anew(bucket: str, s3: Any) -> None:
    part_of_a_run(bucket, 9)
    s3.rm(bucket, recursive=True)
    whole_run(bucket, 10, seed=2)
    assert ids(bucket) == expected(10)


def test_shards_do_not_fill_this_disk(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MOST_BYTES", 1)
    part_of_a_run(bucket, 15)
    assert not list((tmp_path / "machines").rglob("data-*.arrow"))
    whole_run(bucket)
    assert ids(bucket) == expected(ROWS)


def test_a_restart_that_does_not_begin_leaves_what_is_there(bucket: str) -> None:
    whole_run(bucket)
    with pytest.raises(RuntimeError), Output(bucket, restart=True).opened(RunRecord("test", {"seed": 2}), BASE):
        raise RuntimeError("the model cannot be loaded")
    assert ids(bucket) == expected(ROWS)
    whole_run(bucket, 6, restart=True, seed=2)
    assert ids(bucket) == expected(6)
    assert set(content(bucket)) == {
        "README.md", "data-00000.arrow", "dataset_info.json", "state.json", "run.json",
        *(f"rejected/{name}" for name in ("data-00000.arrow", "dataset_info.json", "state.json")),
    }  # fmt: skip


def test_two_writers_are_told_apart(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(owner, "WATCH_SECONDS", 30)  # that another is alive is seen long before
    going_on, over = threading.Event(), threading.Event()
    failed: list[BaseException] = []

    def first() -> None:
        try:
            with Output(bucket).opened(RunRecord("test", {"seed": 1}), BASE) as sink:
                assert isinstance(sink, RunDirectory)
                fill(sink, 3)
                going_on.set()
                over.wait(30)
                fill(sink, ROWS)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=first)
    thread.start()
    going_on.wait(30)
    with pytest.raises(UsageError, match=f"another run is writing to {bucket}"):
        whole_run(bucket)
    machine(monkeypatch, tmp_path, "two")
    with pytest.raises(UsageError, match=f"another run is writing to {bucket}"):
        whole_run(bucket)
    [counting] = [one for one in threading.enumerate() if one.name == f"owner of {bucket}"]
    while counting.is_alive():  # it may write once more, over this; it ends when it has seen another's
        fsspec.filesystem("s3").pipe_file(f"{bucket}/.owner", b'{"token": "of another", "count": 1}')
        counting.join(0.05)
    over.set()
    thread.join(30)
    assert isinstance(failed[0], RunError) and "another run has begun to write" in str(failed[0])
    monkeypatch.setattr(owner, "WATCH_SECONDS", 0.2)
    whole_run(bucket)  # that other one is dead: its object does not change
    assert ids(bucket) == expected(ROWS)


def test_a_store_that_fails_is_told_of_and_gone_on_with(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    works, transfers = address.retried, 0

    def failing(work: Callable[[], Any]) -> Any:
        nonlocal transfers
        transfers += 1
        if transfers > 8:
            raise OSError("503 slow down")
        return works(work)

    monkeypatch.setattr(carrying, "retried", failing)
    with pytest.raises(RunError) as error:
        whole_run(bucket)
    assert "503 slow down. What was finished is kept in" in str(error.value) and "run this again" in str(error.value)
    monkeypatch.setattr(carrying, "retried", works)
    whole_run(bucket)
    assert ids(bucket) == expected(ROWS)


def test_other_things_are_not_written_over(bucket: str, s3: Any) -> None:
    s3.pipe_file(f"{bucket}/notes/plan.txt", b"mine")
    s3.pipe_file(f"{bucket}/rows.jsonl", b"{}")
    with pytest.raises(UsageError, match="notes exists and holds no run of synth"):
        whole_run(f"{bucket}/notes")
    with pytest.raises(UsageError, match=r"rows\.jsonl exists; choose another `output`, or add `restart`"):
        whole_run(f"{bucket}/rows.jsonl")
    with pytest.raises(UsageError, match="names nothing in a bucket"):
        whole_run("s3://bucket")
    with pytest.raises(UsageError, match="push the data set"):
        whole_run("hf://datasets/me/rows")
    with pytest.raises(UsageError, match="bucket does not exist"):
        whole_run("s3://there-is-none/run")
    assert s3.cat_file(f"{bucket}/notes/plan.txt") == b"mine"


def test_secrets_are_not_recorded() -> None:
    remember(["mix", "https://me:pw@host/rows.jsonl?X-Amz-Signature=abc&sig=def", "-o", "s3://bucket/run"])
    try:
        said = str(command_line())
    finally:
        remember([])
    assert not any(secret in said for secret in ("pw@", "abc", "def")) and "s3://bucket/run" in said


def test_commands_read_and_write_elsewhere(bucket: str, tmp_path: Path, here: Here, s3: Any) -> None:
    lines = [json.dumps({"question": f"What is {n} + {n}?", "answer": str(2 * n)}) for n in range(30)]
    s3.pipe_file(f"{bucket}/tasks.jsonl", "\n".join(lines[:20]).encode())
    s3.pipe_file(f"{bucket}/replay.jsonl", "\n".join(lines[20:]).encode())
    mixed = here("mix", f"{bucket}/tasks.jsonl", "--replay", f"{bucket}/replay.jsonl:20%", "-o", f"{bucket}/mixed")
    assert mixed.returncode == 0 and f"24 rows in {bucket}/mixed" in mixed.stderr
    record = read_record(path_at(f"{bucket}/mixed"))
    assert record is not None and record.source == f"{bucket}/tasks.jsonl"
    cut = here("filter", f"{bucket}/mixed", "--decontaminate", f"{bucket}/replay.jsonl", "-o", f"{bucket}/cut.parquet")
    assert cut.returncode == 0 and len(ids(f"{bucket}/cut.parquet")) == 20
    assert here("export", f"{bucket}/mixed", "-o", f"{bucket}/copy").returncode == 0
    again = here("export", f"{bucket}/mixed", "-o", f"{bucket}/copy")
    assert again.returncode == 2 and f"{bucket}/copy exists" in again.stderr
    assert here("export", f"{bucket}/mixed", "-o", f"{bucket}/copy", "--force").returncode == 0
    assert len(ids(f"{bucket}/copy")) == 24 and not open_source(f"{bucket}/copy").notes
    assert here("report", f"{bucket}/mixed", "-o", f"{bucket}/page.html").returncode == 0
    assert s3.cat_file(f"{bucket}/page.html").startswith(b"<!")
    itself = here("filter", f"{bucket}/mixed", "--dedup", "exact", "-o", f"{bucket}/mixed")
    assert itself.returncode == 2 and "is the input itself" in itself.stderr
