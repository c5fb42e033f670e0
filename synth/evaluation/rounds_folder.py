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

from synth.data.run.lock import lock_directory, unlock_directory
from synth.data.run.record import RunRecord, read_record, refuse_changed, refuse_foreign
from synth.data.write import replace_text
from synth.errors import UsageError
from synth.evaluation.rounds import History, Round

ROUNDS, LINK = "rounds.json", "model"
_OURS = frozenset(
    {"run.json", "progress.json", ROUNDS, "README.md", LINK, "replay", "scores", "rounds", "earlier", ".lock"}
)
_TOLD = frozenset({"run.json", "log.jsonl", "rejected.jsonl", "README.md"})
"""What stays of a model whose weights are removed."""


class RoundsFolder:
    """The output directory of one loop, which one process at a time works on.

    Attributes:
        path: the directory.
        record: of the loop that is there, where it is continued; else of the new one.
        done: scores of the first model and the rounds that an earlier call has done; None where it was not measured.
    """

    def __init__(self, path: Path, record: RunRecord, *, restart: bool = False) -> None:
        """Begin a loop, or continue the one that is there.

        Args:
            path: the directory; made if missing.
            record: of a loop that has not begun.
            restart: throw away what an earlier loop left there.

        Raises:
            UsageError: the path holds something else, a loop with other settings, or one that is under way.
        """
        self.path = path
        self.record = replace(record, settings=json.loads(json.dumps(record.settings)))
        self.done: tuple[dict[str, Any], list[Round]] | None = None
        try:
            refuse_foreign(path, is_ours, "loop of rounds")
            self._lock = lock_directory(path)
        except OSError as error:
            raise UsageError(f"cannot write to {path}: {error.strerror or error}") from error
        try:
            earlier = read_record(path)
            if restart:
                self._clear()
            elif earlier is not None and (path / ROUNDS).exists():
                refuse_changed(path, earlier, self.record)
                self.record = replace(earlier, settings=self.record.settings, asked=record.asked, finished=None)
                self.done = read_rounds(path)
            replace_text(path / "progress.json", self.record.as_json())
        except BaseException:
            self.close()
            raise

    def _clear(self) -> None:
        for item in self.path.iterdir():
            if item.name == ".lock" or not is_ours(item.name):
                continue
            if item.is_dir() and not item.is_symlink():
                shutil.rmtree(item)
            else:
                item.unlink()

    def round(self, number: int) -> Path:
        """The directory of a round."""
        return self.path / "rounds" / f"{number}"

    def model(self, number: int) -> Path:
        """The directory of a round's model."""
        return self.round(number) / "model"

    def write(self, history: History) -> None:
        """Record what is done: what is in there stays done."""
        replace_text(self.path / ROUNDS, json.dumps(history.record(), indent=1, ensure_ascii=False) + "\n")

    def settle(self, rounds: Sequence[Round], best: int, needed: Collection[int], *, keep_models: bool) -> None:
        """Let `model` be the best one, and remove the weights of the rounds that nothing needs any more.

        Args:
            rounds: that are done.
            best: the round with the best model; 0 is none yet.
            needed: rounds whose weights are needed.
            keep_models: whether all weights are kept.
        """
        link = self.path / LINK
        if best and (not link.is_symlink() or os.readlink(link) != os.path.relpath(self.model(best), self.path)):
            fresh = self.path / f".{LINK}.tmp"
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(os.path.relpath(self.model(best), self.path))
            os.replace(fresh, link)
        for one in rounds if not keep_models else ():
            if one.number not in needed and self.model(one.number).is_dir():
                _remove_weights(self.model(one.number))

    def finish(self, rounds: Sequence[Round], card: str) -> None:
        """Complete the record: all rounds are done.

        Args:
            rounds: all of them.
            card: the text of the card.
        """
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


def is_ours(name: str) -> bool:
    """Whether a file is a loop's; also one that a kill left half written."""
    return name in _OURS or (name.startswith(".") and name.endswith(".tmp"))


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
