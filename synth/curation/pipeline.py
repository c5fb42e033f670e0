"""Curation: filters in the order given, each seeing only the rows that those before it left.

A filter gives a reason to each row that it removes (see `synth.curation.frames` for what it sees of a row). Most judge
each row by itself: they are handed some rows at a time. A comparison has to know all rows before it can judge one: it
is handed them some at a time as well, keeps what it needs, and judges in the end. Choosing rows (the best 1,000, one of
each cluster) is a comparison like any other: it gives a reason to those not chosen.

So the rows are gone through once for each comparison, together with the filters before it, and once more to write them.
No more than a few blocks of rows are in memory beside what comparisons keep, and two bytes a row for what became of it;
reasons are on disk until they are written.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from filters.spill import SpillError, Texts
from synth.curation.frames import Block, blocks_of
from synth.data.prompts import PromptSet
from synth.data.row import REASON
from synth.errors import RunError, UsageError

Filter = Callable[[pl.DataFrame], pl.Series]
"""Reasons for rows that are judged one by one, null where one passes."""

REASON_LENGTH = 400
"""Characters of a reason that are kept: a filter of a user's may quote a whole row."""

EXAMPLES = 3
"""Rows of each category that are remembered to be shown."""


class Comparison(Protocol):
    """A filter at work that must know all rows."""

    def add(self, frame: pl.DataFrame) -> None:
        """Take the next rows."""
        ...

    def reasons(self) -> Iterable[Any]:
        """Series of reasons, together one for each row in their order, null where it passes."""
        ...


@dataclass(frozen=True, slots=True)
class Compared:
    """A filter that must know all rows.

    Attributes:
        begin: begins a comparison.
    """

    begin: Callable[[], Comparison]


def held(keep: Callable[[pl.DataFrame], pl.DataFrame], find: Callable[[pl.DataFrame], Any]) -> Compared:
    """A filter that looks at all rows at once.

    Args:
        keep: what is held of some rows until then, a row for each of them.
        find: the reasons, from what was held of all.
    """
    return Compared(lambda: _Held(keep, find))


@dataclass(frozen=True, slots=True)
class OpenStep:
    """One filter, ready to run.

    Attributes:
        text: as given, `length:min=20`.
        name: what its reasons begin with.
        find: gives the reasons.
        keeps: whether it says which rows to keep, not which to remove.
    """

    text: str
    name: str
    find: Filter | Compared
    keeps: bool = False

    def said(self, reason: str) -> str:
        """A reason as it stands beside a row: `filter / category: particulars`."""
        same = reason.split(":", 1)[0] == self.name.replace("-", " ")
        return reason if same else f"{self.name} / {reason}"


@dataclass(slots=True)
class Removal:
    """What one step removed.

    Attributes:
        step: the step.
        seen: rows that were left for it.
        removed: rows that it removed.
        categories: how many for each category of reasons: the part before the colon.
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
            category, _, particulars = reason.partition(":")
            self.categories[category] += 1
            examples = self.examples.setdefault(category, [])
            if len(examples) < EXAMPLES:
                examples.append((row, particulars.strip()))


Judges = Sequence[tuple[Removal, Filter]]
"""Filters of single rows that follow one another, and what they have removed."""


class Curation:
    """What becomes of the rows of a set.

    Attributes:
        removals: what each step removed, in their order; complete when `rows` has been gone through.
    """

    def __init__(self, prompts: PromptSet, steps: Sequence[OpenStep]) -> None:
        self.removals = [Removal(step) for step in steps]
        self._prompts = prompts
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
        judges: list[tuple[Removal, Filter]] = []
        try:
            for removal in self.removals:
                find = removal.step.find
                if isinstance(find, Compared):
                    self._compare(judges, removal, find, told)
                    judges = []
                else:
                    judges.append((removal, find))
            yield from self._curated(judges, start)
        except SpillError as error:
            raise RunError(str(error.strerror)) from error

    def _compare(self, judges: Judges, removal: Removal, compared: Compared, told: Callable[[int], None]) -> None:
        """Go through the rows once: those that judges leave are compared."""
        log = self._new_log()
        comparison: Comparison | None = None
        for block, left, reasons in self._judged(judges):
            gone = np.flatnonzero([reason is not None for reason in reasons])
            self._note(log, block.start + gone, [reason for reason in reasons if reason is not None])
            removal.seen += len(left)
            if len(left):
                with _naming(removal.step):
                    comparison = comparison or compared.begin()
                    comparison.add(left)
            told(block.end)
        if comparison is None:
            return
        log, rows, at = self._new_log(), np.flatnonzero(self._gone == 0), 0
        with _naming(removal.step):
            for given in comparison.reasons():
                found = _lines(removal.step, given, len(rows) - at, some=True)
                gone = rows[at : at + len(found)][found.is_not_null().to_numpy()]
                texts = found.drop_nulls().to_list()
                removal.add(gone.tolist(), texts)
                self._note(log, gone, [removal.step.said(text) for text in texts])
                at += len(found)
            if at < len(rows):
                raise _refused(removal.step, given, len(rows))

    def _curated(self, judges: Judges, start: int) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
        """Go through the rows for the last time."""
        read = [0] * len(self._logs)
        for block, _, reasons in self._judged(judges):
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

    def _judged(self, judges: Judges) -> Iterator[tuple[Block, pl.DataFrame, list[str | None]]]:
        """Each block, of its rows those that judges leave, and the reasons of those that they remove or cannot read."""
        for block in blocks_of(self._prompts):
            left, outcomes = self._judge(judges, block)
            gone = self._gone[block.start : block.end] != 0
            reasons = [None if known else fault for known, fault in zip(gone.tolist(), block.faults, strict=True)]
            for (removal, _), (seen, rows, texts) in zip(judges, outcomes, strict=True):
                removal.seen += seen
                removal.add(rows, texts)
                for row, text in zip(rows, texts, strict=True):
                    reasons[row - block.start] = removal.step.said(text)
            yield block, left, reasons

    def _judge(self, judges: Judges, block: Block) -> tuple[pl.DataFrame, list[tuple[int, list[int], list[str]]]]:
        """Of a block the rows that are left, and of each judge the rows it saw, and removed, and why."""
        readable = np.array([fault is None for fault in block.faults], bool)
        left = block.frame().filter(readable & (self._gone[block.start : block.end] == 0))
        outcomes = []
        for removal, find in judges:
            found = pl.Series("reason", [], pl.String)
            if len(left):
                with _naming(removal.step):
                    found = _lines(removal.step, find(left), len(left))
            removed = found.is_not_null()
            outcomes.append((len(left), left["row"].filter(removed).to_list(), found.drop_nulls().to_list()))
            left = left.filter(~removed)
        return left, outcomes

    def _new_log(self) -> int:
        self._logs.append(Texts())
        return len(self._logs)

    def _note(self, log: int, rows: NDArray[np.int64], reasons: Sequence[str]) -> None:
        """Keep the reasons of rows that are gone, in their order."""
        self._logs[log - 1].add(reasons)
        self._gone[rows] = log


class _Held:
    """A comparison of all rows at once."""

    def __init__(self, keep: Callable[[pl.DataFrame], pl.DataFrame], find: Callable[[pl.DataFrame], Any]) -> None:
        self._keep = keep
        self._find = find
        self._frames: list[pl.DataFrame] = []

    def add(self, frame: pl.DataFrame) -> None:
        self._frames.append(self._keep(frame))

    def reasons(self) -> Iterator[Any]:
        whole = pl.concat(self._frames)
        self._frames = []
        yield self._find(whole)


@contextmanager
def _naming(step: OpenStep) -> Iterator[None]:
    """Say which step failed.

    Raises:
        UsageError: it did.
    """
    try:
        yield
    except (ValueError, pl.exceptions.PolarsError) as error:
        first = str(error).partition("\n")[0]  # the rest of polars' message is the whole expression
        raise UsageError(f"{step.text}: {first}") from error


def _lines(step: OpenStep, given: Any, rows: int, *, some: bool = False) -> pl.Series:
    """A step's reasons for so many rows, or for `some` of them: one line each, of bounded length.

    Raises:
        UsageError: it gave something else.
    """
    if not isinstance(given, pl.Series) or given.dtype not in (pl.String, pl.Null) or len(given) > rows:
        raise _refused(step, given, rows)
    if len(given) < rows and not some:
        raise _refused(step, given, rows)
    lines = given.cast(pl.String).str.replace_all(r"\s+", " ").str.strip_chars().str.head(REASON_LENGTH)
    return lines.replace("", "no reason given").alias("reason")


def _refused(step: OpenStep, given: object, rows: int) -> UsageError:
    if isinstance(given, pl.Series):
        described = f"{len(given)} values of type {given.dtype}"
    else:
        described = re.sub(r"\s+", " ", f"{type(given).__name__} {given!r:.80}")
    return UsageError(f"{step.text}: it gave {described}, not a reason or null for each of {rows} rows")
