"""Any number of servers as one: each request goes to the one with the fewest, and is answered once, whatever happens.

A request waits in order until a server has room. A try that fails is made again, elsewhere where that is possible; one
that takes far longer than others gets a second beside it, and the first answer counts. All of it takes place on one
event loop, and what has to be looked at now and then is looked at by one task (`_tend`).
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from synth.engines.base import Usage
from synth.engines.server.addresses import Addresses
from synth.engines.server.http import REFUSALS_FOR_ALL, PermanentError, TransientError
from synth.engines.server.identity import Identity, Wanted
from synth.engines.server.limits import BUSY_STATUSES
from synth.engines.server.member import Server
from synth.engines.server.members import Members
from synth.engines.server.order import Order, Taken, Try
from synth.engines.server.retries import Luck, RetryBudget, wait_of
from synth.engines.server.wire import Reply
from synth.errors import RequestError, RunError

TICK = 0.1
"""Seconds between looks at what time changes: pauses, tries that are overdue, the file of addresses."""
LOOKS = 10
"""Looks between two at the file of addresses."""
OVERDUE = 2.0
"""How many times as long as nearly all others (`NEARLY_ALL`) a try takes where it is overdue."""
OVERDUE_AT_THE_END = 1.2
"""The same where no request waits for a place: a second try then takes room from none."""
NEARLY_ALL = 0.95
SOONEST_OVERDUE = 0.5
KNOWN = 16
"""Answers before it is known how long they take."""
FIRST_BESIDE = 16
"""Before it is known whether that helps, one try in so many may be overdue and have another beside it."""
MOST_TRIES_AT_ONCE = 8
"""Of a request. Each is made when the one before is overdue; where three in ten hang, so many hardly ever all do."""


class Pool:
    """Servers of one model.

    Attributes:
        usage: what they have done.
    """

    def __init__(self, addresses: Addresses, wanted: Wanted, headers: dict[str, str]) -> None:
        options = wanted.options
        self.usage = Usage()
        self._members = Members(addresses, wanted, headers, self.usage)
        self._ceiling, self._tries, self._patience = options.concurrency, options.retries, options.patience
        self._orders: set[Order] = set()
        self._queue: deque[Order] = deque()
        self._later: list[tuple[float, Order]] = []
        self._load = 0
        self._luck, self._budget = Luck(options.retries), RetryBudget(options.concurrency)
        self._seconds: deque[float] = deque(maxlen=256)
        self._beside = max(2, options.concurrency // FIRST_BESIDE)
        self._trouble: float | None = None
        self._last_failure = "no answer"
        self._ended: str | None = None
        self._tending: asyncio.Task[None] | None = None

    async def open(self) -> Server:
        """Find the first server, and begin to look after all of them; returns the first.

        Raises:
            UsageError: no server can be used.
        """
        self._loop = asyncio.get_running_loop()
        first = await self._members.open(self._dispatch)
        self._tending = asyncio.ensure_future(self._tend())
        self._tending.add_done_callback(self._on_tended)
        return first

    @property
    def first(self) -> Identity:
        """What the first server runs, and so all of them."""
        return self._members.first

    async def send(
        self, body: dict[str, Any], read: Callable[[Reply], Taken], *, silence: float, max_bytes: int
    ) -> Any:
        """Have a request answered by a server.

        Args:
            body: its JSON, without the model's name.
            read: makes something of an answer; see `Order`.
            silence: seconds without a byte after which a try is given up.
            max_bytes: the largest answer that is read.

        Returns:
            The value that `read` made.

        Raises:
            RequestError: servers refuse this request, or fail at it alone.
            RunError: no server is left.
        """
        if self._ended:
            raise RunError(self._ended)
        order = Order(body, read, silence, max_bytes, self._loop.create_future())
        self._orders.add(order)
        self._enqueue(order)
        self._dispatch()
        try:
            return await order.done
        finally:
            self._orders.discard(order)
            for one in order.tries:
                one.drop()

    async def close(self) -> None:
        """Close all connections; requests under way fail with RunError."""
        urls = ", ".join(server.http.url for server in self._members.servers[:3])
        self._end(f"the connection to {urls} was closed")
        if self._tending is not None:
            self._tending.cancel()
        tasks = [one.task for server in self._members.servers for one in server.tries if one.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._members.close()

    # Which server is given what.

    def _enqueue(self, order: Order, *, first: bool = False) -> None:
        """Have an order tried as soon as there is room: before all others where it was tried before."""
        if not order.waiting:
            order.waiting = True
            (self._queue.appendleft if first else self._queue.append)(order)

    def _dispatch(self) -> None:
        """Give waiting requests to servers, as long as there is room."""
        elsewhere = []  # orders for which only those have room that refused them
        while self._queue and self._load < self._ceiling:
            now = self._loop.time()
            free = [server for server in self._members.servers if server.takes_one(now)]
            if not free:
                break
            order = self._queue.popleft()
            server = None if order.done.done() else self._choose(order, free)
            if server is None and not order.done.done():
                elsewhere.append(order)
                continue
            order.waiting = False
            if server is not None and not self._given_up(order):
                self._start(order, server)
        self._queue.extendleft(reversed(elsewhere))

    def _choose(self, order: Order, free: list[Server]) -> Server | None:
        """The server with the fewest requests among those with room, if possible one that has not failed this one.

        One that refused it is asked again only where there is no other; None where others have no room.
        """
        if order.refused and self._others(order):
            free = [server for server in free if server not in order.refused]
        there = {one.server for one in order.tries}
        failed = {server for server, _ in order.failures}
        return min(free, key=lambda server: (server in there, server in failed, len(server.tries)), default=None)

    def _others(self, order: Order) -> bool:
        """Whether there are servers that have not refused an order, and take it now or soon."""
        there = (server for server in self._members.servers if server.state in ("well", "doubted"))
        return any(server not in order.refused for server in there)

    def _start(self, order: Order, server: Server) -> None:
        one = Try(order, server, self._loop.time())
        order.tries.add(one)
        server.add(one)
        self._load += 1
        one.task = self._loop.create_task(self._make(one))
        one.task.add_done_callback(lambda _: self._ended_try(one))  # also where it is given up before it has begun

    async def _make(self, one: Try) -> None:
        """Make a try to its end."""
        order = one.order
        try:
            self._answered(one, await one.server.ask(order))
        except TransientError as error:
            self._failed(one, error)
        except PermanentError as error:
            if error.status in REFUSALS_FOR_ALL:
                self._no_access(one, error)
            else:
                self._refused(one, RequestError(f"the server refused the request: {error}"))
        except RequestError as error:
            self._refused(one, error)
        except Exception as error:
            order.fail(error)

    def _ended_try(self, one: Try) -> None:
        self._remove(one)
        self._dispatch()

    def _remove(self, one: Try) -> None:
        """A try has ended: its place is free."""
        if one in one.server.tries:
            self._load -= not one.overdue
            one.server.remove(one, self._loop.time())
        one.order.tries.discard(one)

    # What becomes of a try.

    def _answered(self, one: Try, taken: Taken) -> None:
        order, now = one.order, self._loop.time()
        one.server.answered(one, taken, now)
        self._trouble = None
        self._budget.answered()
        self._seconds.append(now - one.sent)
        if order.done.done():
            return
        if not order.failures:
            self._luck.tried(failed=False)
        order.done.set_result(taken.value)
        self.usage.prompt_tokens += taken.prompt_tokens
        self.usage.completion_tokens += taken.completion_tokens
        for server in order.refused:  # a good request, as it turns out
            self._count_against(server, "it refuses requests that others take")
        self._judge_overdue(one, now)

    def _judge_overdue(self, one: Try, now: float) -> None:
        """Learn from which of several tries was first, and give up the others."""
        others = [other for other in one.order.tries if other is not one]
        if one.overdue:
            self._beside = max(1, self._beside // 2)
        for other in others:
            if other.overdue and not one.overdue:
                self._beside += 1
                if other.server.last_answer < other.sent:
                    other.server.level.cut(other.sent, now)
                self._count_against(other.server, "it is silent, or far slower than the others")
            other.drop()

    def _failed(self, one: Try, error: TransientError) -> None:
        order, server, now = one.order, one.server, self._loop.time()
        if self._trouble is None:
            self._trouble = now
        if not order.failures:
            order.first_failed = True
            self._luck.tried(failed=True)
        order.failures.append((server, one.sent))
        order.last, self._last_failure = error, str(error)
        busy = error.late or error.status in BUSY_STATUSES
        if error.late:
            server.level.cut(one.sent, now)
        elif busy:
            server.level.turned_away(one.sent, now)
        if error.wait is not None:
            server.pause(error.wait, now)
        server.usage.errors += 1
        if not (busy and len(server.tries) > 1):  # with others there, there is no more than no room
            self._count_failure(server, str(error))
        self._remove(one)
        self._again(order)

    def _no_access(self, one: Try, error: PermanentError) -> None:
        """The server refuses everybody: it is left out, and another is asked."""
        one.server.usage.errors += 1
        self._members.refuse(one.server, f"the server at {one.server.http.url} refuses requests: {error}")
        self._remove(one)
        self._enqueue(one.order, first=True)
        self._end_if_lost()

    def _refused(self, one: Try, error: RequestError) -> None:
        """The server takes the request for a wrong one; that is so if a second one does, or there is none."""
        order = one.order
        if one.server not in order.refused:
            order.refused.append(one.server)
        if len(order.refused) > 1 or not self._others(order):
            self._trouble = None
            order.fail(error)
            return
        self._remove(one)
        self._enqueue(order, first=True)

    def _count_against(self, server: Server, why: str) -> None:
        server.usage.errors += 1
        self._count_failure(server, why)

    def _count_failure(self, server: Server, why: str) -> None:
        server.failures += 1
        if server.failures >= max(self._tries, server.load):  # more than chance may have gathered in what is there
            self._members.doubt(server, why)

    def _again(self, order: Order) -> None:
        """Queue a request whose try failed, unless another try of it is under way."""
        if order.tries or order.waiting or order.done.done() or self._given_up(order):
            return
        failed = {server for server, _ in order.failures}
        now = self._loop.time()
        others = any(server.takes_one(now) for server in self._members.servers if server not in failed)
        wait = 0.0 if others else wait_of(min(len(order.failures) - 1, 2))
        if not self._budget.take():
            wait = max(wait, 1.0)
        if not wait:
            self._enqueue(order, first=True)
        else:
            order.waiting = True
            self._later.append((now + wait, order))

    def _given_up(self, order: Order) -> bool:
        """Fail a request that failed more often than chance would have it, at servers that answer others."""
        if not order.failures:
            return False
        if order.failures_of_its_own() < self._luck.enough(own_first=order.first_failed):
            return False
        self._trouble = None
        order.fail(order.lost())
        return True

    # What time changes.

    async def _tend(self) -> None:
        look = 0
        while True:
            await asyncio.sleep(TICK)
            look += 1
            if look % LOOKS == 0:
                self._members.refresh()
                await self._members.let_go()
            now = self._loop.time()
            self._budget.passed(TICK)
            due = [order for at, order in self._later if at <= now]
            if due:
                self._later = [(at, order) for at, order in self._later if at > now]
                self._queue.extendleft(reversed(due))
            self._make_beside(now)
            self._dispatch()
            self._end_if_lost()

    def _on_tended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._end(f"the pool of servers broke down: {type(error).__name__}: {error}")

    def _make_beside(self, now: float) -> None:
        """Make a second try of requests that take far longer than others: a server may hang, or have lost them."""
        if len(self._seconds) < KNOWN:
            return
        running = [one for server in self._members.servers for one in server.tries]
        allowed = self._beside - sum(one.overdue for one in running)
        if allowed <= 0:
            return
        usual = sorted(self._seconds)[int(NEARLY_ALL * (len(self._seconds) - 1))]
        limit = max((OVERDUE if self._queue else OVERDUE_AT_THE_END) * usual, SOONEST_OVERDUE)
        late = [one for one in running if not one.overdue and now - one.sent > limit]
        late = [one for one in late if len(one.order.tries) < MOST_TRIES_AT_ONCE]  # else they are left to time out
        for one in sorted(late, key=lambda one: one.sent)[:allowed]:
            if one.order.done.done() or not self._budget.take():
                continue
            one.server.put_off(one)
            self._load -= 1
            self._enqueue(one.order, first=True)

    def _end_if_lost(self) -> None:
        """End the run where no server has answered for `patience` seconds, or all refuse to."""
        if all(order.done.done() for order in self._orders):
            self._trouble = None  # nobody waits
            return
        if any(server.tries for server in self._members.servers):
            return
        now = self._loop.time()
        if self._trouble is None:
            self._trouble = now
        left_out = [server for server in self._members.servers if server.state != "left"]
        why = "; ".join(server.why or self._last_failure for server in left_out[:3])
        if self._members.all_refused():
            self._end(f"{why}; mend that, then run this again (without `restart`)")
        elif now - self._trouble > self._patience:
            one = f"the server at {left_out[0].http.url}" if len(left_out) == 1 else f"all {len(left_out)} servers"
            self._end(
                f"{one} stopped answering {now - self._trouble:.0f} s ago ({why}); start one again, then run this "
                "again (without `restart`)"
            )

    def _end(self, why: str) -> None:
        """Fail everything that waits, and whatever comes."""
        self._ended = self._ended or why
        for order in list(self._orders):
            order.fail(RunError(self._ended))
