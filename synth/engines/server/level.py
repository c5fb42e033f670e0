"""How many requests at once one server takes: found out, as TCP finds out a bandwidth.

The level rises with answers, fast at first and then by a fixed step for each round of them (additive increase). It is
halved (multiplicative decrease) where the server says that it is busy, does not answer in time, or takes twice as long
for a token though no more requests are there; once a round, and never below the number of requests that it was seen to
answer side by side: errors that fall by chance say nothing of how much it can do.
"""

from collections import deque

FIRST = 64
"""Requests at once before anything is known."""
STEPS = 64
"""Rounds in which additive increase goes from nothing to the ceiling; where a server can do less, the step is no more
than the `LEAST_STEPS`-th part of that, but one request at least."""
LEAST_STEPS = 8
DECREASE = 0.5
SLOWER = 2.0
"""How many times as long a token takes where a server has grown slow."""
LEAST_ROUND = 8
SMOOTHING = 0.2
RECENT = 512


class Level:
    """The number of requests that a server is given at once.

    Attributes:
        limit: that number, at least 1.
    """

    def __init__(self, ceiling: int) -> None:
        self.limit = float(min(FIRST, ceiling))
        self._ceiling = float(ceiling)
        self._first_rise = True
        self._cut_at = float("-inf")
        self._recent: deque[tuple[float, float]] = deque(maxlen=RECENT)
        self._round: list[tuple[float, int]] = []
        self._usual: tuple[float, float] | None = None

    def answered(self, sent: float, now: float, tokens: int, beside: int) -> None:
        """Take account of an answer.

        Args:
            sent: when it was asked for, by the clock of the loop in seconds.
            now: when it came.
            tokens: that were worked on.
            beside: how many requests were at the server, this one included.
        """
        self._recent.append((now, now - sent))
        if 2 * beside >= self.limit:  # else more room would be of no use, and nothing is known of it
            step = max(1.0, min(self._ceiling / STEPS, self.limit / LEAST_STEPS))
            self.limit = min(self.limit + (1.0 if self._first_rise else step / self.limit), self._ceiling)
        self._round.append(((now - sent) / max(tokens, 1), beside))
        if len(self._round) >= max(LEAST_ROUND, self.limit):
            self._end_round(sent, now)

    def turned_away(self, sent: float, now: float) -> bool:
        """Take account of an answer that there is no room, as `cut` does.

        One that takes as long as others had a place meanwhile, and was there side by side with them: it is not for want
        of room. One that comes at once was not.
        """
        self._recent.append((now, now - sent))
        return self.cut(sent, now)

    def cut(self, sent: float, now: float) -> bool:
        """Take account of a request that the server had no room or no time for; returns whether the level fell.

        Args:
            sent: when it was sent: one from before the last cut says nothing new.
            now: the time.
        """
        if sent < self._cut_at:
            return False
        lower = max(self.limit * DECREASE, min(self._side_by_side(now), self.limit), 1.0)
        fell = lower < self.limit
        self.limit, self._cut_at, self._first_rise = lower, now, False
        self._round.clear()
        return fell

    def _side_by_side(self, now: float) -> float:
        """How many requests were answered side by side of late: answers a second times the seconds of each."""
        if not self._recent:
            return 0.0
        span = 2 * max(seconds for _, seconds in self._recent)
        while self._recent and self._recent[0][0] < now - span:
            self._recent.popleft()
        if len(self._recent) < 2 or span <= 0:
            return 0.0
        span = min(span, now - self._recent[0][0] + self._recent[0][1])
        return sum(seconds for _, seconds in self._recent) / max(span, 1e-9)

    def _end_round(self, sent: float, now: float) -> None:
        """Compare the seconds of a token with what is usual; more requests side by side may make them longer."""
        pace = sum(pace for pace, _ in self._round) / len(self._round)
        beside = sum(beside for _, beside in self._round) / len(self._round)
        self._round.clear()
        if self._usual is None:
            self._usual = pace, beside
            return
        usual_pace, usual_beside = self._usual
        if pace > SLOWER * usual_pace * max(1.0, beside / usual_beside):
            self.cut(sent, now)
        self._usual = (
            usual_pace + SMOOTHING * (pace - usual_pace),
            usual_beside + SMOOTHING * (beside - usual_beside),
        )
