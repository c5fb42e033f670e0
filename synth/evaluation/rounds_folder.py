"""The directory of a loop of rounds.

run.json          settings and versions; written last (`progress.json` until then)
rounds.json       the scores before the first round, and the rounds that are done
README.md         the card: the table of rounds
model             a link to the best model so far
replay/           rows of replay from the first model, where they were made here
scores/           the evaluation of all models
rounds/N/         of each round: `answers`, `mixed` (with rows of earlier tasks), `model`
earlier/N/        what the model said of earlier tasks before round N, a data set a task

Only the weights that the loop goes on from, and the best, are kept, unless all are wanted: of the other models there
stay `run.json`, the card and the log.
"""

import json
import os
import shutil
from collections.abc import Collection, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from synth.data.run.lock import NAME as LOCK
from synth.data.run.lock import lock_directory, unlock_directory
from synth.data.run.record import RunRecord, read_record, refuse_changed, refuse_foreign
from synth.data.write import replace_text, resumable
from synth.errors import UsageError
from synth.evaluation.rounds import History, Round

ROUNDS, LINK = "rounds.json", "model"
_LEFT = ("run.json", "README.md", LINK, "replay", "scores", "rounds", "earlier")
"""What a loop leaves in its directory beside `ROUNDS` and the record of one under way."""
_ANEW = ".restart.tmp"
"""Where a loop that starts over measures the first model, while what an earlier one left is still there."""
_TOLD = frozenset({"run.json", "log.jsonl", "rejected.jsonl", "README.md"})
"""What stays of a model whose weights are removed."""


class RoundsFolder:
    """The output directory of one loop, which one process at a time works on.

    Attributes:
        path: the directory.
        record: of the loop, as it was asked for now; where one is continued, its settings are the same.
        done: scores of the first model and the rounds that an earlier call has done; None where it was not measured.
        begun: whether the directory is this loop's; one that starts over takes it when the first model is measured.
    """

    def __init__(self, path: Path, record: RunRecord, *, restart: bool = False) -> None:
        """Begin a loop, or continue the one that is there.

        Args:
            path: the directory; made if missing.
            record: of a loop that has not begun.
            restart: throw away what an earlier loop left there, once the first model of this one is measured.

        Raises:
            UsageError: the path holds something else, a loop with other settings, or one that is under way.
            RunError: the disk is full or not writable.
        """
        self.path = path
        self.record = replace(record, settings=json.loads(json.dumps(record.settings)))
        self.done: tuple[dict[str, Any], list[Round]] | None = None
        try:
            refuse_foreign(path, _left_by_a_kill, "loop of rounds")
            self._lock = lock_directory(path)
        except OSError as error:
            raise UsageError(f"cannot write to {path}: {error.strerror or error}") from error
        try:
            earlier = read_record(path)
            if earlier is not None and earlier.command != record.command:
                raise UsageError(
                    f"{path} holds what {earlier.command} made, no loop of rounds; choose another `output`"
                )
            self.begun = not restart or earlier is None
            if not restart and earlier is not None and (path / ROUNDS).exists():
                refuse_changed(path, earlier, self.record)
                self.done = read_rounds(path)
            with resumable(self.path):
                if (path / _ANEW).exists() and not (path / ROUNDS).exists():
                    self._clear()  # it was to be thrown away, which a kill cut short
                shutil.rmtree(path / _ANEW, ignore_errors=True)
                if self.begun:
                    replace_text(path / "progress.json", self.record.as_json())
        except BaseException:
            self.close()
            raise

    def _take_over(self) -> None:
        """Remove what an earlier loop left: there is something of this one now."""
        if self.begun:
            return
        self._clear()
        os.replace(self.scores, self.path / "scores")
        shutil.rmtree(self.path / _ANEW)
        self.begun = True

    def _clear(self) -> None:
        """Remove a loop, the table of its rounds first: what a kill leaves of it is never continued."""
        (self.path / ROUNDS).unlink(missing_ok=True)
        replace_text(self.path / "progress.json", self.record.as_json())
        for item in (self.path / name for name in _LEFT):
            if item.is_dir() and not item.is_symlink():
                shutil.rmtree(item)
            else:
                item.unlink(missing_ok=True)

    @property
    def scores(self) -> Path:
        """The directory of the evaluation."""
        return (self.path if self.begun else self.path / _ANEW) / "scores"

    def round(self, number: int) -> Path:
        """The directory of a round."""
        return self.path / "rounds" / f"{number}"

    def model(self, number: int) -> Path:
        """The directory of a round's model."""
        return self.round(number) / "model"

    def write(self, history: History) -> None:
        """Record what is done: what is in there stays done.

        Raises:
            RunError: the disk is full or not writable.
        """
        with resumable(self.path):
            self._take_over()
            replace_text(self.path / ROUNDS, json.dumps(history.record(), indent=1, ensure_ascii=False) + "\n")

    def settle(self, rounds: Sequence[Round], best: int, needed: Collection[int], *, keep_models: bool) -> None:
        """Let `model` be the best one, and remove the weights of the rounds that nothing needs any more.

        Args:
            rounds: that are done.
            best: the round with the best model; 0 is none yet.
            needed: rounds whose weights are needed.
            keep_models: whether all weights are kept.

        Raises:
            RunError: the disk is full or not writable.
        """
        with resumable(self.path):
            if best:
                self._link(os.path.relpath(self.model(best), self.path))
            for one in rounds if not keep_models else ():
                if one.number not in needed and self.model(one.number).is_dir():
                    _remove_weights(self.model(one.number))

    def _link(self, target: str) -> None:
        """Let `model` be a link to a directory."""
        link = self.path / LINK
        if link.is_symlink() and os.readlink(link) == target:
            return
        fresh = self.path / f".{LINK}.tmp"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target)
        os.replace(fresh, link)

    def finish(self, rounds: Sequence[Round], card: str) -> None:
        """Complete the record: all rounds are done.

        Args:
            rounds: all of them.
            card: the text of the card.

        Raises:
            RunError: the disk is full or not writable.
        """
        with resumable(self.path):
            replace_text(self.path / "README.md", card)
            self.record.finished = datetime.now(UTC).isoformat(timespec="seconds")
            self.record.seconds = sum(one.seconds for one in rounds)
            replace_text(self.path / "run.json", self.record.as_json())
            (self.path / "progress.json").unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the directory."""
        unlock_directory(self.path, self._lock)


def is_left_by_a_loop(place: Path, path: str | os.PathLike[str]) -> bool:
    """Whether a path leads to something that a loop in a directory has made."""
    inside = Path(os.path.relpath(os.path.realpath(path), os.path.realpath(place))).parts
    return bool(inside) and inside[0] in _LEFT


def _left_by_a_kill(name: str) -> bool:
    """Whether a loop that was killed before it had a record may have left a file of that name."""
    return name == LOCK or (name.startswith(".") and name.endswith(".tmp"))


def read_rounds(path: Path) -> tuple[dict[str, Any], list[Round]]:
    """The scores before the first round, and the rounds that are done.

    Raises:
        UsageError: they cannot be read.
    """
    file = path / ROUNDS
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        known = [field.name for field in fields(Round)]
        names = {name: place for place, name in enumerate(content.get("tasks", []))}
        rounds = [
            Round(**{name: one[name] for name in known} | {"task": names.get(one["task"], 0)})
            for one in content["rounds"]
        ]
        return dict(content["scores_before"]), rounds
    except (ValueError, TypeError, LookupError, AttributeError, OSError, RecursionError) as error:
        raise UsageError(f"{file} is damaged ({error}); choose another `output`, or add `restart`") from error


def _remove_weights(model: Path) -> None:
    """Remove a model but for what says how it was made."""
    for item in model.iterdir():
        if item.name in _TOLD:
            continue
        if item.is_dir():
            shutil.rmtree(item)
        else:
            item.unlink()
