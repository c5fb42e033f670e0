"""When a request is sent again, and when it is given up."""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import httpx

from synth.engines.server.http import PASSING_STATUSES, TransientError

FIRST_WAIT = 0.2
"""Seconds before a request, or a check of a server, is tried again; each further wait is twice as long, up to
`LONGEST_WAIT`, give or take half at random, so that what failed together does not return together."""
LONGEST_WAIT = 30.0
CHANCE = 1e-9
"""A request is given up when chance alone would lose fewer than this share of requests by as many failures."""
MOST_TRIES = 200
MEMORY = 0.995
"""Share that the record of first tries keeps at each further one."""
QUESTION_TRIES = 6
"""Of a question about a server: one that fails one in three is understood all the same."""
FIRST_SILENCES = (5.0, 30.0)
"""Seconds after which such a question is asked again, before it is given all its time: an answer may be lost."""

T = TypeVar("T")


def wait_of(attempt: int) -> float:
    """Seconds before the next try; `attempt` counts those that failed, from 0 on."""
    return min(FIRST_WAIT * 2.0 ** min(attempt, 30), LONGEST_WAIT) * random.uniform(0.5, 1.5)


async def insisted(ask: Callable[[float], Awaitable[T]], silence: float) -> T:
    """The answer to a question about a server, which is asked again where that may help.

    Args:
        ask: one try, with the seconds of silence after which it is given up.
        silence: the most of them.

    Raises:
        TransientError: nothing listens there, or no try was answered.
        PermanentError: as `ask`.
    """
    silences = [*(seconds for seconds in FIRST_SILENCES if seconds < silence), silence]
    for attempt in range(QUESTION_TRIES):
        try:
            return await ask(silences[0])
        except TransientError as error:
            failure = error
        if failure.late:
            silences.pop(0)
        if not silences or isinstance(failure.__cause__, httpx.ConnectError | httpx.ConnectTimeout):
            break
        if not failure.late and attempt + 1 < QUESTION_TRIES:
            busy = failure.status in PASSING_STATUSES
            await asyncio.sleep(wait_of(attempt if busy else 0) if failure.wait is None else failure.wait)
    raise failure


class RetryBudget:
    """Allows about as many further tries as there are answers, so that tries never multiply the load.

    A try takes one from it, an answer adds one, and so does every second.
    """

    def __init__(self, most: int) -> None:
        self._most = float(max(most, 16))
        self._left = self._most

    def answered(self) -> None:
        """Add what an answer is worth."""
        self._left = min(self._left + 1.0, self._most)

    def passed(self, seconds: float) -> None:
        """Add what time is worth."""
        self._left = min(self._left + seconds, self._most)

    def take(self) -> bool:
        """Take one, if there is one."""
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Luck:
    """How often first tries fail, from which follows how many failures of one request are more than bad luck.

    A server that fails three in ten does so whatever it is asked: no request may be lost to that. One that fails a
    single request again and again, and answers all others, cannot serve that one.
    """

    def __init__(self, tries: int) -> None:
        """`tries` is the least number of failures with which a request is given up."""
        self._tries = tries
        self._failed = self._made = 0.0

    def tried(self, *, failed: bool) -> None:
        """Take account of a request's first try."""
        self._failed = MEMORY * self._failed + failed
        self._made = MEMORY * self._made + 1.0

    def enough(self, *, own_first: bool) -> int:
        """With how many failures a request is given up; `own_first` is whether its own first try is on record."""
        made, failed = self._made - own_first, self._failed - own_first
        share = max(failed, 0.0) / made if made > 0.5 else 0.0
        if share < 1e-3:
            return self._tries
        chance = math.ceil(math.log(CHANCE) / math.log(share)) if share < 0.9 else MOST_TRIES
        return max(self._tries, min(chance, MOST_TRIES))
