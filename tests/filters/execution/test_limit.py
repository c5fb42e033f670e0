"""A program that computes has its processor time, one that waits has the clock's."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from filters.execution.limit import PATIENCE, TimeLimit

SECONDS = 0.4
SPINS = "while True: pass"
SLEEPS = "import time; time.sleep(60)"


@contextmanager
def running(*programs: str) -> Iterator[list[int]]:
    """Processes that all run on one processor."""
    one = min(os.sched_getaffinity(0))
    started = [
        subprocess.Popen([sys.executable, "-I", "-S", "-c", program], preexec_fn=lambda: os.sched_setaffinity(0, {one}))
        for program in programs
    ]
    try:
        yield [process.pid for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()


def used_up(limit: TimeLimit) -> float:
    """Seconds by the clock until the limit says that it is over."""
    began = time.monotonic()
    while left := limit.left():
        time.sleep(min(left, 0.05))
    return time.monotonic() - began


def test_what_waits_is_late_by_the_clock() -> None:
    with running(SLEEPS) as (process,):
        limit = TimeLimit(SECONDS)
        limit.counts(process)
        assert SECONDS <= used_up(limit) < PATIENCE * SECONDS


def test_what_computes_on_a_busy_machine_has_more_time_by_the_clock() -> None:
    with running(*[SPINS] * 6) as (process, *_):
        limit = TimeLimit(SECONDS)
        limit.counts(process)
        assert SECONDS < used_up(limit) < 2 * PATIENCE * SECONDS


def test_time_of_ended_processes_counts() -> None:
    limit = TimeLimit(0.01)
    with running(SPINS) as (process,):
        limit.counts(process)
        limit.ended(process, 0.02)
        time.sleep(0.02)
        assert limit.left() == 0.0
