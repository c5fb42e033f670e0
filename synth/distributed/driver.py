"""The driver: hands blocks of a run to actors as they finish others, and joins what they make, as far as it reaches.

Ray starts actors, places them and starts them anew when they die. What is done is decided by the directories of blocks
alone, so actors, machines and the driver itself may die at any moment: a block goes on from its journal, in another
actor or at the next call.
"""

import heapq
import importlib
import math
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from synth.distributed.actor import EngineActor, Workplace
from synth.distributed.blocks import Blocks, Prefix
from synth.distributed.cluster import Pulse
from synth.distributed.rates import Rates
from synth.errors import BusyError, RunError, Stopped, SynthError, UsageError
from synth.progress import Progress
from synth.stop import Stop

TRIES = 3
"""Times that a block may fail or end its actor, and be no further than before, until the run ends; and that an actor
may die before it is ready."""
PATIENCE = 60.0
"""Seconds without an actor that is ready after which the driver says what they wait for; and in which an actor that
died has to be there again."""
CPUS = 0.1
"""Of an actor, as Ray counts them."""
GLANCE = 0.5
"""Seconds after which the driver looks up where nothing finishes."""
STOP_SECONDS = 10.0
"""An actor that does not answer a request to stop within this time is ended."""


@dataclass(frozen=True, slots=True)
class Team:
    """The actors of a run.

    Attributes:
        actors: how many.
        gpus: GPUs of each.
        call: what they call, packed.
        workplace: where.
    """

    actors: int
    gpus: int
    call: bytes
    workplace: Workplace


@dataclass(slots=True)
class _Worker:
    """An actor as the driver sees it.

    Attributes:
        number: counted from 1.
        handle: Ray's, of it.
        call: what it makes blocks by, packed, in Ray's store of objects.
        task: what it was asked and has not answered; None where it waits for a block.
        block: the number of the block that it is making.
        host: its machine; empty until it is ready.
        report: a question how far it is, that it has not answered.
        done: rows of its block, as it last said.
        since: when it was asked to be ready, in seconds of a clock.
    """

    number: int
    handle: Any
    call: Any
    task: Any = None
    block: int | None = None
    host: str = ""
    report: Any = None
    done: int = 0
    since: float = 0.0

    def start(self) -> None:
        """Have it begin, or begin anew."""
        self.block, self.host, self.report, self.done = None, "", None, 0
        self.since = time.monotonic()
        self.ask_ready()

    def ask_ready(self) -> None:
        """Have it say when it is ready, though it may die before."""
        self.task = self.handle.ready.options(max_task_retries=TRIES - 1).remote(self.call)


@dataclass(slots=True)
class Driver:
    """One run on Ray.

    Attributes:
        team: the actors.
        blocks: what they make.
        prefix: what is joined of it.
        progress: is told how it goes.
    """

    team: Team
    blocks: Blocks
    prefix: Prefix
    progress: Progress
    ray: Any = field(default_factory=lambda: importlib.import_module("ray"))
    _workers: list[_Worker] = field(default_factory=list)
    _number: int = 0
    _again: list[int] = field(default_factory=list)
    _tries: dict[int, tuple[int, int]] = field(default_factory=dict)
    _makers: dict[int, _Worker] = field(default_factory=dict)
    _joined: list[int] = field(default_factory=list)
    _requests: int = 0
    _told: bool = False
    _made: bool = False
    _began: float = field(default_factory=time.monotonic)

    def go(self, title: str) -> str:
        """Make and join blocks until the run is complete, or a stop is requested.

        Returns:
            How long it took, and how fast it was.

        Raises:
            UsageError: an actor cannot work: a model that is not there, a machine without the directory of blocks.
            RunError: a block failed `TRIES` times, the disk did, no actor can work any more, or Ray has ended.
        """
        stop, rates, pulse = Stop(), Rates(self), Pulse(self.ray)
        try:
            with stop.on_signals(), stop.answered_by(self._answer), self.progress.meter(title) as meter:
                self._join()
                if not self.prefix.complete:
                    self._start()
                while not self._ended():
                    self._hand_out()
                    self._collect()
                    self._join()
                    self._listen()
                    self._say_waiting()
                    pulse.check()
                    meter.show(*rates.goal(), rates.text())
        finally:
            for worker in self._workers:
                self.ray.kill(worker.handle)
        return rates.closing()

    @property
    def stopping(self) -> bool:
        """Whether a person has requested a stop."""
        return self._requests > 0

    @property
    def busy(self) -> list[_Worker]:
        """The actors that are making a block."""
        return [worker for worker in self._workers if worker.block is not None]

    @property
    def ready(self) -> int:
        """How many actors have been placed and are alive."""
        return sum(bool(worker.host) for worker in self._workers)

    def _start(self) -> None:
        team, call = self.team, self.ray.put(self.team.call)
        actor = self.ray.remote(EngineActor).options(
            num_cpus=CPUS,  # a whole one each would leave none for anything else on a small machine
            num_gpus=team.gpus,
            max_restarts=-1,
            max_task_retries=0,
            max_concurrency=3,  # a block, and questions meanwhile
            scheduling_strategy="SPREAD",
        )
        for number in range(1, team.actors + 1):
            worker = _Worker(number, actor.remote(team.workplace), call)
            self._workers.append(worker)
            worker.start()

    def _ended(self) -> bool:
        return self.prefix.complete or self._requests > 1 or (self.stopping and not self.busy)

    def _answer(self) -> None:
        """Note a request to stop: the first finishes the rows in flight, the second abandons them."""
        self._requests += 1
        if self._requests == 1:
            self.progress.say("finishing the rows in flight; once more to abandon them")

    def _hand_out(self) -> None:
        """Give blocks to the actors that wait for one; or, after a request, tell all to stop, once."""
        if self.stopping:
            for worker in self.busy if not self._told else []:
                self._stop(worker)
            self._told = True
            return
        for worker in self._workers:
            if worker.task is None and (number := self._next()) is not None:
                worker.block, worker.done = number, 0
                self._makers[number] = worker
                worker.task = worker.handle.make.remote(self.blocks.shard(number))

    def _stop(self, worker: _Worker) -> None:
        with suppress(self.ray.exceptions.RayError):  # it is dead, or does not answer
            if self.ray.get(worker.handle.stop.remote(), timeout=STOP_SECONDS):
                return
        self.ray.kill(worker.handle)  # it has no row in flight
        worker.task = worker.block = None

    def _next(self) -> int | None:
        """The next block to be made; None where none is needed."""
        if self._again:
            return heapq.heappop(self._again)
        self._number = max(self._number, self.prefix.block)
        while self._number in self.blocks.finished:
            self._number += 1
        last = self.blocks.last
        if last is not None and self._number > last:
            return None
        if self._number > self.prefix.block and self._suffices():  # without the one that is to be joined next none is
            return None
        self._number += 1
        return self._number - 1

    def _suffices(self) -> bool:
        """Whether what is made and being made is likely to have all rows wanted, less one standard deviation.

        Waiting for certainty would leave actors idle at the end.
        """
        found = self.prefix.acceptance
        if found.target is None:
            return False
        rows = (len(self.blocks.finished) + len(self.busy) + len(self._again)) * self.blocks.size
        share = (found.accepted + 1) / (found.attempts + 1)
        return found.accepted + rows * share - math.sqrt(rows * share * max(0.0, 1 - share)) >= found.target

    def _collect(self) -> None:
        """Take what actors have answered meanwhile."""
        asked = {worker.task: worker for worker in self._workers if worker.task is not None}
        if not asked:
            time.sleep(GLANCE)
            return
        for task in self.ray.wait(list(asked), num_returns=1, timeout=GLANCE)[0]:
            self._take(asked[task], task)

    def _take(self, worker: _Worker, task: Any) -> None:
        number = worker.block
        try:
            answer = self.ray.get(task)
        except self.ray.exceptions.RayError as error:
            starting = isinstance(error, self.ray.exceptions.ActorUnavailableError)
            if number is None and starting and time.monotonic() - worker.since < PATIENCE:
                time.sleep(GLANCE)
                worker.ask_ready()  # Ray starts it anew, as it does one that was killed
                return
            if number is None:
                self._leave_out(worker, UsageError(f"`ray`: an actor cannot start: {_last_line(error)}"))
                return
            self._failed(worker, number, f"actor {worker.number} died")
            return
        worker.task = worker.block = None
        if number is None:
            if isinstance(answer, SynthError):
                self._leave_out(worker, answer)
            else:
                worker.host = answer
        elif answer is None:
            self.blocks.finished.add(number)
            self._made = True
        elif isinstance(answer, Stopped) and self.stopping:
            heapq.heappush(self._again, number)
        elif isinstance(answer, RunError):
            self.ray.kill(worker.handle, no_restart=False)  # its engine may be what failed: it gets another one
            self._failed(worker, number, f"actor {worker.number}: {answer}")
        elif isinstance(answer, BusyError):
            self.progress.say(f"block {number} waits for another process that is writing it still: {answer}")
            heapq.heappush(self._again, number)
        elif isinstance(answer, UsageError):  # where blocks were made the settings are right: it is its machine
            heapq.heappush(self._again, number)
            self._leave_out(worker, answer)
        else:
            raise answer

    def _leave_out(self, worker: _Worker, why: SynthError) -> None:
        """Go on without an actor that cannot work, unless none can.

        Raises:
            UsageError: no block has been made yet: it is what all would say.
            RunError: there is no other actor.
        """
        self.ray.kill(worker.handle)
        self._workers.remove(worker)
        if not self._made:
            raise why
        if not self._workers:
            raise RunError(f"no actor can work any more: {why}. What was finished is kept")
        self.progress.say(f"actor {worker.number} is left out: {why}")

    def _say_waiting(self) -> None:
        """Say, once, what actors wait for where none is ready for long: in the beginning, or when all have died."""
        if self.ready:
            self._began = time.monotonic()
        elif time.monotonic() - self._began > PATIENCE:
            self._began = math.inf
            free = self.ray.available_resources()
            there = f"{free.get('CPU', 0):g} CPUs and {free.get('GPU', 0):g} GPUs are free"
            self.progress.say(f"no actor is ready: each takes {CPUS} CPU and {self.team.gpus} GPUs, and {there}")

    def _failed(self, worker: _Worker, number: int, why: str) -> None:
        """Have a block made again, and its actor start anew.

        Raises:
            RunError: the block has failed `TRIES` times, and no row of it was finished between.
        """
        done, tries = self._tries.get(number, (0, 0))
        self._tries[number] = done, tries = max(done, worker.done), 1 if worker.done > done else tries + 1
        if tries == TRIES:
            raise RunError(f"block {number} failed {TRIES} times: {why}. What was finished is kept")
        self.progress.say(f"{why}; it starts anew, and block {number} goes on from its journal")
        heapq.heappush(self._again, number)
        worker.start()

    def _join(self) -> None:
        """Take the blocks that come next, and remove those whose rows have landed."""
        prefix, blocks = self.prefix, self.blocks
        while prefix.block in blocks.finished and not prefix.complete:
            number = prefix.block
            maker = self._makers.pop(number, None)
            prefix.take(blocks.part(number), f"actor {maker.number} on {maker.host}" if maker else "actors before")
            blocks.finished.discard(number)
            self._joined.append(number)
        while self._joined and self._joined[0] * blocks.size <= prefix.sink.record.next:
            blocks.remove(self._joined.pop(0))

    def _listen(self) -> None:
        """Hear from actors how far they are, and what the first says until it has a row."""
        for worker in self.busy:
            if worker.report is not None and self.ray.wait([worker.report], timeout=0)[0]:
                with suppress(self.ray.exceptions.RayError):  # it died: its block will say so
                    worker.done, lines = self.ray.get(worker.report)
                    for line in lines if worker.number == 1 else []:
                        self.progress.say(f"actor 1: {line}")
                worker.report = None
            if worker.report is None:
                worker.report = worker.handle.report.remote()


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:500] if lines else type(error).__name__
