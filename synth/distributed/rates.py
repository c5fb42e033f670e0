"""How fast a run on Ray is, and how far."""

import time
from typing import TYPE_CHECKING

from synth.progress import clock

if TYPE_CHECKING:
    from synth.distributed.driver import Driver


class Rates:
    """Rates since this process began: rows a second, blocks, and the time left."""

    def __init__(self, driver: "Driver") -> None:
        self._driver = driver
        self._began = time.monotonic()
        self._before = self.goal()[0]
        record = driver.prefix.sink.record
        self._rows, self._tokens = record.accepted, (record.prompt_tokens, record.completion_tokens)

    def goal(self) -> tuple[int, int | None]:
        """How much is done (rows accepted, or all rows), and of how many."""
        driver, found = self._driver, self._driver.prefix.acceptance
        made = len(driver.blocks.finished) * driver.blocks.size + sum(worker.done for worker in driver.busy)
        if found.target is None:
            done = driver.prefix.sink.next + made
            total = driver.blocks.total
            return (done if total is None else min(done, total)), total
        share = (found.accepted + 1) / (found.attempts + 1)
        return min(found.target, found.accepted + int(made * share)), found.target

    def text(self) -> str:
        """What is beside the numbers."""
        driver = self._driver
        seconds = max(time.monotonic() - self._began, 1e-6)
        done, goal = self.goal()
        pace = (done - self._before) / seconds
        left = [f"{clock((goal - done) / pace)} left"] if goal and pace > 0 else []
        record = driver.prefix.sink.record
        actors = f"{driver.ready} of {driver.team.actors} actors"
        return " · ".join([*left, f"{pace:,.1f} rows/s", actors, f"{record.rejected:,} rejected"])

    def closing(self) -> str:
        """The closing line."""
        record = self._driver.prefix.sink.record
        seconds = max(time.monotonic() - self._began, 1e-6)
        rows = record.accepted - self._rows
        into, out = record.prompt_tokens - self._tokens[0], record.completion_tokens - self._tokens[1]
        tokens = f"tokens {into:,} in ({into / seconds:,.0f}/s), {out:,} out ({out / seconds:,.0f}/s)"
        return f"{clock(seconds)}: {rows / seconds:,.1f} rows/s; {tokens}"
