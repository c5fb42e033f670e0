"""One server of a pool: its address, what it runs, how it is doing, and how much it is given."""

import asyncio
import random
from typing import Literal

from synth.engines.base import ServerUsage
from synth.engines.server.http import Http, TransientError, printable
from synth.engines.server.identity import Identity
from synth.engines.server.level import Level
from synth.engines.server.order import Order, Taken, Try
from synth.engines.server.wire import read_reply

State = Literal["new", "well", "doubted", "away", "refused", "left"]
"""Not yet looked at; gets requests; is asked whether it is there; does not answer; runs something else, or gives no
access; is no longer among the addresses."""


class Server:
    """One server.

    Attributes:
        root: its address.
        http: the way to it.
        usage: what it has done.
        identity: what it runs; None before it was looked at.
        level: how many requests it is given at once.
        tries: those under way there.
        load: how many of them are not overdue.
        failures: tries that failed since the last answer.
        setbacks: how often it was left out since the last answer.
        last_answer: when it answered anything, by the loop's clock in seconds.
        why: the reason for which it is left out.
        check: the task that looks, or last looked, whether it may be used.
    """

    def __init__(self, root: str, headers: dict[str, str], ceiling: int, *, alone: bool) -> None:
        self.root = root
        self._alone = alone  # then its answers may call the model what they like, as a gateway's do
        self.http = Http(root, headers)
        self.usage = ServerUsage(self.http.url)
        self.identity: Identity | None = None
        self.level = Level(ceiling)
        self.tries: set[Try] = set()
        self.load = 0
        self.failures = 0
        self.setbacks = 0
        self.last_answer = float("-inf")
        self.why = ""
        self.check: asyncio.Task[None] | None = None
        self._ceiling = ceiling
        self._paused_until = float("-inf")
        self._busy_since = 0.0

    @property
    def state(self) -> State:
        """How it is doing."""
        return self.usage.state  # type: ignore[return-value] # only `enter` sets it

    def enter(self, state: State, why: str = "") -> None:
        """Change its state."""
        if state == "well" and self.state in ("away", "refused"):
            self.level = Level(self._ceiling)  # what it could do before says nothing of what it can do now
        self.usage.state, self.why = state, why
        if state == "well":
            self.failures = 0

    def takes_one(self, now: float) -> bool:
        """Whether it may be given a further request now."""
        return self.usage.state == "well" and self.load < self.level.limit and now >= self._paused_until

    def pause(self, seconds: float, now: float) -> None:
        """Send nothing for that long, and a little longer, as it asked for."""
        self._paused_until = max(self._paused_until, now + seconds * random.uniform(1.0, 1.25))

    def add(self, one: Try) -> None:
        """A try is under way."""
        if not self.tries:
            self._busy_since = one.sent
        self.tries.add(one)
        self.load += 1

    def put_off(self, one: Try) -> None:
        """A try is overdue: another is made beside it, and it takes no place any more."""
        one.overdue = True
        self.load -= 1

    def remove(self, one: Try, now: float) -> None:
        """A try has ended."""
        self.tries.discard(one)
        self.load -= not one.overdue
        if not self.tries:
            self.usage.seconds += now - self._busy_since

    async def ask(self, order: Order) -> Taken:
        """Send an order, and read the answer.

        Raises:
            TransientError: the try failed.
            PermanentError, RequestError: the server takes the request for a wrong one, or answered another.
        """
        assert self.identity is not None
        body = order.body | {"model": self.identity.card.id}
        answer = await self.http.once("POST", "/v1/completions", body, silence=order.silence, max_bytes=order.max_bytes)
        if answer.wait is not None:
            self.pause(answer.wait, asyncio.get_running_loop().time())
        reply = read_reply(answer.body)
        names = {reply.model, self.identity.says}
        if not self._alone and len(names) > 1 and None not in names:
            raise TransientError(f"the answer is of the model {printable(reply.model, 80)!r}", status=200)
        return order.read(reply)

    def answered(self, one: Try, taken: Taken, now: float) -> None:
        """Take account of an answer."""
        self.failures = self.setbacks = 0
        self.last_answer = now
        self.usage.seconds += now - self._busy_since
        self._busy_since = now
        tokens = taken.completion_tokens or taken.prompt_tokens
        self.level.answered(one.sent, now, tokens, self.load)
        self.usage.requests += 1
        self.usage.prompt_tokens += taken.prompt_tokens
        self.usage.completion_tokens += taken.completion_tokens
