"""Fresh replay: rows drawn from the model before training while training goes on (arXiv 2605.26097).

Which rows a run needs is known before one of them is drawn: end tokens are ignored, so that all are equally long, and
batch b of replay takes the rows from b·k on of those that `synth sample` would write with the run's seed. A process
beside (`synth.methods.drawing`) draws them ahead, `GROUP` rows or so at a time, and at most `AHEAD` groups from the one
that the next batch is of. Rows that were taken are kept in the run's directory, where a run that continues finds them.
"""

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from numpy.typing import NDArray
from transformers import TrainerCallback

from synth.engines.base import EngineOptions
from synth.engines.loading import load_begin_id, load_config, remote_code, window_of
from synth.errors import RunError, SynthError, UsageError
from synth.generation.models import Model
from synth.generation.roles import Roles
from synth.methods.drawing import Drawer, Drawing
from synth.methods.sample import COLUMNS, SampleSettings, context_of
from synth.progress import clock
from synth.training.folder import TrainingFolder
from synth.training.rows import TrainingRows
from synth.training.settings import ReplaySettings, TrainingSettings

FRESH = "fresh"
"""In place of a replay set; also the source of such rows, and where in the run's directory they are kept, in a file for
each process."""

GROUP = 128
"""Rows that are drawn together: fewer leave a GPU idle, and the first step waits for all of them."""

AHEAD = 2
"""Groups that are drawn or being drawn, with the one that the next batch is of."""

MEMORY = 0.3
"""The share of a GPU's memory that the engine takes at most, where it runs on the same GPU as the training."""

LENGTH = 512
"""Tokens of a row where nothing else is said, and the window and a batch of replay hold as many."""


def is_fresh(replay: object) -> bool:
    """Whether a replay set that is asked for is none, but drawn meanwhile."""
    return isinstance(replay, str) and replay == FRESH


def fresh_length(model: str, replay_tokens: int, max_length: int | None, *, trust_remote_code: bool) -> int:
    """Tokens of a row where none are given.

    Args:
        model: a directory or a Hub id.
        replay_tokens: that a batch of replay holds.
        max_length: the longest row of the training, if one is given.
        trust_remote_code: whether code that comes with the model may run.
    """
    with remote_code(allowed=trust_remote_code):
        window = window_of(load_config(model))
    return min(LENGTH, replay_tokens, *(most for most in (window, max_length) if most is not None))


def fresh_drawing(
    model: str, replay: ReplaySettings, seed: int, device: str, *, trust_remote_code: bool
) -> Drawing | None:
    """What fresh replay draws; None where replay is not fresh. Nothing is loaded yet.

    Args:
        model: the model before training, a directory or a Hub id.
        replay: how replay is an objective.
        seed: of the training.
        device: where it runs.
        trust_remote_code: whether code that comes with the model may run.

    Raises:
        UsageError: there is no such engine, the model has no window of that length, or nothing could precede a sample.
    """
    if replay.length is None:
        return None
    together = replay.rows_per_batch * batches_together(replay.rows_per_batch)
    options = EngineOptions(device=device, concurrency=together, gpu_memory=MEMORY)
    of = Model(model, engine=replay.engine, options=options, trust_remote_code=trust_remote_code).of_texts()
    with remote_code(allowed=trust_remote_code):
        window = window_of(load_config(of.name))
    if window is not None and replay.length > window:
        raise UsageError(f"`replay_length` {replay.length:,}: the window of {of.name} holds {window:,} tokens")
    settings = SampleSettings(context_of(of.tokenizer, load_begin_id(of.name)), seed, replay.length)
    recorded = Roles({"model": of}).record() | settings.record()
    return Drawing(of.name, of.engine, of.options, settings, recorded, trust_remote_code)


def batches_together(rows_per_batch: int) -> int:
    """How many batches are drawn together."""
    return -(-GROUP // rows_per_batch)


class FreshReplay:
    """The fresh rows of one process of a training.

    Attributes:
        waited: seconds that `take` has waited for rows, in all.
    """

    def __init__(self, drawer: Drawer, batches: Sequence[Sequence[int]], file: Path) -> None:
        """Rows of a process that draws.

        Args:
            drawer: that process.
            batches: the numbers of the rows of each batch of replay of this process, in order.
            file: where rows that were taken are kept.
        """
        self._drawer, self._batches, self._file = drawer, batches, file
        self._together = batches_together(len(batches[0]))
        self._batch = self._group = 0  # the next one to take, and to ask for
        self._asked: deque[list[int]] = deque()
        self._drawn: dict[int, dict[str, Any]] = {}
        self._taken: list[dict[str, Any]] = []
        self._place = self._lines = 0  # of the first of `_taken` among all rows, and of the end of the file
        self.waited = 0.0

    def begin(self, first: int) -> None:
        """Draw for the batches from number `first` on; those before were taken by the run that this one continues."""
        self._batch, self._group = first, first // self._together
        if first:
            self._recall()
        self._ask()

    def take(self, numbers: Sequence[int]) -> NDArray[np.int32]:
        """The tokens of the rows of the next batch, end to end; waits for rows that are not drawn yet.

        Raises:
            RunError: they cannot be drawn.
        """
        began = time.monotonic()
        while not self._drawn.keys() >= set(numbers):
            for number, row in zip(self._asked[0], self._wait(), strict=True):
                if number >= min(numbers):  # of a group that an earlier run had begun with
                    self._drawn.setdefault(number, row)
            self._asked.popleft()
        self.waited += time.monotonic() - began
        self._batch += 1
        self._ask()
        rows = [self._drawn.pop(number) for number in numbers]
        self._taken += rows
        return np.concatenate([np.array(row["input_ids"], np.int32) for row in rows])

    def keep(self) -> None:
        """Write what was taken to the file; what a run before this one wrote there is of these rows, or goes."""
        self._append(self._taken[max(0, self._lines - self._place) :])
        self._place += len(self._taken)
        self._taken = []

    def _append(self, rows: Iterable[dict[str, Any]]) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with open(self._file, "ab" if self._lines else "wb") as file:
            for row in rows:
                kept = {name: row[name] for name in COLUMNS.names}
                file.write(json.dumps(kept, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
                self._lines += 1

    def _recall(self) -> None:
        """Take up what an earlier run has kept; what a kill cut short is dropped, and what it lost is drawn again."""
        numbers = [*chain.from_iterable(self._batches)]
        self._place = sum(map(len, self._batches[: self._batch]))
        lines = self._file.read_bytes().splitlines(keepends=True) if self._file.is_file() else []
        for number, line in zip(numbers, lines, strict=False):
            row = _row_of(line)
            if row is None or row["id"] != self._drawer.drawing.row(number).id:
                break
            if self._lines >= self._place:
                self._drawn[number] = row
            self._lines += 1
        if self._lines < len(lines):
            os.truncate(self._file, sum(map(len, lines[: self._lines])))
        while self._lines < self._place:
            group = self._rows_of(self._lines // len(self._batches[0]) // self._together)
            self._drawer.ask(group)
            found = dict(zip(group, self._wait(), strict=True))
            self._append(found[number] for number in numbers[self._lines : self._place] if number in found)
            self._drawn |= {number: row for number, row in found.items() if number > numbers[self._place - 1]}

    def _rows_of(self, group: int) -> list[int]:
        return [*chain.from_iterable(self._batches[group * self._together : (group + 1) * self._together])]

    def _wait(self) -> list[dict[str, Any]]:
        try:
            return self._drawer.rows()
        except SynthError as error:
            raise RunError(f"fresh replay cannot be drawn any more: {error}") from error

    def _ask(self) -> None:
        """Ask for the groups that are due; one whose rows are all there is passed over."""
        while self._group < self._batch // self._together + AHEAD:
            start = self._group * self._together
            group = self._rows_of(self._group)
            left = chain.from_iterable(self._batches[max(start, self._batch) : start + self._together])
            if not self._drawn.keys() >= set(left):
                self._drawer.ask(group)
                self._asked.append(group)
            self._group += 1


class KeepsFresh(TrainerCallback):  # type: ignore[misc] # transformers is not typed
    """Begins to draw where a training begins, and keeps the rows of the steps that are taken."""

    def __init__(
        self, fresh: FreshReplay, settings: TrainingSettings, folder: TrainingFolder, say: Callable[[str], None]
    ) -> None:
        """Of one process; called after what begins the run's directory, and asks for checkpoints.

        Args:
            fresh: its rows.
            settings: of the training.
            folder: the run's directory.
            say: takes a line for people.
        """
        self._fresh, self._settings, self._folder, self._say = fresh, settings, folder, say
        self._began, self._keeps = time.monotonic(), False

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Draw from the last checkpoint on."""
        self._fresh.begin(state.global_step * self._settings.gradient_accumulation_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write what was taken, ahead of a checkpoint, from when the first process has cleared the directory."""
        if not self._folder.begun:
            return
        if not self._keeps:
            PartialState().wait_for_everyone()
            self._keeps = True
        self._fresh.keep()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write the rest, and tell how long the training waited."""
        PartialState().wait_for_everyone()
        self._fresh.keep()
        waited, seconds = self._fresh.waited, time.monotonic() - self._began
        self._say(f"waited {clock(waited)} of {clock(seconds)} for fresh replay")


def _row_of(line: bytes) -> dict[str, Any] | None:
    """The row of a line; None where it was cut short, or is none."""
    try:
        row = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return row if isinstance(row, dict) and row.keys() >= set(COLUMNS.names) else None


def fresh_replay(
    drawer: Drawer, rows: TrainingRows, batches: Iterable[NDArray[np.int64]], folder: TrainingFolder, process: int
) -> FreshReplay:
    """The fresh rows of a process of a training.

    Args:
        drawer: draws them.
        rows: all rows.
        batches: those of this process.
        folder: the run's directory.
        process: its number.
    """
    numbers = [(batch - rows.tasks).tolist() for batch in batches if batch[0] >= rows.tasks]
    return FreshReplay(drawer, numbers, folder.path / FRESH / f"{process}.jsonl")
