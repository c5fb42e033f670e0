"""HTTP to one server that may be busy, broken or hostile: the time and the memory of a try are bounded.

One try ends in an answer, in `PermanentError` (the server refused) or in `TransientError` (another try may succeed).
"""

import asyncio
import json
import ssl
import unicodedata
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

import httpx

from synth.engines.server.limits import pause_asked

CONNECT_SECONDS = 15.0
TRICKLE_FACTOR = 2.0
"""An answer is cut off after this many times the time-out for silence, however it trickles in."""
MAX_MESSAGE = 300
MAX_ERROR_BODY = 64 * 1024
LARGEST_LOOKUP = 1 << 22
"""Bytes of an answer to a question about the server."""

REFUSALS_FOR_ALL = frozenset({401, 403, 404})
PASSING_STATUSES = frozenset({408, 425, 429, 502, 503, 504, 529})


class PermanentError(Exception):
    """The server answered with a status that another attempt will not change."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"HTTP {status}: {message}" if message else f"HTTP {status}")
        self.status = status


class TransientError(Exception):
    """This attempt failed; another may succeed.

    `status` is that of the answer, None where none came (refused connection, time-out, connection cut); `late` is
    whether it did not come in time. `wait`: the seconds that the server wants to be left alone.
    """

    def __init__(
        self, reason: str, *, status: int | None = None, wait: float | None = None, late: bool = False
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.wait = wait
        self.late = late


class Answer(NamedTuple):
    """The JSON of a 2xx answer, and the seconds for which the server wants no further request, where it says so."""

    body: Any
    wait: float | None


def printable(text: object, limit: int = MAX_MESSAGE) -> str:
    """A server's text for a message: no control characters, white space collapsed, at most `limit` characters."""
    head = str(text)[: 4 * limit]
    kept = "".join(" " if unicodedata.category(char)[0] in "CZ" else char for char in head)
    folded = " ".join(kept.split())
    return folded if len(folded) <= limit else folded[: limit - 1] + "…"


def shown_url(url: str) -> str:
    """An address without its password, for people."""
    return str(httpx.URL(url).copy_with(username=None, password=None))


class Http:
    """Requests to the server at one root URL. `url` is that URL without a password, for people."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self.url = shown_url(url)
        self._base = url
        # Bodies are read raw so that their size can be bounded: a compressed one could unfold without limit.
        self._headers = {"Accept-Encoding": "identity", **headers}
        # One client per connection: the time httpx spends in a pool grows with the square of its connections.
        # The client used last is taken first, so that few connections are idle for long.
        self._idle: list[httpx.AsyncClient] = []
        self._clients: set[httpx.AsyncClient] = set()
        self._closing: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*map(_closed, self._clients), *self._closing)

    async def once(
        self, method: str, path: str, payload: object = None, *, silence: float, max_bytes: int = LARGEST_LOOKUP
    ) -> Answer:
        """One try.

        Args:
            method: GET or POST.
            path: what follows the server's root.
            payload: sent as JSON.
            silence: seconds without a byte after which the try is given up.
            max_bytes: the largest answer that is read.

        Raises:
            PermanentError: a status that stays (3xx, most of 4xx).
            TransientError: no answer, a cut or over-long one, 408/425/429/5xx, or a body that is not JSON.
        """
        response, body = await self._try(method, path, payload, silence, max_bytes)
        try:
            return Answer(json.loads(body), pause_asked(response.headers, turned_away=False))
        except (ValueError, RecursionError) as error:
            start = printable(body[:120].decode("utf-8", "replace"))
            raise TransientError(f"the answer is not JSON: {start}", status=response.status_code) from error

    async def text(self, path: str, *, silence: float) -> str:
        """One try to read what is no JSON; raises as `once` does."""
        _, body = await self._try("GET", path, None, silence, LARGEST_LOOKUP)
        return body.decode("utf-8", "replace")

    async def _try(
        self, method: str, path: str, payload: object, silence: float, max_bytes: int
    ) -> tuple[httpx.Response, bytes]:
        """The body of a 2xx answer; the connection is closed where it was not read to its end."""
        client = self._idle.pop() if self._idle else self._connection()
        try:
            response, body = await self._exchange(client, method, path, payload, silence, max_bytes)
        except BaseException:
            # httpx may take the connection of a request that was given up for busy, and have the next one wait for it.
            self._clients.remove(client)
            closing = asyncio.ensure_future(_closed(client))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            raise
        self._idle.append(client)
        status = response.status_code
        if status in PASSING_STATUSES or status >= 500:
            wait = pause_asked(response.headers, turned_away=True)
            raise TransientError(f"HTTP {status}: {_message(body)}", status=status, wait=wait)
        if not response.is_success:
            raise PermanentError(status, _message(body))
        if len(body) > max_bytes:
            raise TransientError(f"the answer is larger than {max_bytes} bytes", status=status)
        return response, body

    async def _exchange(
        self, client: httpx.AsyncClient, method: str, path: str, payload: object, silence: float, max_bytes: int
    ) -> tuple[httpx.Response, bytes]:
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
                    return response, await _read(response, max_bytes if response.is_success else MAX_ERROR_BODY)
                finally:
                    await response.aclose()
        except httpx.ConnectTimeout as error:
            raise TransientError("no connection in time", late=True) from error
        except (TimeoutError, httpx.TimeoutException) as error:
            raise TransientError(f"no answer within {silence:.0f} s", late=True) from error
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise TransientError(printable(error) or type(error).__name__) from error

    def _connection(self) -> httpx.AsyncClient:
        client = httpx.AsyncClient(
            headers=self._headers,
            verify=_certificates(),
            # Below the 5 s after which uvicorn closes idle connections: never write to one it just closed.
            limits=httpx.Limits(max_connections=1, keepalive_expiry=3.0),
        )
        self._clients.add(client)
        return client


async def _closed(client: httpx.AsyncClient) -> None:
    with suppress(Exception):  # of a connection that is broken already
        await client.aclose()


@cache
def _certificates() -> ssl.SSLContext:
    """What certificates are checked against; reading them takes a while."""
    return httpx.create_ssl_context()


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
