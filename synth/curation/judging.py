"""Filters, ready to run, and how those of single rows judge a block."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from synth.curation.frames import Block
from synth.errors import UsageError

Filter = Callable[[pl.DataFrame], pl.Series]
"""Reasons for rows that are judged one by one, null where one passes."""

REASON_LENGTH = 400
"""Characters of a reason that are kept: a filter of a user's may quote a whole row."""

Outcome = tuple[int, list[int], list[str]]
"""Of a filter on a block: how many rows it saw, the indices of those that it removed, and its reasons."""

Pending = tuple[Block, NDArray[np.bool_]]
"""A block, and which of its rows are left."""


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
        make: makes `find` anew, in another process.
    """

    text: str
    name: str
    find: Filter | Compared
    keeps: bool = False
    make: Callable[..., Any] | None = None

    def said(self, reason: str) -> str:
        """A reason as it stands beside a row: `filter / category: particulars`."""
        same = reason.split(":", 1)[0] == self.name.replace("-", " ")
        return reason if same else f"{self.name} / {reason}"


Judge = Callable[[Sequence[OpenStep], Iterable[Pending]], Iterator[tuple[Block, list[Outcome]]]]
"""Lets filters of single rows judge blocks one after another; the outcomes come in the order of the blocks."""


def judge_here(steps: Sequence[OpenStep], pending: Iterable[Pending]) -> Iterator[tuple[Block, list[Outcome]]]:
    """The `Judge` that works in this process.

    Raises:
        UsageError: a filter failed, or gave something else than a reason for each row.
    """
    for block, left in pending:
        yield block, judge(steps, block, left)


def judge(steps: Sequence[OpenStep], block: Block, left: NDArray[np.bool_]) -> list[Outcome]:
    """Let filters of single rows judge those rows of a block that are left, each what those before it passed.

    Raises:
        UsageError: a filter failed, or gave something else than a reason for each row.
    """
    outcomes: list[Outcome] = []
    frame = block.frame().filter(left) if steps else pl.DataFrame()
    for step in steps:
        assert not isinstance(step.find, Compared)
        found = pl.Series("reason", [], pl.String)
        if len(frame):
            with naming(step):
                found = lines_of(step, step.find(frame), len(frame))
        removed = found.is_not_null()
        outcomes.append((len(frame), frame["row"].filter(removed).to_list(), found.drop_nulls().to_list()))
        frame = frame.filter(~removed)
    return outcomes


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
def naming(step: OpenStep) -> Iterator[None]:
    """Say which step failed.

    Raises:
        UsageError: it did.
    """
    try:
        yield
    except (ValueError, pl.exceptions.PolarsError) as error:
        first = str(error).partition("\n")[0]  # the rest of polars' message is the whole expression
        raise UsageError(f"{step.text}: {first}") from error


def lines_of(step: OpenStep, given: Any, rows: int, *, some: bool = False) -> pl.Series:
    """A step's reasons for so many rows, or for `some` of them: one line each, of bounded length.

    Raises:
        UsageError: it gave something else.
    """
    if not isinstance(given, pl.Series) or given.dtype not in (pl.String, pl.Null) or len(given) > rows:
        raise refused(step, given, rows)
    if len(given) < rows and not some:
        raise refused(step, given, rows)
    lines = given.cast(pl.String).str.replace_all(r"\s+", " ").str.strip_chars().str.head(REASON_LENGTH)
    return lines.replace("", "no reason given").alias("reason")


def refused(step: OpenStep, given: object, rows: int) -> UsageError:
    """What a step gave is not a reason or null for each of so many rows."""
    if isinstance(given, pl.Series):
        described = f"{len(given)} values of type {given.dtype}"
    else:
        described = re.sub(r"\s+", " ", f"{type(given).__name__} {given!r:.80}")
    return UsageError(f"{step.text}: it gave {described}, not a reason or null for each of {rows} rows")
