"""What a training run leaves: the trained model, and until it is there what the run needs to go on.

config.json, *.safetensors, tokenizer…   the model, once it is trained; as after `save_pretrained`
adapter/          the adapter by itself, where one was trained; the model has it merged in
run.json          settings, versions, counts, what was reached; written last (`progress.json` until then)
log.jsonl         a line a step: loss, learning rate, tokens; a line an evaluation
rejected.jsonl    rows that cannot be trained on, with the reason
checkpoints/      the last checkpoint of a run under way, for a step also the one before
"""

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from synth.errors import UsageError
from synth.lock import lock_directory, unlock_directory
from synth.record import RunRecord, differences, read_record

_OURS = {
    ".lock",
    ".saving",
    "progress.json",
    "run.json",
    "log.jsonl",
    "rejected.jsonl",
    "checkpoints",
    "curve.svg",
    "curve.png",
}


class TrainingFolder:
    """The output directory of one training run. One process writes it; the others only read."""

    def __init__(self, path: Path, record: RunRecord, *, restart: bool = False, writes: bool = True) -> None:
        """Begin a run, or go on with the one that is there.

        Args:
            path: the directory; made if missing.
            record: of a run that has not begun.
            restart: throw away what an earlier run left there.
            writes: whether this process writes.

        Raises:
            UsageError: the path holds something else, a run with other settings, or a run that is under way.
        """
        self.path, self.writes = path, writes
        fresh = replace(record, settings=json.loads(json.dumps(record.settings)))
        try:
            if path.exists() and not path.is_dir():
                raise UsageError(f"{path} is a file; give -o a directory")
            earlier = read_record(path)
            if earlier is None and path.exists() and not all(entry.name in _OURS for entry in path.iterdir()):
                raise UsageError(f"{path} exists and holds no training run; choose another -o")
            if earlier and not restart and (differing := differences(earlier, fresh)):
                raise UsageError(
                    f"{path} holds a run with other settings ({differing}). Give those to continue it, choose another "
                    "-o, or add --restart to throw it away"
                )
            if writes:
                path.mkdir(parents=True, exist_ok=True)
                self._lock = lock_directory(path)
                if earlier and restart:
                    _clear(path)
            if earlier and restart:
                earlier = None
        except OSError as error:
            raise UsageError(f"cannot write to {path}: {error.strerror or error}") from error
        self.record = earlier or fresh
        self.finished = self.record.finished is not None
        self.log: list[dict[str, Any]] = []
        if not self.finished:
            self._go_on()

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints are."""
        return self.path / "checkpoints"

    def checkpoint(self) -> Path | None:
        """The last whole checkpoint; one that a kill cut short is passed over."""
        return next(reversed(self.whole_checkpoints()), None)

    def whole_checkpoints(self) -> list[Path]:
        """All whole checkpoints, the last one last."""
        found = sorted(self.checkpoints.glob("checkpoint-*"), key=self.steps_of)
        return [path for path in found if _step(path) is not None]

    @staticmethod
    def steps_of(checkpoint: Path) -> int:
        """The step a checkpoint was made after."""
        return int(checkpoint.name.rpartition("-")[2])

    def drop_old_checkpoints(self) -> None:
        """Remove all checkpoints before the last.

        A new checkpoint may hold weights that are spoilt already: until the next loss turns out to be a number, the one
        before is kept, too.
        """
        if self.writes:
            for old in self.whole_checkpoints()[:-1]:
                shutil.rmtree(old, ignore_errors=True)

    def _go_on(self) -> None:
        """Forget what was logged after the last checkpoint: those steps are taken again."""
        last = self.checkpoint()
        step = (_step(last) or 0) if last else -1
        file = self.path / "log.jsonl"
        if file.exists():
            for line in file.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                except ValueError:
                    break  # cut short by a kill
                if entry["step"] <= step:
                    self.log.append(entry)
        if self.writes:
            file.write_text("".join(json.dumps(entry) + "\n" for entry in self.log), encoding="utf-8")
            (self.path / "progress.json").write_text(self.record.as_json(), encoding="utf-8")

    def note(self, entry: dict[str, Any]) -> None:
        """Log one entry, which has a `step`."""
        self.log.append(entry)
        if self.writes:
            with open(self.path / "log.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")

    def reject(self, rows: Iterable[tuple[str, str]]) -> None:
        """Keep the ids of rows that cannot be trained on, with the reasons."""
        lines = [json.dumps({"id": name, "reason": reason}, ensure_ascii=False) + "\n" for name, reason in rows]
        if lines and self.writes:
            (self.path / "rejected.jsonl").write_text("".join(lines), encoding="utf-8")

    def finish(self, saved: Path, card: str, finished: str) -> None:
        """Bring a saved model into place, complete the record, and remove the checkpoints.

        Args:
            saved: a directory in this one that holds the model's files.
            card: the model card.
            finished: the time, as the record has it.
        """
        for item in saved.iterdir():
            target = self.path / item.name
            if target.is_dir():
                shutil.rmtree(target)
            os.replace(item, target)
        saved.rmdir()
        (self.path / "README.md").write_text(card, encoding="utf-8")
        self.record.finished = finished
        fresh = self.path / ".run.json.tmp"
        fresh.write_text(self.record.as_json(), encoding="utf-8")
        os.replace(fresh, self.path / "run.json")
        (self.path / "progress.json").unlink(missing_ok=True)
        shutil.rmtree(self.checkpoints, ignore_errors=True)
        self.finished = True

    def close(self) -> None:
        """Let others write here."""
        if self.writes:
            unlock_directory(self.path, self._lock)


def _step(checkpoint: Path) -> int | None:
    """The step of a checkpoint; None if it is not whole. Trainer writes the state last."""
    try:
        step: int = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))["global_step"]
    except (OSError, ValueError, KeyError):
        return None
    return step


def _clear(path: Path) -> None:
    """Remove a run and the model it made; the lock stays."""
    for item in path.iterdir():
        if item.name == ".lock":
            continue
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        else:
            item.unlink()
