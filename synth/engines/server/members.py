"""Which servers a pool has: found at its opening, checked when they join, left out and tried again when they fail."""

import asyncio
from collections.abc import Callable

from synth.engines.base import Usage
from synth.engines.server.addresses import Addresses
from synth.engines.server.http import PermanentError, TransientError
from synth.engines.server.identity import API_KEYS, Identity, Wanted
from synth.engines.server.limits import BUSY_STATUSES
from synth.engines.server.member import Server, State
from synth.engines.server.probe import Probe
from synth.engines.server.retries import wait_of
from synth.errors import SynthError, UsageError

HURRY = 20.0
"""Seconds that several servers have to be found out, before those are waited for that hang."""
SIGN_OF_LIFE = 30.0
"""Seconds in which a server that is doubted must complete one token."""


class Members:
    """The servers of a pool.

    Attributes:
        servers: all that are among the addresses, and those that were and still have requests.
        first: what the first server runs, and so all of them.
        addresses: where they are.
    """

    def __init__(self, addresses: Addresses, wanted: Wanted, headers: dict[str, str], usage: Usage) -> None:
        self.addresses = addresses
        self.servers: list[Server] = []
        self._wanted, self._headers, self._usage = wanted, headers, usage
        self._ceiling = wanted.options.concurrency
        self._say = wanted.options.say
        self._first: Identity | None = None
        self._reading: asyncio.Task[None] | None = None
        self._on_join: Callable[[], None] = lambda: None

    @property
    def first(self) -> Identity:
        """What the first server runs, and so all of them."""
        assert self._first is not None
        return self._first

    async def open(self, on_join: Callable[[], None]) -> Server:
        """Find the first server that can be used, with which the others are compared; they join when they are checked.

        Args:
            on_join: called whenever a server may be used.

        Raises:
            UsageError: none can be used.
        """
        self._on_join = on_join
        self._take_addresses()
        marks = self.addresses.several
        finding = {one: asyncio.ensure_future(self._wanted.find(one.http, marks=marks)) for one in self.servers}
        try:
            server, self._first = await self._first_of(finding)
        finally:
            for task in finding.values():
                task.cancel()
            await asyncio.gather(*finding.values(), return_exceptions=True)
        self._join(server, self._first)
        for other in self.servers:
            if other is not server:
                self._check(other)
        return server

    async def _first_of(self, finding: "dict[Server, asyncio.Task[Identity]]") -> tuple[Server, Identity]:
        """The first in order that can be used and is found out in time, else the first of those that are late."""
        faults: dict[Server, UsageError] = {}
        in_time = asyncio.get_running_loop().time() + HURRY if len(finding) > 1 else None
        for limit in (in_time, None):
            for server, task in finding.items():
                if server in faults:
                    continue
                try:
                    async with asyncio.timeout_at(limit):
                        return server, await asyncio.shield(task)
                except TimeoutError:
                    continue
                except (UsageError, PermanentError, TransientError) as error:
                    faults[server] = _told(server, error)
        if len(faults) == 1:
            raise next(iter(faults.values()))
        reasons = "; ".join(str(fault) for fault in list(faults.values())[:3])
        raise UsageError(f"none of the {len(faults)} servers can be used: {reasons}{'; …' if len(faults) > 3 else ''}")

    def refresh(self) -> None:
        """Have the addresses read again where they have changed: new servers join, those gone get no more requests.

        Nothing waits for that: they may lie in a store that answers late.
        """
        if self.addresses.file is not None and (self._reading is None or self._reading.done()):
            self._reading = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        try:
            if not await asyncio.to_thread(self.addresses.changed):
                return
        except SynthError as error:
            self._say(f"{error}; the servers stay as they are")
            return
        for server in self._take_addresses():
            self._check(server)
        for server in self.servers:
            if server.root not in self.addresses.roots and server.state != "left":
                self._say(f"server {server.http.url} is no longer in {self.addresses.file}: it gets no more requests")
                self._stop_check(server)
                server.enter("left")

    def doubt(self, server: Server, why: str) -> None:
        """Give a server that failed again and again no request before it has given a sign of life."""
        if server.state == "well":
            server.enter("doubted", why)
            self._check(server)

    def refuse(self, server: Server, why: str) -> None:
        """Leave a server out that gives no access, until it does."""
        if server.state not in ("refused", "left"):
            self._leave_out(server, "refused", why)
            if server.check is None or server.check.done():
                self._check(server, waits=True)

    async def let_go(self) -> None:
        """Close the connections to servers that have left and have answered what they had."""
        for server in [server for server in self.servers if server.state == "left" and not server.tries]:
            self.servers.remove(server)
            await server.http.close()

    def all_refused(self) -> bool:
        """Whether every server runs something else or gives no access, so that waiting for them is of no use."""
        return all(server.state in ("refused", "left") for server in self.servers) and self.addresses.file is None

    async def close(self) -> None:
        """End all checks, and close all connections."""
        checks = [server.check for server in self.servers if server.check is not None]
        for server in self.servers:
            self._stop_check(server)
        if self._reading is not None:
            self._reading.cancel()
            checks.append(self._reading)
        await asyncio.gather(*checks, return_exceptions=True)
        for server in self.servers:
            await server.http.close()

    def _take_addresses(self) -> list[Server]:
        """Servers for addresses that have none; one that left comes back as another."""
        known = {server.root for server in self.servers if server.state != "left"}
        alone = not self.addresses.several
        roots = [root for root in self.addresses.roots if root not in known]
        fresh = [Server(root, self._headers, self._ceiling, alone=alone) for root in roots]
        self.servers += fresh
        self._usage.servers += [server.usage for server in fresh]
        return fresh

    def _check(self, server: Server, *, waits: bool = False) -> None:
        server.check = asyncio.ensure_future(self._checked(server, waits))

    def _stop_check(self, server: Server) -> None:
        if server.check is not None:
            server.check.cancel()

    async def _checked(self, server: Server, waits: bool) -> None:
        """Look whether a server may be used, again and again at growing waits, until it may."""
        while True:
            if waits or server.setbacks:
                await asyncio.sleep(wait_of(server.setbacks))
            server.setbacks += 1
            try:
                if server.state == "doubted" and server.identity is not None:
                    await self._sign_of_life(server, server.identity)
                    identity = server.identity
                else:
                    identity = await self._wanted.same(server.http, self.first)
            except TransientError as error:
                if error.status in BUSY_STATUSES and server.state == "doubted":
                    continue  # it is there, and what it runs need not be looked at again
                self._leave_out(server, "away", str(error))
            except (UsageError, PermanentError) as error:
                self._leave_out(server, "refused", str(error))
            else:
                self._join(server, identity)
                return

    async def _sign_of_life(self, server: Server, identity: Identity) -> None:
        options = self._wanted.options
        probe = Probe(server.http, identity.card.id, self._wanted.tokenizer, min(options.timeout, SIGN_OF_LIFE))
        await probe.alive(identity.dialect)

    def _join(self, server: Server, identity: Identity) -> None:
        if server.state in ("away", "refused"):
            self._say(f"server {server.http.url} is used again")
        elif server.state == "new" and identity is not self._first:
            self._say(f"server {server.http.url} is used, too")
        server.identity = identity
        server.last_answer = asyncio.get_running_loop().time()
        server.enter("well")
        self._on_join()

    def _leave_out(self, server: Server, state: State, why: str) -> None:
        """Leave a server out; it is said once for each time, or reason of a refusal."""
        if server.state not in ("away", "refused") or (state == "refused" and server.why != why):
            named = why if server.http.url in why else f"the server at {server.http.url}: {why}"
            self._say(f"{named}; it is left out" + ("" if state == "refused" else ", and tried again and again"))
        server.enter(state, why)


def _told(server: Server, error: UsageError | PermanentError | TransientError) -> UsageError:
    """What is wrong with a server at the beginning, and how to mend it."""
    if isinstance(error, UsageError):
        return error
    if isinstance(error, TransientError):
        return UsageError(
            f"the server at {server.http.url} does not answer ({error}): is it running, and is the address right?"
        )
    if error.status in (401, 403):
        return UsageError(
            f"the server at {server.http.url} gives no access ({error}): "
            f"set `api_key` or the environment variable {' or '.join(API_KEYS)}"
        )
    return UsageError(
        f"the server at {server.http.url} is not an OpenAI-compatible server, or not at this address ({error})"
    )
