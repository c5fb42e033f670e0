"""A shard: the part of a run's rows that one of several machines makes.

A row's seeds depend on its id alone, so any machine may make any row. A shard is a run of its own, in a directory of
its own; `synth join` puts them together. Rows that come one by one say which of the whole run they are (`INDEX`); those
that come in whole batches are a range of them.
Nothing that depends on other rows (duplicates, quotas, the end at a target) is decided before that.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any, Self, TypeVar

from synth.errors import UsageError

T = TypeVar("T")

MOST = 1_000_000
"""More shards than this are a slip of the finger."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One of the parts into which the rows 0, 1, 2, … of a run are cut: blocks of rows, which the shards take in turns.

    The k-th row of a shard is row `((k // block) * of + number - 1) * block + k % block` of the run.

    Attributes:
        number: which one, counted from 1.
        of: how many there are; None where nobody knows beforehand: then each is one block alone.
        block: rows of a block.
        total: rows of the whole run, where known.
    """

    number: int
    of: int | None
    block: int = 1
    total: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """A shard as it is written: 3/8 is the third of eight.

        Raises:
            UsageError: it is written in another way.
        """
        found = re.fullmatch(r"0*(\d{1,7})/0*(\d{1,7})", text.strip(), re.ASCII)
        number, of = map(int, found.groups()) if found else (0, 0)
        if not 1 <= number <= of <= MOST:
            raise UsageError(f"`shard` {text}: write I/N, as 1/8, 2/8, … 8/8 of eight shards")
        return cls(number, of)

    @classmethod
    def read(cls, recorded: dict[str, Any]) -> Self:
        """The shard that a record describes.

        Raises:
            ValueError: it does not describe one.
        """
        number, of, block, total = (recorded.get(name) for name in cls.__slots__)
        counts = (number, block, *(one for one in (of, total) if one is not None))
        if not all(type(one) is int and one >= 0 for one in counts):
            raise ValueError("what it says of its shard is wrong")
        shard = cls(recorded["number"], of, recorded["block"], total)
        if not 1 <= shard.number <= (shard.of or shard.number) or shard.block < 1:
            raise ValueError("what it says of its shard is wrong")
        return shard

    def record(self) -> dict[str, Any]:
        """The shard as JSON values."""
        return asdict(self)

    def over(self, total: int | None, turn: int = 1) -> Self:
        """The shard of a certain run. Blocks that somebody has chosen (`of` is None) stay.

        Args:
            total: rows of the run: each shard has one range of them. None where it goes on until there are enough:
                then the shards take turns, so that what all have done begins at the first row and has no gap.
            turn: rows of a turn, such as one of each kind.
        """
        if self.of is None:
            return replace(self, total=total)
        return replace(self, block=turn if total is None else max(1, math.ceil(total / self.of)), total=total)

    def row(self, index: int) -> int:
        """Which row of the run is the shard's row of that index (both from 0)."""
        turn, place = divmod(index, self.block)
        return (turn * (self.of or 0) + self.number - 1) * self.block + place

    @property
    def size(self) -> int | None:
        """How many rows the shard has; None where it goes on and on."""
        if self.of is None:
            begin = (self.number - 1) * self.block
            return self.block if self.total is None else max(0, min(self.block, self.total - begin))
        if self.total is None:
            return None
        turns, rest = divmod(self.total, self.block * self.of)
        return turns * self.block + max(0, min(self.block, rest - (self.number - 1) * self.block))

    def rows(self, whole: Callable[[int], Iterable[T]]) -> Callable[[int], Iterator[T]]:
        """The shard's rows from any of its own indices on, out of those of the whole run from any index on."""

        def rows(start: int) -> Iterator[T]:
            at, size = start, self.size
            while size is None or at < size:
                room = self.block - at % self.block
                given = 0
                for row in islice(whole(self.row(at)), room):
                    yield row
                    given += 1
                if given < room:
                    return
                at += room

        return rows

    def goal(self, target: int | None) -> int | None:
        """Rows that are to be accepted by a shard of a run that is to have `target` rows; None is all.

        It is an equal part, and a margin of 2% and three times its square root: shards come equally far only by
        chance, joining stops at the first row that is missing, and rows that two shards have both are taken once.
        """
        if target is None or self.of is None:
            return None
        part = target / self.of
        return math.ceil(1.02 * part + 3 * math.sqrt(part)) if self.of > 1 else target

    def __str__(self) -> str:
        return f"{self.number}/{self.of}" if self.of is not None else f"{self.number} (of {self.block:,} rows)"
