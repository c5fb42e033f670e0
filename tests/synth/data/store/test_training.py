"""Trainings and merges whose directory is elsewhere: worked on here, and carried as checkpoints are made."""

import contextlib
import json
import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

import synth
from synth.data.run.record import RunRecord
from synth.data.store import address, carrying, owner
from synth.data.store import folder as folders
from synth.data.store.copy import worked_on
from synth.training.folder import TrainingFolder
from tests.conftest import MODEL
from tests.synth.data.store.conftest import Put
from tests.synth.data.store.writing import content, machine

STEPS = 5


@pytest.fixture(autouse=True)
def one_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(owner, "WATCH_SECONDS", 0.2)
    monkeypatch.setattr(folders, "_fetched", {})
    machine(monkeypatch, tmp_path, "one")


def training(place: str, *, restart: bool = False, seed: int = 1, stops: int = STEPS) -> list[int]:
    """What a training does with its directory: a checkpoint a step, of which the one before goes; the steps taken."""
    taken = []
    record = RunRecord("train", {"seed": seed})
    with (
        worked_on(place, restart=restart) as (path, store),
        TrainingFolder(path, record, restart=restart, store=store) as folder,
    ):
        if folder.finished:
            return []
        last = folder.checkpoint()
        for step in range(folder.steps_of(last) + 1 if last else 1, STEPS + 1):
            if step > stops:
                raise KeyboardInterrupt
            taken.append(step)
            folder.drop_old_checkpoints()
            folder.note({"step": step, "loss": 1 / step, "seconds": random.random()})
            made = folder.checkpoints / f"checkpoint-{step}"
            made.mkdir(parents=True, exist_ok=True)
            (made / "model.safetensors").write_text(f"weights of {step}, seed {seed}")
            (made / "optimizer.pt").write_text(f"moments of {step}")
            (made / "trainer_state.json").write_text(json.dumps({"global_step": step}))
            folder.landed()
        saved = folder.path / ".saving"
        saved.mkdir()
        (saved / "model.safetensors").write_text(f"weights of {STEPS}, seed {seed}")
        (saved / "config.json").write_text("{}")
        folder.finish(saved, "card", "now")
    return taken


def log_of(place: str) -> list[int]:
    fs, path = fsspec.core.url_to_fs(place, use_listings_cache=False)
    return [json.loads(line)["step"] for line in fs.cat_file(f"{path}/log.jsonl").decode().splitlines()]


WHOLE = {"README.md", "config.json", "log.jsonl", "model.safetensors", "run.json"}


def test_what_is_there_in_the_end(bucket: str, tmp_path: Path) -> None:
    assert training(f"{bucket}/tuned") == [1, 2, 3, 4, 5]
    assert set(content(f"{bucket}/tuned")) == WHOLE and log_of(f"{bucket}/tuned") == [1, 2, 3, 4, 5]
    assert not [file for file in (tmp_path / "machines").rglob("*") if file.is_file()]  # nothing is left here
    assert training(f"{bucket}/tuned") == []
    with pytest.raises(synth.UsageError, match=rf"{bucket}/tuned holds a run with other settings \(seed: 1, now 2\)"):
        training(f"{bucket}/tuned", seed=2)


def test_it_goes_on_on_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = "memory://moving/tuned"
    for name, begins, stops in (("one", 1, 2), ("two", 3, 3), ("one", 4, 4), ("three", 5, STEPS)):
        machine(monkeypatch, tmp_path, name)
        with contextlib.suppress(KeyboardInterrupt) if stops < STEPS else contextlib.nullcontext():
            assert training(place, stops=stops) == list(range(begins, stops + 1))
        if stops < STEPS:
            there = {name.partition("/")[0] for name in content(place)}
            assert there == {"progress.json", "log.jsonl", "checkpoints"} and log_of(place)[-1] == stops
    assert set(content(place)) == WHOLE and log_of(place) == [1, 2, 3, 4, 5]


def test_killed_at_any_moment_it_goes_on_from_the_last_whole_checkpoint(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, limit, ask = 0, 10**9, address.retried

    def counted(work: Callable[[], Any]) -> Any:
        nonlocal count
        count += 1
        if count > limit:
            os.kill(os.getpid(), signal.SIGKILL)
        return ask(work)

    monkeypatch.setattr(carrying, "retried", counted)
    training(f"{bucket}/whole")
    total, went_on = count, 0
    for number in random.Random(7).sample(range(4, total), 4):
        place = f"{bucket}/{number}/tuned"
        count, limit = 0, number
        machine(monkeypatch, tmp_path, f"killed-{number}")
        if (child := os.fork()) == 0:
            with contextlib.suppress(BaseException):
                training(place)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        count, limit = 0, 10**9
        machine(monkeypatch, tmp_path, "another")
        taken = training(place)
        went_on += taken != [1, 2, 3, 4, 5]
        assert log_of(place) == [1, 2, 3, 4, 5] and set(content(place)) == WHOLE
        assert content(place)["model.safetensors"] == b"weights of 5, seed 1"
    assert went_on


def test_killed_as_its_copy_here_is_removed_it_stays_whole_in_the_store(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left of the copy is not taken for all there is."""
    place, remove = f"{bucket}/tuned", shutil.rmtree

    def killed(folder: Path, **more: Any) -> None:
        if folder.name == "tuned":
            (folder / "model.safetensors").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        remove(folder, **more)

    if (child := os.fork()) == 0:
        monkeypatch.setattr(shutil, "rmtree", killed)
        with contextlib.suppress(BaseException):
            training(place)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert set(content(place)) - {".owner"} == WHOLE
    for _ in range(2):
        assert training(place) == [] and set(content(place)) == WHOLE


def test_a_checkpoint_that_goes_while_it_is_looked_for_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    place, read = "memory://going/tuned", carrying.content_of
    gone: list[Path] = []

    def goes(file: Path) -> bytes | None:
        if file.parent.name == "checkpoint-2" and not gone:
            gone.append(file.parent)
            shutil.rmtree(file.parent)
        return read(file)

    monkeypatch.setattr("synth.data.store.folder_carrier.content_of", goes)
    with worked_on(place, restart=False) as (path, store):
        for step in (1, 2):
            (path / "checkpoints" / f"checkpoint-{step}").mkdir(parents=True)
            (path / "checkpoints" / f"checkpoint-{step}" / "README.md").write_text(f"adapter of {step}")
        (path / "progress.json").write_text("{}")
        store.settle()
        assert gone and {"progress.json", "checkpoints/checkpoint-1/README.md"} == {*content(place)} - {".owner"}


def test_a_copy_that_is_removed_meanwhile_does_not_cost_what_was_carried() -> None:
    place = "memory://removed/tuned"
    with (
        pytest.raises(synth.RunError, match="tuned was removed while it was in use"),
        worked_on(place, restart=False) as (path, store),
    ):
        path.mkdir(parents=True)
        (path / "progress.json").write_text("{}")
        (path / "model.safetensors").write_text("weights")
        store.settle()
        shutil.rmtree(path)
    assert set(content(place)) == {"progress.json", "model.safetensors"}


def test_another_training_replaces_one_only_when_it_begins() -> None:
    place, fs = "memory://again/tuned", fsspec.filesystem("memory")
    training(place)
    fs.pipe_file("/again/tuned/model-of-before.safetensors", b"old")
    with pytest.raises(KeyboardInterrupt):
        training(place, restart=True, seed=2, stops=0)
    assert set(content(place)) > WHOLE
    training(place, restart=True, seed=2)
    assert set(content(place)) == WHOLE and content(place)["model.safetensors"] == b"weights of 5, seed 2"


def test_what_is_no_training_is_left_alone() -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/mine/notes/plan.txt", b"mine")
    with pytest.raises(synth.UsageError, match="memory://mine/notes exists and holds no run of synth"):
        training("memory://mine/notes")
    training("memory://mine/tuned", stops=STEPS)
    fs.pipe_file("/mine/tuned/notes.txt", b"mine")
    assert training("memory://mine/tuned") == []
    assert fs.cat_file("/mine/tuned/notes.txt") == b"mine" and fs.cat_file("/mine/notes/plan.txt") == b"mine"


def test_a_store_that_fails_is_told_of_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    place, memory = "memory://failing/tuned", type(fsspec.filesystem("memory"))
    put_file = memory.put_file

    def full(self: Any, local: str, path: str, **more: Any) -> None:
        if "checkpoint-3" in path:
            raise PermissionError("403 Forbidden")
        put_file(self, local, path, **more)

    monkeypatch.setattr(memory, "put_file", full)
    with pytest.raises(synth.RunError, match=r"^cannot carry it to memory://failing/tuned: not permitted.* is kept in"):
        training(place)
    assert "checkpoints/checkpoint-2/trainer_state.json" in content(place)
    monkeypatch.setattr(memory, "put_file", put_file)
    assert training(place) in ([4, 5], [5])
    assert set(content(place)) == WHOLE


ROWS = [{"question": f"What is {n} + {n}?", "answer": f"It is {2 * n}."} for n in range(6)]
FAST: dict[str, Any] = {"tokens_per_batch": 60, "device": "cpu", "progress": synth.SILENT}


def test_the_model_is_the_one_that_is_trained_here(put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained from a model in a store into a store, on two machines, read from there, and merged into it."""
    model = put(Path(MODEL), "memory://trained/sample")
    landed = TrainingFolder.landed

    def dies(self: TrainingFolder) -> None:
        landed(self)
        raise synth.RunError("the machine is taken away")

    with monkeypatch.context() as patch, pytest.raises(synth.RunError, match="taken away"):
        patch.setattr(TrainingFolder, "landed", dies)
        synth.train(ROWS, model, output="memory://trained/tuned", steps=2, save_every=1, **FAST)
    machine(monkeypatch, tmp_path, "two")
    there = synth.train(ROWS, model, output="memory://trained/tuned", steps=2, save_every=1, **FAST)
    here = synth.train(ROWS, MODEL, output=tmp_path / "tuned", steps=2, save_every=1, **FAST)
    made, told = content("memory://trained/tuned"), ("README.md", "run.json", "log.jsonl")
    for file in (tmp_path / "tuned").rglob("*"):
        name = file.relative_to(tmp_path / "tuned").as_posix()
        assert file.is_dir() or name in told or made[name] == file.read_bytes(), name
    assert [entry["step"] for entry in there.log] == [1, 2]
    assert there.steps == here.steps == 2 and there.record.settings == here.record.settings
    assert there.record.model == model and str(there) == "memory://trained/tuned"
    for _ in range(2):
        merged = synth.merge(model, there, output="memory://trained/half", progress=synth.SILENT)
        assert merged.tensors > 1 and os.fspath(merged) == "memory://trained/half"
    local = synth.merge(MODEL, here, output=tmp_path / "half", progress=synth.SILENT)
    weights = (tmp_path / "half" / "model.safetensors").read_bytes()
    assert content("memory://trained/half")["model.safetensors"] == weights and local.tensors == merged.tensors
    with pytest.raises(synth.UsageError, match="memory://trained/half is a directory that holds other things"):
        synth.merge(model, there, output="memory://trained/half", ratio=0.25, progress=synth.SILENT)
