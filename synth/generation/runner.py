"""Runs a method over rows: many in flight at once, results in order, safe to kill at any moment.

A method is an async function from one row to one outcome. Rows are independent: each draws from seeds of its own, the
engine batches whatever is asked at the same time, and no row waits for another. Outcomes are kept as they finish and
committed in row order, so what a run writes does not depend on the concurrency, nor on how often it was killed.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

from synth.data.row import Outcome, Row, digest
from synth.engines.base import Usage
from synth.engines.server_work import ServerWork
from synth.errors import RequestError
from synth.generation.acceptance import Acceptance, Taken
from synth.generation.waiting import Waiting

Method = Callable[[Row], Awaitable[Outcome]]
"""Completes the row it is given. What it has filled in when a request fails is kept with the rejected row."""

OVERLAP = 2
"""Rows in flight for each place in the engine's batch. A row that is between two requests (tokenised, verified) would
leave its place empty."""

AHEAD = 64
"""At most this many times the concurrency may be started beyond the first unfinished row: it bounds what waits. A row
that takes as many times as long as others (an answer that does not end by itself) leaves engines idle: in a simulation
with 1% of answers of up to 45 times the usual length (`tests/benchmarks/simulate_engines.py`), engines were busy 39% of
the time with 8 in place of 64."""

HELD = 4
"""Finished rows that wait in memory for an earlier one, for each place in the engine's batch; others wait on disk."""


class Sink(Taken, Protocol):
    """The destination of outcomes: a run's directory, or standard output. `next` is the index of the next to commit."""

    @property
    def ahead(self) -> Mapping[int, Outcome]:
        """When a run begins, what an earlier, interrupted one has finished beyond `next`, by index."""
        ...

    def keep(self, index: int, outcome: Outcome) -> None:
        """Make a finished row survive a kill."""
        ...

    def commit(self, outcome: Outcome) -> None:
        """Take the outcome of row `next`."""
        ...

    def pause(self) -> None:
        """Leave an unfinished run so that it can be continued."""
        ...

    def finish(self, note: str | None = None) -> None:
        """Complete the run."""
        ...


def empty_rows(method: str, settings: dict[str, Any], model: str) -> Callable[[int], Iterator[Row]]:
    """Endless rows to be made from nothing, from any index on.

    Args:
        method: what the rows say of how they were made.
        settings: all that decides the rows, the model's revision included; the ids depend on it.
        model: the model's name, for the column `model`.
    """
    source = digest(method, settings)

    def rows(start: int) -> Iterator[Row]:
        for index in count(start):
            yield Row(digest(source, index), [], method, model=model)

    return rows


@dataclass(slots=True)
class Run:
    """One run of a method; `go` drives it, the attributes show its state.

    Attributes:
        method: what is done to each row.
        rows: makes the rows from a given index on; they may be endless where there is a target.
        sink: where outcomes go.
        usages: the token counts of the engines at work.
        concurrency: requests the engine works on at once; `OVERLAP` times as many rows are in flight.
        acceptance: decides which rows are taken, and when there are enough.
        total: how many rows there are, where known.
    """

    method: Method
    rows: Callable[[int], Iterable[Row]]
    sink: Sink
    usages: Sequence[Usage]
    concurrency: int
    acceptance: Acceptance
    total: int | None = None
    stopping: bool = False
    complete: bool = False
    surplus: int = 0
    seconds: float = 0.0
    made: int = 0
    _waiting: Waiting = field(init=False)
    _flying: dict["asyncio.Task[Outcome]", tuple[int, Row]] = field(default_factory=dict)
    _landed: list["asyncio.Task[Outcome]"] = field(default_factory=list)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _started: int = 0
    _good: int = 0
    _before: tuple[int, int] = (0, 0)
    _began: float = 0.0
    _earlier: tuple[float, int, int] = (0.0, 0, 0)
    servers: ServerWork = field(init=False)

    def __post_init__(self) -> None:
        """Remember the token counts that the engines have from earlier runs."""
        self._before = self.prompt_tokens, self.completion_tokens
        self.servers = ServerWork(self.usages)
        self._waiting = Waiting(HELD * self.concurrency)

    @property
    def in_flight(self) -> int:
        """Rows that are being worked on."""
        return len(self._flying)

    @property
    def finished(self) -> int:
        """Rows that are done, those included that wait for an earlier row to finish."""
        return self.sink.next + len(self._waiting)

    @property
    def usable(self) -> int:
        """Rows accepted so far, those included that wait for an earlier row to finish (duplicates among them)."""
        return self.acceptance.accepted + self._good

    @property
    def prompt_tokens(self) -> int:
        """Tokens that went into the engines so far."""
        return sum(usage.prompt_tokens for usage in self.usages) - self._before[0]

    @property
    def completion_tokens(self) -> int:
        """Tokens that came out of them."""
        return sum(usage.completion_tokens for usage in self.usages) - self._before[1]

    async def go(self) -> None:
        """Run to the end: the target, the last row, giving up, or `stop`. The sink is left to whoever opened it.

        Raises:
            RunError: the engine or the disk failed; what was finished is kept.
        """
        self._began, self._earlier = time.monotonic(), self._counters()
        rows, served = self.sink.record.accepted, self.sink.record.servers
        source = iter(self.rows(self.sink.next))
        self._started = self.sink.next
        try:
            self.complete = await self._drive(source)
        finally:
            await self._abandon(keep=not self.complete)
            record = self.sink.record
            self._reckon()
            self.made = record.accepted - rows
            record.servers = self.servers.record(served)
            record.note = self._shortfall()

    def stop(self) -> None:
        """Start no more rows; those in flight are finished. A second call abandons them."""
        if self.stopping:
            for task in self._flying:
                task.cancel()
        self.stopping = True
        self._wake.set()

    async def _drive(self, source: Iterator[Row]) -> bool:
        exhausted = False
        while True:
            while not exhausted and self._may_start():
                row = next(source, None)
                if row is None:
                    exhausted = True
                else:
                    self._start(row)
            self._commit_ready()
            if self.acceptance.reached or self.acceptance.gave_up:
                return True
            if not self._flying and not self._landed:
                if self.stopping:
                    return False
                if exhausted:
                    return True
                continue  # rows from the journal were committed: there is room again
            await self._wake.wait()
            self._wake.clear()
            if (fatal := self._collect()) is not None:
                raise fatal

    def _start(self, row: Row) -> None:
        index = self._started
        self._started += 1
        recalled = self.sink.ahead.get(index)
        if recalled is not None:
            for again in (recalled.row, *recalled.more):
                again.passthrough = row.passthrough
            self._wait(index, recalled)
            return
        if row.fault is not None:
            self._wait(index, Outcome(row, row.fault))
            return
        task = asyncio.ensure_future(self.method(row))
        self._flying[task] = (index, row)
        task.add_done_callback(self._on_done)

    def _on_done(self, task: "asyncio.Task[Outcome]") -> None:
        self._landed.append(task)
        self._wake.set()

    def _collect(self) -> BaseException | None:
        """Keep what has finished since the last call; returns the error that ends the run, if there was one."""
        self._reckon()
        landed, self._landed = self._landed, []
        kept: list[tuple[int, Outcome]] = []
        fatal: BaseException | None = None
        for task in landed:
            index, row = self._flying.pop(task)
            if task.cancelled():
                continue
            error = task.exception()
            if error is None:
                outcome = task.result()
            elif isinstance(error, RequestError):
                outcome = Outcome(row, f"request failed: {error}")
            else:
                fatal = fatal or error
                continue
            self.sink.keep(index, outcome)
            kept.append((index, outcome))
        for index, outcome in kept:  # all are kept before one may find no place to wait
            self._wait(index, outcome)
        return fatal

    def _wait(self, index: int, outcome: Outcome) -> None:
        """Hold a finished row until those before it are finished."""
        self._waiting.put(index, outcome)
        self._good += outcome.reason is None

    def _commit_ready(self) -> None:
        """Commit, in order, the outcomes that have no unfinished row before them."""
        while not self.acceptance.reached and not self.acceptance.gave_up:
            outcome = self._waiting.take(self.sink.next)
            if outcome is None:
                return
            self._good -= outcome.reason is None
            self.acceptance.judge(outcome)
            self.sink.commit(outcome)

    def _may_start(self) -> bool:
        if self.stopping or len(self._flying) >= OVERLAP * self.concurrency:
            return False
        if self._started - self.sink.next >= AHEAD * self.concurrency:
            return False
        if self.acceptance.target is None:
            return True
        # No more attempts than are likely to be needed, plus one standard deviation: waiting for certainty would
        # leave the engine idle at the end, at a few rows at a time.
        accepted = self.acceptance.accepted
        share = (accepted + 1) / (self.sink.record.rejected + self.sink.record.accepted + 1)
        likely = len(self._flying) * share - math.sqrt(len(self._flying) * share * (1 - share))
        return self.usable + likely < self.acceptance.target

    async def _abandon(self, *, keep: bool) -> None:
        """Cancel what is still in flight: rows beyond the target, or all of them when the run breaks off.

        With `keep`, those that finished meanwhile are kept for the run that continues this one.
        """
        self.surplus = self._started - self.sink.next
        tasks = list(self._flying)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if keep:
            self._collect()
            self._commit_ready()

    def _counters(self) -> tuple[float, int, int]:
        record = self.sink.record
        return (
            record.seconds,
            record.prompt_tokens - self.prompt_tokens,
            record.completion_tokens - self.completion_tokens,
        )

    def _reckon(self) -> None:
        """Count in what was taken so far, before rows are kept: what is kept survives a kill, and so does this."""
        record = self.sink.record
        self.seconds = time.monotonic() - self._began
        record.seconds = self._earlier[0] + self.seconds
        record.prompt_tokens = self._earlier[1] + self.prompt_tokens
        record.completion_tokens = self._earlier[2] + self.completion_tokens

    def _shortfall(self) -> str | None:
        return self.acceptance.shortfall(self.sink.record.reasons) if self.acceptance.gave_up else None
