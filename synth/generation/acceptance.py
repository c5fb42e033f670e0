"""Which of a run's rows are taken, decided in their order: no row twice, kinds equally, until there are enough.

A run that makes all rows decides while it goes; of a run in shards `synth join` decides, by the same code.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

import pyarrow as pa

from synth.data.row import Outcome, Row, conversations_of
from synth.data.run.record import RunRecord

PATIENCE = 200
LEAST_YIELD = 0.05
"""With a target, a run gives up when fewer than this share of at least `PATIENCE` attempts was accepted."""
DEVIATIONS = 4
"""A shard gives up when it has this many standard deviations fewer. `synth join` decides for all.

By the rule of a whole run one of four shards would give up at its 200th attempt at a yield of 6%. So none does before
its 321st, at a yield of 1% one does after some 500, and by chance, at a yield of 5%, 3 of 10,000 (simulated, each of
10,000 attempts).
"""


class Taken(Protocol):
    """What a run has done so far."""

    record: RunRecord

    @property
    def next(self) -> int:
        """Attempts that were decided."""
        ...

    def rows(self) -> Iterator[pa.RecordBatch]:
        """The rows accepted so far, in order."""
        ...


@dataclass(frozen=True, slots=True)
class Quota:
    """Kinds of rows of which a run takes equally many, such as the old tasks of pseudo-replay.

    A row of a kind that is ahead of another is rejected, not put back for later: so what is taken depends on the order
    of rows alone, and a larger target extends a run.

    Attributes:
        column: of ours (`Row.extra`), names a row's kind.
        names: of all kinds.
    """

    column: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rules:
    """What rows are taken by.

    Attributes:
        unique: whether no two rows may have the same user turns (`asked`).
        quota: rows of which equally many are taken, or None.
    """

    unique: bool = False
    quota: Quota | None = None

    @property
    def kinds(self) -> int:
        """How many kinds of rows there are."""
        return len(self.quota.names) if self.quota else 1

    def record(self) -> dict[str, Any]:
        """The rules as JSON values."""
        quota = self.quota and {"column": self.quota.column, "names": list(self.quota.names)}
        return {"unique": self.unique, "quota": quota}

    @classmethod
    def read(cls, recorded: dict[str, Any]) -> Self:
        """The rules that a record describes; without any, every row is taken.

        Raises:
            ValueError: it does not describe any.
        """
        try:
            quota = recorded.get("quota")
            return cls(
                recorded.get("unique") is True, quota and Quota(str(quota["column"]), tuple(map(str, quota["names"])))
            )
        except (KeyError, TypeError) as error:
            raise ValueError("what it says of how rows are taken is wrong") from error


ANYTHING = Rules()
"""Every row is taken."""


class Acceptance:
    """Decides, outcome by outcome, in their order.

    Attributes:
        target: accepted rows wanted; None takes every row once.
        accepted: rows taken so far.
        attempts: outcomes decided so far.
        gave_up: whether so few were accepted that it is no use to go on.
    """

    def __init__(
        self,
        taken: Taken,
        target: int | None = None,
        rules: Rules = ANYTHING,
        *,
        counts_only: bool = False,
    ) -> None:
        """Go on after what a run has taken.

        Args:
            taken: the run.
            target: accepted rows wanted, or None.
            rules: what rows are taken by.
            counts_only: whether a row that would not be taken stays as it is, and only does not count: so it is in a
                shard, which does not know the rows before it. It gives up later, too, and when it is called again
                makes `PATIENCE` attempts before it may.
        """
        self.target = target
        self.rules = rules
        self.attempts = taken.next
        self.accepted = taken.record.accepted
        self.gave_up = False
        self._counts_only = counts_only
        self._patience = PATIENCE + (taken.next if counts_only else 0)
        self._seen: set[int] = set()
        self._kinds: Counter[str] = Counter()
        if rules != ANYTHING:
            self.accepted = sum(self._unwanted(row) is None for batch in taken.rows() for row in self._as_judged(batch))

    @property
    def reached(self) -> bool:
        """Whether there are as many rows as are wanted."""
        return self.target is not None and self.accepted >= self.target

    def judge(self, outcome: Outcome) -> None:
        """Decide on the next outcome: one that is not wanted is rejected from now on. Its first row speaks for all."""
        unwanted = self._unwanted(outcome.row) if outcome.reason is None else None
        if not self._counts_only:
            outcome.reason = outcome.reason or unwanted
        self.attempts += 1
        if outcome.reason is None and unwanted is None:
            self.accepted += 1 + len(outcome.more)
        if self.target is not None and self.attempts >= self._patience:
            least = LEAST_YIELD * self.attempts
            if self._counts_only:
                least -= DEVIATIONS * math.sqrt(least)
            self.gave_up = self.accepted < least and not self.reached

    def shortfall(self, reasons: Mapping[str, int]) -> str:
        """The message about a run that gave up, whose rows were rejected for these reasons."""
        said = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items(), key=lambda r: -r[1]))
        return (
            f"gave up after {self.attempts:,} attempts: {self.accepted:,} of the {self.target:,} rows asked for were "
            f"accepted ({said})"
        )

    def _unwanted(self, row: Row) -> str | None:
        """Why a row is surplus, or None; then it counts among those taken."""
        quota = self.rules.quota
        kind = row.extra[quota.column] if quota else ""
        if quota and self._kinds[kind] > min(self._kinds[name] for name in quota.names):
            return f"surplus: there are fewer rows of another {quota.column} than of {kind}"
        if self.rules.unique:
            name = asked(row)
            if name in self._seen:
                return "duplicate"
            self._seen.add(name)
        self._kinds[kind] += 1
        return None

    def _as_judged(self, batch: pa.RecordBatch) -> Iterator[Row]:
        """Rows with what they are judged by."""
        quota = self.rules.quota
        kinds = batch.column(quota.column).to_pylist() if quota else [""] * batch.num_rows
        for turns, kind in zip(conversations_of(batch.column("messages")), kinds, strict=True):
            yield Row("", turns or [], "", extra={quota.column: kind} if quota else {})


def asked(row: Row) -> int:
    """Names a conversation by its user turns: exact duplicates (case and white space aside) share it."""
    texts = (" ".join(turn["content"].split()).casefold() for turn in row.messages if turn["role"] == "user")
    return int.from_bytes(hashlib.blake2b("\x00".join(texts).encode("utf-8", "replace"), digest_size=8).digest())
