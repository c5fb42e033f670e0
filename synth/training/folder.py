"""The directory of a training run: the trained model, and until it exists, what the run needs to continue.

config.json, *.safetensors, tokenizer…   the model, once it is trained; as after `save_pretrained`
adapter/          the adapter by itself, where one was trained; the model has it merged in
run.json          settings, versions, counts, what was reached; written last (`progress.json` until then)
log.jsonl         a line a step: loss, learning rate, gradient norm, tokens and seconds; a line an evaluation
rejected.jsonl    rows that cannot be trained on, with the reason
reference/        what the model before training predicts, where that is stored (`synth.training.stored`)
fresh/            rows of replay that were drawn meanwhile, where they were: JSON lines, a file a process
checkpoints/      the last checkpoint of a run under way, for a step also the one before
"""

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from synth.data.run.lock import lock_directory, unlock_directory
from synth.data.run.record import RunRecord, read_record, refuse_changed, refuse_foreign
from synth.data.run.store import HERE, Store
from synth.data.store.path import File
from synth.data.write import replace_text
from synth.errors import UsageError

UNDER_WAY = (".lock", ".saving", "progress.json", "checkpoints", "reference", "fresh")
"""What is there for the run itself; the rest is the model, and what is told of it."""
_OURS = {*UNDER_WAY, "run.json", "log.jsonl", "rejected.jsonl", "curve.svg", "curve.png"}


class TrainingFolder:
    """The output directory of one training run. One process writes it; the others only read.

    Where its place is elsewhere, it is a copy of that, which a store is kept after.

    Nothing is written, and nothing of an earlier run removed, before the first step is taken: a run that fails before
    that leaves the directory as it found it, but for predictions of the reference model, which the next run takes over.

    Attributes:
        record: of the run that is there, where it is continued; else of the new one.
        finished: whether the trained model is there already.
        begun: whether the directory is this run's: its first step was taken, now or earlier.
        log: entries, each with its `step`.
        stored: this run's predictions of the reference model, one of the directories in `reference`; None for none.
    """

    def __init__(
        self, path: Path, record: RunRecord, *, restart: bool = False, writes: bool = True, store: Store = HERE
    ) -> None:
        """Begin a run, or continue the one that is there.

        Args:
            path: the directory; made if missing.
            record: of a run that has not begun.
            restart: throw away what an earlier run left there, once the first step of this one is taken.
            writes: whether this process writes.
            store: is kept after the directory, where that is the copy of one elsewhere.

        Raises:
            UsageError: the path holds something else, a run with other settings, or a run that is under way.
        """
        self.path, self.writes, self._store = path, writes, store
        self.record = replace(record, settings=json.loads(json.dumps(record.settings)))
        self.finished = self.begun = False
        self.log: list[dict[str, Any]] = []
        self.stored: Path | None = None
        self._rejected: list[str] = []
        self._restart = restart
        try:
            refuse_foreign(path, _is_ours, "training run")
            self._lock = lock_directory(path) if writes else None
        except OSError as error:
            raise UsageError(f"cannot write to {path}: {error.strerror or error}") from error
        try:  # under the lock: the run that was there may have ended just now
            earlier = None if restart else earlier_run(path)
            if earlier is not None:
                refuse_changed(path, earlier, self.record)
                self._go_on(earlier)
        except BaseException:
            self.close()
            raise

    def _go_on(self, earlier: RunRecord) -> None:
        """Forget what was logged after the last checkpoint: those steps are taken again."""
        self.record, self.begun = replace(earlier, settings=self.record.settings), True
        self.finished = earlier.finished is not None
        if self.finished:
            self._drop_progress()  # where it was killed at its very end
            return
        last = self.checkpoint()
        step = self.steps_of(last) if last else -1
        file = self.path / "log.jsonl"
        if file.is_file():
            for line in file.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                    if entry["step"] <= step:
                        self.log.append(entry)
                except (ValueError, TypeError, LookupError, RecursionError):
                    break  # cut short by a kill
        self._write()

    def begin(self) -> None:
        """The first step is taken: from now on the directory is this run's."""
        if self.begun:
            return
        self.begun = True
        if self.writes:
            _clear(self.path, self.stored, everything=self._restart)
        self._write()
        self._store.settle()

    def landed(self) -> None:
        """A checkpoint is whole: where the directory is elsewhere, it is carried there while training goes on.

        Raises:
            RunError: the store failed when the one before was carried.
        """
        self._store.caught_up()
        self._store.landed()

    def _write(self) -> None:
        if not self.writes:
            return
        replace_text(self.path / "progress.json", self.record.as_json())
        lines = "".join(json.dumps(entry) + "\n" for entry in self.log)
        replace_text(self.path / "log.jsonl", lines)
        if self._rejected:
            replace_text(self.path / "rejected.jsonl", "".join(self._rejected))

    @property
    def reference(self) -> Path:
        """Where predictions of the reference model are."""
        return self.path / "reference"

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints are."""
        return self.path / "checkpoints"

    def checkpoint(self) -> Path | None:
        """The last whole checkpoint; one that a kill cut short is passed over."""
        return next(reversed(self.whole_checkpoints()), None)

    def whole_checkpoints(self) -> list[Path]:
        """All whole checkpoints of this run, the last one last."""
        return [self.checkpoints / name for name in _whole_checkpoints(self.path)] if self.begun else []

    @property
    def kept(self) -> str:
        """What was kept of a run that broke off, for a message."""
        there = self.whole_checkpoints()
        return f"Kept: {' and '.join(map(str, there))}" if there else "No checkpoint had been made yet"

    @staticmethod
    def steps_of(checkpoint: File) -> int:
        """The step a checkpoint was made after."""
        return int(checkpoint.name.rpartition("-")[2])

    def drop_old_checkpoints(self) -> None:
        """Remove all checkpoints before the last.

        A new checkpoint may already hold invalid weights: until the next loss turns out to be a number, the one
        before is kept, too.
        """
        if self.writes:
            for old in self.whole_checkpoints()[:-1]:
                shutil.rmtree(old, ignore_errors=True)

    def note(self, entry: dict[str, Any]) -> None:
        """Log one entry, which has a `step`; the first with a `loss` begins the run."""
        self.log.append(entry)
        if not self.begun:
            if "loss" in entry:
                self.begin()
        elif self.writes:
            with open(self.path / "log.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")

    def reject(self, rows: Iterable[tuple[str, str]]) -> None:
        """Keep the ids of rows that cannot be trained on, with the reasons."""
        self._rejected = [
            json.dumps({"id": name, "reason": reason}, ensure_ascii=False) + "\n" for name, reason in rows
        ]
        if self.begun:
            self._write()

    def finish(self, saved: Path, card: str, finished: str) -> None:
        """Move a saved model into place, complete the record, and remove the checkpoints.

        Args:
            saved: a directory in this one that holds the model's files.
            card: the model card.
            finished: the time, as the record has it.

        Raises:
            RunError: the directory is elsewhere, and cannot be carried there; it is kept here.
        """
        self.begin()
        for item in saved.iterdir():
            target = self.path / item.name
            if target.is_dir():
                shutil.rmtree(target)
            os.replace(item, target)
        saved.rmdir()
        replace_text(self.path / "README.md", card)
        self.record.finished = finished
        replace_text(self.path / "run.json", self.record.as_json())
        self._drop_progress()
        self.finished = True
        self._store.settle()

    def _drop_progress(self) -> None:
        """Remove what is there while a training is under way."""
        if self.writes:
            (self.path / "progress.json").unlink(missing_ok=True)
            for folder in (self.checkpoints, self.reference):
                shutil.rmtree(folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the directory."""
        if self._lock is None:
            return
        if not self.begun:
            with suppress(OSError):  # Trainer makes it before the first step
                self.checkpoints.rmdir()
        unlock_directory(self.path, self._lock)


def earlier_run(path: File) -> RunRecord | None:
    """The record of the run in a directory if there is anything of it to go on with: its model, or a checkpoint.

    Raises:
        UsageError: the record cannot be read.
    """
    record = read_record(path)
    if record is None or not (record.finished or _whole_checkpoints(path)):
        return None
    return record


def refuse_other_settings(path: File, settings: Mapping[str, Any]) -> None:
    """Refuse to go on with a run of other settings, as far as `settings` are known yet: before anything is loaded.

    Raises:
        UsageError: they differ, or the directory holds something else.
    """
    if isinstance(path, Path):  # what is elsewhere is looked at as its copy here is begun
        refuse_foreign(path, _is_ours, "training run")
    if (earlier := earlier_run(path)) is not None:
        now = replace(earlier, command="train", settings=json.loads(json.dumps(settings)))
        known = {name: value for name, value in earlier.settings.items() if name in settings}
        refuse_changed(path, replace(earlier, settings=known), now)


def _is_ours(name: str) -> bool:
    """Whether a file is a training's, the model aside; also one that a kill left half written."""
    return name in _OURS or (name.startswith(".") and name.endswith(".tmp"))


def _whole_checkpoints(path: File) -> list[str]:
    """The names of the whole checkpoints of a run, the last one last."""
    folder = path / "checkpoints"
    found = [item for item in folder.iterdir() if item.name.startswith("checkpoint-")] if folder.is_dir() else []
    return [item.name for item in sorted(found, key=TrainingFolder.steps_of) if _is_whole(item)]


def _is_whole(checkpoint: File) -> bool:
    """Whether a checkpoint was written to its end: Trainer writes the state last."""
    state = checkpoint / "trainer_state.json"
    try:
        return state.is_file() and "global_step" in json.loads(state.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, RecursionError, UsageError):
        return False


def _clear(path: Path, stored: Path | None, *, everything: bool) -> None:
    """Remove a run and its model, or what is left of an unfinished one; the lock stays, and what is stored."""
    for item in path.iterdir():
        if stored is not None and item == stored.parent:
            _clear_others(item, stored)
            continue
        if item.name == ".lock" or not (everything or _is_ours(item.name)):
            continue
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        else:
            item.unlink()


def _clear_others(folder: Path, kept: Path) -> None:
    for item in folder.iterdir():
        if item != kept:
            shutil.rmtree(item, ignore_errors=True)
