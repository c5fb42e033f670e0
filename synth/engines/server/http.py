"""HTTP to a server that may be busy, broken or hostile: attempts, time and memory are bounded.

One attempt (`Http.once`) ends in an answer, in `PermanentError` (the server refused) or in `TransientError`
(another attempt may succeed). `Http.post` retries, and distinguishes a bad request from a dead server.
"""

import asyncio
import json
import random
import unicodedata
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import httpx

from synth.engines.base import EngineOptions
from synth.errors import RequestError, RunError

FIRST_WAIT = 1.0
"""Seconds before the second try; each further wait is `WAIT_GROWTH` times longer, up to `LONGEST_WAIT`, give or
take half at random. Six tries thus span about 100 s of waiting: a server may restart meanwhile."""
WAIT_GROWTH = 3.0
LONGEST_WAIT = 60.0
LONGEST_RETRY_AFTER = 120.0
"""Most seconds to wait on a server's request (Retry-After)."""
CONNECT_SECONDS = 15.0
TRICKLE_FACTOR = 2.0
"""An answer is cut off after this many times the time-out for silence, however it trickles in."""
DEAD_AFTER = 8
"""Requests in a row that failed at all attempts, after which the server is taken to be down."""
MAX_MESSAGE = 300
MAX_ERROR_BODY = 64 * 1024

REFUSALS_FOR_ALL = frozenset({401, 403, 404})
PASSING_STATUSES = frozenset({408, 425, 429, 502, 503, 504})

T = TypeVar("T")


class PermanentError(Exception):
    """The server answered with a status that another attempt will not change."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"HTTP {status}: {message}" if message else f"HTTP {status}")
        self.status = status


class TransientError(Exception):
    """This attempt failed; another may succeed.

    `status` is that of the answer, None where none came (refused connection, time-out, connection cut).
    `wait`: the seconds that the server asked for (Retry-After).
    """

    def __init__(self, reason: str, *, status: int | None = None, wait: float | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.wait = wait


def printable(text: object, limit: int = MAX_MESSAGE) -> str:
    """A server's text for a message: no control characters, white space collapsed, at most `limit` characters."""
    head = str(text)[: 4 * limit]
    kept = "".join(" " if unicodedata.category(char)[0] in "CZ" else char for char in head)
    folded = " ".join(kept.split())
    return folded if len(folded) <= limit else folded[: limit - 1] + "…"


class Http:
    """Requests to the server at one root URL, at most `options.concurrency` at a time.

    `url` is that URL without a password, for people.
    """

    def __init__(self, url: str, headers: dict[str, str], options: EngineOptions) -> None:
        self.url = str(httpx.URL(url).copy_with(username=None, password=None))
        self._base = url
        self._tries = options.retries
        context = httpx.create_ssl_context()
        # One client per connection: the time httpx spends in a pool grows with the square of its connections.
        # The client used last is taken first, so that few connections are idle for long.
        self._idle: asyncio.LifoQueue[httpx.AsyncClient] = asyncio.LifoQueue()
        self._clients = [
            httpx.AsyncClient(
                # Bodies are read raw so that their size can be bounded: a compressed one could unfold without limit.
                headers={"Accept-Encoding": "identity", **headers},
                verify=context,
                # Below the 5 s after which uvicorn closes idle connections: never write to one it just closed.
                limits=httpx.Limits(max_connections=1, keepalive_expiry=3.0),
            )
            for _ in range(options.concurrency)
        ]
        for client in self._clients:
            self._idle.put_nowait(client)
        self._jitter = random.Random()
        self._lost_in_a_row = 0
        self._ended: str | None = None

    async def close(self) -> None:
        """Close all connections; requests under way fail with RunError."""
        self._ended = f"the connection to {self.url} was closed"
        for client in self._clients:
            await client.aclose()

    async def once(self, method: str, path: str, payload: object = None, *, silence: float) -> Any:
        """One try, as `post` makes several.

        Raises:
            PermanentError: a status that stays (3xx, most of 4xx).
            TransientError: no answer, a cut or over-long one, 408/425/429/5xx, or a body that is not JSON.
        """
        async with self._client() as client:
            return await self._try(client, method, path, payload, silence, max_bytes=1 << 20)

    async def post(self, path: str, payload: object, read: Callable[[Any], T], *, silence: float, max_bytes: int) -> T:
        """Send `payload` until `read` makes something of the answer, at most `options.retries` times.

        Args:
            path: what follows the server's root.
            payload: sent as JSON.
            read: parses the answer; raises Failed where it makes no sense, and the request is sent again.
            silence: seconds without a byte after which a try is given up.
            max_bytes: the largest answer that is read.

        Raises:
            RequestError: the server refused this request, or all tries failed.
            RunError: the server refuses every request (401, 403, 404), or `DEAD_AFTER` requests in a row failed.
        """
        async with self._client() as client:
            for attempt in range(self._tries):
                self._refuse_if_ended()
                try:
                    answer = read(await self._try(client, "POST", path, payload, silence, max_bytes))
                except TransientError as error:
                    failure = error
                except PermanentError as error:
                    self._lost_in_a_row = 0
                    if error.status in REFUSALS_FOR_ALL:
                        raise RunError(f"the server at {self.url} refuses requests: {error}") from error
                    raise RequestError(f"the server refused the request: {error}") from error
                else:
                    self._lost_in_a_row = 0
                    return answer
                self._refuse_if_ended()
                if attempt + 1 < self._tries:
                    await asyncio.sleep(self.wait(attempt, failure.wait))
            raise self._give_up(failure)

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx.AsyncClient]:
        """A client of one's own, waited for in order."""
        client = await self._idle.get()
        try:
            yield client
        finally:
            self._idle.put_nowait(client)

    async def _try(
        self, client: httpx.AsyncClient, method: str, path: str, payload: object, silence: float, max_bytes: int
    ) -> Any:
        """The parsed JSON of a 2xx answer; the connection is closed where it was not read to its end."""
        request = client.build_request(
            method,
            self._base + path,
            json=payload,
            timeout=httpx.Timeout(silence, connect=min(CONNECT_SECONDS, silence), pool=None),
        )
        try:
            async with asyncio.timeout(TRICKLE_FACTOR * silence):
                response = await client.send(request, stream=True)
                try:
                    body = await _read(response, max_bytes if response.is_success else MAX_ERROR_BODY)
                finally:
                    await response.aclose()
        except httpx.ConnectTimeout as error:
            raise TransientError("no connection in time") from error
        except (TimeoutError, httpx.TimeoutException) as error:
            raise TransientError(f"no answer within {silence:.0f} s") from error
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise TransientError(printable(error) or type(error).__name__) from error
        status = response.status_code
        if status in PASSING_STATUSES or status >= 500:
            raise TransientError(f"HTTP {status}: {_message(body)}", status=status, wait=_retry_after(response))
        if not response.is_success:
            raise PermanentError(status, _message(body))
        if len(body) > max_bytes:
            raise TransientError(f"the answer is larger than {max_bytes} bytes", status=status)
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            start = printable(body[:120].decode("utf-8", "replace"))
            raise TransientError(f"the answer is not JSON: {start}", status=status) from error

    def _refuse_if_ended(self) -> None:
        if self._ended:
            raise RunError(self._ended)

    def _give_up(self, failure: TransientError) -> RequestError | RunError:
        self._lost_in_a_row += 1
        lost = f"{self._tries} tries failed, the last: {failure}"
        if self._lost_in_a_row < DEAD_AFTER:
            return RequestError(f"the server did not serve the request: {lost}")
        self._ended = (
            f"the server at {self.url} stopped answering ({self._lost_in_a_row} requests in a row; {lost}); "
            "restart it, then run this again (without `restart`)"
        )
        return RunError(self._ended)

    def wait(self, attempt: int, asked: float | None) -> float:
        """Seconds before the next try, spread so that requests that failed together do not return together."""
        if asked is not None:
            return min(asked, LONGEST_RETRY_AFTER) * self._jitter.uniform(1.0, 1.25)
        return min(FIRST_WAIT * WAIT_GROWTH**attempt, LONGEST_WAIT) * self._jitter.uniform(0.5, 1.5)


async def _read(response: httpx.Response, limit: int) -> bytes:
    """The body, or, where it is longer, somewhat more than its first `limit` bytes."""
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > limit:
            break
    return bytes(body)


def _message(body: bytes) -> str:
    """The message in an error body, in the forms that servers use, else its text."""
    text = body[:MAX_ERROR_BODY].decode("utf-8", "replace")
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return printable(text)
    for key in ("error", "message", "detail"):
        if isinstance(said, dict) and said.get(key):
            said = said[key]
    return printable(said)


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds to wait by the Retry-After header, which holds seconds or a date (RFC 9110, 10.2.3)."""
    asked = response.headers.get("retry-after", "")
    if asked.isdecimal():
        return float(asked[:9])
    try:
        date = parsedate_to_datetime(asked)
    except (ValueError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())
