"""Curation: filters in the order given, each seeing only the rows that those before it left.

A filter gives a reason to each row that it removes (see `synth.curation.frames` for what it sees of a row). Most judge
each row by itself: they are handed some rows at a time. A comparison has to know all rows before it can judge one: it
is handed them some at a time as well, keeps what it needs, and judges in the end. Choosing rows (the best 1,000, one of
each cluster) is a comparison like any other: it gives a reason to those not chosen.

So the rows are gone through once for each comparison, together with the filters before it, and once more to write them.
No more than a few blocks of rows are in memory beside what comparisons keep, and two bytes a row for what became of it;
reasons that comparisons give, and filters before them, are on disk until they are written, and 8 bytes for each in
memory say where it begins.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from filters.spill import SpillError, Texts
from synth.curation.frames import Block, blocks_of
from synth.curation.judging import Compared, Comparison, Judge, OpenStep, judge_here, lines_of, naming, refused
from synth.data.prompts import PromptSet
from synth.data.row import REASON
from synth.data.run.record import category_of
from synth.errors import RunError

EXAMPLES = 3
"""Rows of each category that are remembered to be shown."""


@dataclass(slots=True)
class Removal:
    """What one step removed.

    Attributes:
        step: the step.
        seen: rows that were left for it.
        removed: rows that it removed.
        categories: how many for each category of reasons (`synth.data.run.record.category_of`).
        examples: of each category the first rows by their index, and the particulars of their reasons.
    """

    step: OpenStep
    seen: int = 0
    removed: int = 0
    categories: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[tuple[int, str]]] = field(default_factory=dict)

    def add(self, rows: Iterable[int], reasons: Sequence[str]) -> None:
        """Count rows that it removed, by their index and with its reasons."""
        self.removed += len(reasons)
        for row, reason in zip(rows, reasons, strict=True):
            category = category_of(reason, self.categories)
            self.categories[category] += 1
            examples = self.examples.setdefault(category, [])
            if len(examples) < EXAMPLES:
                own = reason.removeprefix(category).removeprefix(":")  # all of it, where that is "other"
                examples.append((row, own.strip()))


class Curation:
    """What becomes of the rows of a set.

    Attributes:
        removals: what each step removed, in their order; complete when `rows` has been gone through.
    """

    def __init__(self, prompts: PromptSet, steps: Sequence[OpenStep], judge: Judge = judge_here) -> None:
        self.removals = [Removal(step) for step in steps]
        self._prompts = prompts
        self._judge = judge
        # of each row 0 while it is left, else the number of the log, counted from 1, that has its reason
        self._gone = np.zeros(prompts.total, np.uint16)
        self._logs: list[Texts] = []

    def rows(
        self, start: int = 0, told: Callable[[int], None] = lambda _: None
    ) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
        """The rows from index `start` on: those that stay, and those that do not with their `reason`, batch by batch.

        Args:
            start: rows before it are judged, too, and not given.
            told: is told how many rows have been handed to a comparison.

        Raises:
            UsageError: a filter failed, or gave something else than a reason for each row.
            RunError: the disk for temporary files failed.
        """
        judges: list[Removal] = []
        try:
            for removal in self.removals:
                if isinstance(removal.step.find, Compared):
                    self._compare(judges, removal, removal.step.find, told)
                    judges = []
                else:
                    judges.append(removal)
            yield from self._curated(judges, start)
        except SpillError as error:
            raise RunError(str(error.strerror)) from error

    def _compare(
        self, judges: Sequence[Removal], removal: Removal, compared: Compared, told: Callable[[int], None]
    ) -> None:
        """Go through the rows once: those that judges leave are compared."""
        log = self._new_log()
        comparison: Comparison | None = None
        for block, reasons in self._judged(judges):
            gone = np.flatnonzero([reason is not None for reason in reasons])
            self._note(log, block.start + gone, [reason for reason in reasons if reason is not None])
            left = block.frame().filter(self._left(block))
            removal.seen += len(left)
            if len(left):
                with naming(removal.step):
                    comparison = comparison or compared.begin()
                    comparison.add(left)
            told(block.end)
        if comparison is None:
            return
        log, rows, at = self._new_log(), np.flatnonzero(self._gone == 0), 0
        with naming(removal.step):
            for given in comparison.reasons():
                found = lines_of(removal.step, given, len(rows) - at, some=True)
                gone = rows[at : at + len(found)][found.is_not_null().to_numpy()]
                texts = found.drop_nulls().to_list()
                removal.add(gone.tolist(), texts)
                self._note(log, gone, [removal.step.said(text) for text in texts])
                at += len(found)
            if at < len(rows):
                raise refused(removal.step, given, len(rows))

    def _curated(self, judges: Sequence[Removal], start: int) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
        """Go through the rows for the last time."""
        read = [0] * len(self._logs)
        for block, reasons in self._judged(judges):
            gone = self._gone[block.start : block.end]
            for number, log in enumerate(self._logs):
                rows = np.flatnonzero(gone == number + 1)
                for row, reason in zip(rows, log.read(read[number] + np.arange(len(rows))), strict=True):
                    reasons[row] = reason
                read[number] += len(rows)
            at = block.start
            for batch in block.batches:
                skip = min(max(0, start - at), batch.num_rows)
                said = pa.array(reasons[at - block.start + skip : at - block.start + batch.num_rows], pa.string())
                at += batch.num_rows
                if some := batch.slice(skip):
                    rejected = pa.record_batch([*some.columns, said], schema=some.schema.append(REASON))
                    yield some.filter(said.is_null()), rejected.filter(said.is_valid())

    def _judged(self, judges: Sequence[Removal]) -> Iterator[tuple[Block, list[str | None]]]:
        """Each block, and the reasons of those of its rows that judges remove or nobody can read."""
        pending = ((block, self._left(block)) for block in blocks_of(self._prompts))
        for block, outcomes in self._judge([removal.step for removal in judges], pending):
            known = self._gone[block.start : block.end] != 0
            reasons = [None if gone else fault for gone, fault in zip(known.tolist(), block.faults, strict=True)]
            for removal, (seen, rows, texts) in zip(judges, outcomes, strict=True):
                removal.seen += seen
                removal.add(rows, texts)
                for row, text in zip(rows, texts, strict=True):
                    reasons[row - block.start] = removal.step.said(text)
            yield block, reasons

    def _left(self, block: Block) -> NDArray[np.bool_]:
        """Which rows of a block are left."""
        readable = np.array([fault is None for fault in block.faults], bool)
        left: NDArray[np.bool_] = readable & (self._gone[block.start : block.end] == 0)
        return left

    def _new_log(self) -> int:
        self._logs.append(Texts())
        return len(self._logs)

    def _note(self, log: int, rows: NDArray[np.int64], reasons: Sequence[str]) -> None:
        """Keep the reasons of rows that are gone, in their order."""
        self._logs[log - 1].add(reasons)
        self._gone[rows] = log
