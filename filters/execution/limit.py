"""How long a program may take: by its own processor time where it computes, by the clock where it waits.

The clock alone would make right programs late on a busy machine; processor time alone would wait for ever for one that
sleeps.
"""

import time

PATIENCE = 4
"""Times the limit that may pass by the clock, however busy the machine is."""

SHARE = 0.05
"""Of a processor: a program that gets less for a while is taken for one that waits."""

STEP = 0.5
"""Seconds after which is looked whether a program that has had its time by the clock still computes."""


class TimeLimit:
    """The time of a program, which may be several processes, at the same time or one after the other."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._began = time.monotonic()
        self._running: list[int] = []
        self._ended = 0.0
        self._looked = self._used = 0.0  # when that was, since the beginning; what processor time had been used then

    def counts(self, process: int) -> None:
        """The time of this process counts from now on."""
        self._running.append(process)

    def ended(self, process: int, seconds: float) -> None:
        """A process has ended, which used so much processor time in all."""
        self._running.remove(process)
        self._ended += seconds

    @property
    def used_up(self) -> bool:
        """Whether processes that have ended used all of its processor time."""
        return self._ended >= self._seconds

    def left(self) -> float:
        """Seconds that it certainly has still; 0 once its time is over."""
        passed = time.monotonic() - self._began
        if passed < self._seconds:
            return self._seconds - passed
        if self._looked and passed - self._looked < STEP:
            return STEP - (passed - self._looked)
        used = self._ended + sum(map(_processor_time, self._running))
        computes = used - self._used >= SHARE * (passed - self._looked)
        if not computes or used >= self._seconds or passed >= PATIENCE * self._seconds:
            return 0.0
        self._looked, self._used = passed, used
        return STEP


def _processor_time(process: int) -> float:
    """Seconds of all its threads. The number of a process' clock is made of its own, as `clock_getcpuclockid` does."""
    try:
        return time.clock_gettime((~process << 3) | 2)
    except OSError:
        return 0.0
