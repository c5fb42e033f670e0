"""One request to a pool of servers, and the tries that are made of it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from synth.engines.server.http import TransientError
from synth.engines.server.wire import Reply
from synth.errors import RequestError

if TYPE_CHECKING:
    from synth.engines.server.member import Server


class Taken(NamedTuple):
    """What was made of an answer, and the tokens that it counts for."""

    value: Any
    prompt_tokens: int
    completion_tokens: int


@dataclass(eq=False, slots=True)
class Order:
    """A request that is to be answered once, by whichever server.

    Attributes:
        body: the JSON of it, without the model's name.
        read: makes something of an answer; raises TransientError where it makes no sense, RequestError where it is an
            answer to another request.
        silence: seconds without a byte after which a try is given up.
        max_bytes: the largest answer that is read.
        done: its outcome.
        tries: those under way.
        failures: where and when tries were sent that failed.
        refused: servers that took the request for a wrong one.
        last: why the last try failed.
        first_failed: whether the very first try did.
        waiting: whether it is about to be tried, for the first time or once more.
    """

    body: dict[str, Any]
    read: Callable[[Reply], Taken]
    silence: float
    max_bytes: int
    done: "asyncio.Future[Any]"
    tries: "set[Try]" = field(default_factory=set)
    failures: "list[tuple[Server, float]]" = field(default_factory=list)
    refused: "list[Server]" = field(default_factory=list)
    last: TransientError | None = None
    first_failed: bool = False
    waiting: bool = False

    def fail(self, error: BaseException) -> None:
        """End it with an error, unless it has ended."""
        if not self.done.done():
            self.done.set_exception(error)

    def lost(self) -> RequestError:
        """The error of a request that servers cannot serve, though they serve others."""
        return RequestError(
            f"the server did not serve the request: {len(self.failures)} tries failed, the last: {self.last}"
        )

    def failures_of_its_own(self) -> int:
        """How many tries failed at servers that were not down, for they answered something afterwards."""
        return sum(server.last_answer > sent for server, sent in self.failures)


@dataclass(eq=False, slots=True)
class Try:
    """An order at a server.

    Attributes:
        order: what was sent.
        server: where to.
        sent: when, by the loop's clock in seconds.
        overdue: whether it takes so long that another try was made beside it.
        task: waits for the answer.
    """

    order: Order
    server: "Server"
    sent: float
    overdue: bool = False
    task: "asyncio.Task[None] | None" = None

    def drop(self) -> None:
        """Give it up: the connection is closed, by which most servers know that nobody waits."""
        if self.task is not None:
            self.task.cancel()
