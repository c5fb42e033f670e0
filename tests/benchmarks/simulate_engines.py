"""A run over many engines that die and join, on simulated time: how busy they are, and whether anything is lost.

The runner and the directory of the run are the real ones; the engines are simulated, and so is time, so that hours on
1,000 engines take minutes. Answers take as long as measured lengths say. Everything is drawn from seeds.

    python -m tests.benchmarks.simulate_engines --engines 1000 --hours 1
"""

import argparse
import asyncio
import math
import random
import selectors
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa

from synth.data.row import BASE, Outcome, Row
from synth.data.run.directory import RunDirectory
from synth.data.run.record import RunRecord
from synth.data.run.shards import read_shards
from synth.generation.acceptance import Acceptance, Rules
from synth.generation.runner import Run, empty_rows

LENGTHS = (15, 26, 28, 30, 31, 33, 35, 37, 38, 39, 41, 43, 45, 46, 49, 51, 53, 57, 63, 129, 227)
"""Tokens of 300 conversations that the sample model drew at temperature 1 (`synth magpie`), at every twentieth."""
TOKEN = 0.5
"""Seconds of a token: answers of the sample model are short, so that it stands for some twenty of a larger model's."""
MEAN = TOKEN * sum(LENGTHS) / len(LENGTHS)
LOOK = 10.0
"""Seconds between two looks at how busy the engines are."""
LONG = 10.0
"""How many times as long an answer takes that does not end by itself."""
REJECTED, REPEATED = 0.08, 0.02
"""Shares of the rows that are rejected, and that say what an earlier one said."""


class SimulatedTime(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still while something is done, and jumps to what comes next."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        """Simulated seconds."""
        return self.now


class _Jumping(selectors.SelectSelector):
    def __init__(self, loop: SimulatedTime) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("everything waits, and nothing will happen")
        self._loop.now += max(timeout, 0.0)
        return super().select(0)


class EngineGone(Exception):
    """The engine died before it had answered."""


class SimulatedEngine:
    """Works on so many requests at once; others wait at it, in order.

    Attributes:
        born: when it joined.
        died: when it died.
        busy: seconds worked, of all places together.
    """

    def __init__(self, places: int, speed: float, changed: Callable[["SimulatedEngine"], None]) -> None:
        """Join now; `speed` 1 is usual, and `changed` is told whenever there is another number outstanding."""
        self.places, self.speed, self._changed = places, speed, changed
        self.born, self.died, self.busy = self._now, float("inf"), 0.0
        self._waiting: deque[tuple[float, asyncio.Future[None]]] = deque()
        self._working: dict[asyncio.Future[None], tuple[float, asyncio.TimerHandle]] = {}

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    @property
    def outstanding(self) -> int:
        """Requests that it has not answered."""
        return len(self._waiting) + len(self._working)

    def ask(self, seconds: float) -> "asyncio.Future[None]":
        """Ask for an answer that takes so long at usual speed; `EngineGone` where the engine dies first."""
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((seconds / self.speed, answer))
        self._fill()
        self._changed(self)
        return answer

    def _fill(self) -> None:
        while self._waiting and len(self._working) < self.places:
            seconds, answer = self._waiting.popleft()
            end = asyncio.get_running_loop().call_later(seconds, self._end, answer)
            self._working[answer] = self._now, end

    def _end(self, answer: "asyncio.Future[None]") -> None:
        began, _ = self._working.pop(answer)
        self.busy += self._now - began
        self._fill()
        self._changed(self)
        if not answer.done():
            answer.set_result(None)

    def die(self) -> None:
        """Answer nothing any more. What it has worked on until now was work as well."""
        self.died = self._now
        for began, end in self._working.values():
            end.cancel()
            self.busy += self.died - began
        for answer in [*self._working, *(answer for _, answer in self._waiting)]:
            if not answer.done():
                answer.set_exception(EngineGone())
        self._working.clear()
        self._waiting.clear()
        self._changed(self)

    def worked(self) -> tuple[float, float]:
        """Seconds worked until now, of all places together, and how many they could have been."""
        going = sum(self._now - began for began, _ in self._working.values())
        return self.busy + going, self.places * (min(self.died, self._now) - self.born)


class Fleet:
    """Engines behind one door: a request goes to one with the fewest outstanding, and again where that one dies."""

    def __init__(self, engines: int, places: int, deaths: float, seed: int) -> None:
        """`deaths` is the share of the engines that die in an hour; as many join."""
        self.sent_again = 0
        self.engines: list[SimulatedEngine] = []
        self._alive: list[SimulatedEngine] = []
        self._load: dict[SimulatedEngine, int] = {}
        self._by_load: dict[int, dict[SimulatedEngine, None]] = defaultdict(dict)
        self._places, self._draw = places, random.Random(f"engines {seed}")
        self._deaths = deaths * engines / 3600
        self._first = engines

    def start(self) -> None:
        """Let the first engines join."""
        for _ in range(self._first):
            self._join()

    def _join(self) -> None:
        engine = SimulatedEngine(self._places, self._draw.uniform(0.9, 1.1), self._sort)
        self.engines.append(engine)
        self._alive.append(engine)
        self._sort(engine)

    def _sort(self, engine: SimulatedEngine) -> None:
        """Put an engine to those with as many outstanding as it has now; nowhere, if it is dead."""
        if (before := self._load.pop(engine, None)) is not None:
            del self._by_load[before][engine]
        if math.isinf(engine.died):
            self._load[engine] = engine.outstanding
            self._by_load[engine.outstanding][engine] = None

    async def answer(self, seconds: float) -> None:
        """Wait for an answer that takes so long, from whichever engine lives to give it."""
        while True:
            load = next(load for load in count() if self._by_load[load])
            try:
                return await next(iter(self._by_load[load])).ask(seconds)
            except EngineGone:
                self.sent_again += 1

    async def live(self) -> None:
        """Let engines die at random moments, and another join a few minutes after each."""
        while self._deaths:
            await asyncio.sleep(self._draw.expovariate(self._deaths))
            if len(self._alive) > 1:
                self._alive.pop(self._draw.randrange(len(self._alive))).die()
                asyncio.get_running_loop().call_later(self._draw.uniform(60, 300), self._join)

    def busy(self) -> float:
        """The share of the time of all places that was worked until now."""
        each = [engine.worked() for engine in self.engines]
        return sum(worked for worked, _ in each) / sum(could for _, could in each)


@dataclass(frozen=True)
class Fate:
    """What becomes of a row, whichever engine works on it."""

    seconds: float
    text: str
    reason: str | None


def fate(row: Row, long: float) -> Fate:
    """What becomes of a row; a share of `long` takes `LONG` times as long as others."""
    draw = random.Random(row.id)
    place = draw.random() * (len(LENGTHS) - 1)
    low = int(place)
    tokens = LENGTHS[low] + (place - low) * (LENGTHS[low + 1] - LENGTHS[low])
    seconds = TOKEN * tokens * (LONG if draw.random() < long else 1.0)
    text = f"question {draw.randrange(100)}" if draw.random() < REPEATED else row.id
    return Fate(seconds, text, "unsound" if draw.random() < REJECTED else None)


@dataclass(frozen=True)
class Seen:
    """What a simulated run came to.

    Attributes:
        rows: accepted and rejected ones, in order.
        hours: simulated.
        busy: share of the engines' time that was worked, as long as there were rows to begin.
        busy_in_all: the same with the end, when the last rows are waited for.
        engines: that there were, those that died included.
        died: how many of them died.
        sent_again: requests that were lost with an engine.
        seconds: of this machine's processor for each row, the simulation included.
    """

    rows: tuple[pa.Table, pa.Table]
    hours: float
    busy: float
    busy_in_all: float
    engines: int
    died: int
    sent_again: int
    seconds: float


def run_on(
    engines: int, *, places: int, rows: int, deaths: float = 0.01, long: float = 0.0, seed: int = 0, folder: Path
) -> Seen:
    """Make so many rows on so many engines, in a run's directory at `folder`."""
    with asyncio.Runner(loop_factory=SimulatedTime) as runner:
        return runner.run(_run_on(Fleet(engines, places, deaths, seed), engines * places, rows, long, seed, folder))


async def _run_on(fleet: Fleet, concurrency: int, rows: int, long: float, seed: int, folder: Path) -> Seen:
    loop, busy, begun = asyncio.get_running_loop(), [(0.0, 0.0)], 0.0
    fleet.start()

    async def method(row: Row) -> Outcome:
        nonlocal begun
        begun = loop.time()
        known = fate(row, long)
        await fleet.answer(known.seconds)
        row.messages = [{"role": "user", "content": known.text}, {"role": "assistant", "content": "an answer"}]
        return Outcome(row, known.reason)

    async def look() -> None:
        while True:
            await asyncio.sleep(LOOK)
            busy.append((loop.time(), fleet.busy()))

    sink = RunDirectory.open(folder, RunRecord("simulated", {"seed": seed}), BASE)
    source = empty_rows("simulated", {"seed": seed}, "a model")
    run = Run(method, source, sink, [], concurrency, Acceptance(sink, rows, Rules(unique=True)))
    beside = [asyncio.ensure_future(fleet.live()), asyncio.ensure_future(look())]
    before = time.process_time()
    await run.go()
    sink.finish()
    seconds = time.process_time() - before
    for task in beside:
        task.cancel()
    return Seen(
        rows=(_table(folder, sink.record.shards), _table(folder / "rejected", sink.record.rejected_shards)),
        hours=loop.time() / 3600,
        busy=next(share for at, share in reversed(busy) if at <= begun),
        busy_in_all=fleet.busy(),
        engines=len(fleet.engines),
        died=sum(not math.isinf(engine.died) for engine in fleet.engines),
        sent_again=fleet.sent_again,
        seconds=seconds / sink.next,
    )


def _table(folder: Path, shards: list[str]) -> pa.Table:
    return pa.Table.from_batches(read_shards(folder, shards))


def main() -> None:
    """Print how busy engines are, for growing numbers of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--places", type=int, default=8, help="requests that an engine works on at once")
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--deaths", type=float, default=0.01, help="share of the engines that die in an hour")
    parser.add_argument("--long", type=float, default=0.0, help=f"share of answers that take {LONG:g} times as long")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print("engines  died  joined  accepted  rejected  lost, sent again  hours   busy  with the end   rows  ms/row")
    for engines in given.engines:
        usual = MEAN * (1 + given.long * (LONG - 1))
        rows = round(engines * given.places * given.hours * 3600 / usual * (1 - REJECTED))
        with tempfile.TemporaryDirectory() as folder:
            settings = {"rows": rows, "long": given.long, "seed": given.seed}
            seen = run_on(engines, places=given.places, deaths=given.deaths, folder=Path(folder, "many"), **settings)
            alone = run_on(1, places=256, deaths=0.0, folder=Path(folder, "one"), **settings)
            equal = all(here.equals(there) for here, there in zip(seen.rows, alone.rows, strict=True))
            accepted, rejected = seen.rows
            print(
                f"{engines:>7,}  {seen.died:>4,}  {seen.engines - engines:>6,}  {accepted.num_rows:>8,}  "
                f"{rejected.num_rows:>8,}  {seen.sent_again:>16,}  {seen.hours:>5.2f}  {seen.busy:>5.1%}  "
                f"{seen.busy_in_all:>12.1%}  {'equal' if equal else 'OTHER'}  {1000 * seen.seconds:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
