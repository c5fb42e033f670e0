"""A real HTTP server with an OpenAI-compatible face that misbehaves as told, for testing what talks to servers.

It answers every completion request properly, except those whose `seed` has a script: these get one behaviour of
the script after the other, and a proper answer when it is used up.
"""

import asyncio
import contextlib
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

Body = dict[str, Any]
Behaviour = Callable[["MisbehavingServer", asyncio.StreamWriter, Body], Awaitable[None]]

REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}


class MisbehavingServer:
    """`async with MisbehavingServer() as server`: listens at `server.url` on the loop that is running.

    Args:
        answer: makes the JSON of a proper answer to a completion request; by default `answer_text(" fine")`.
        refuse: status and message for a request that the server does not take, None for one it does.
        models: the JSON of `/v1/models`, or the status with which it is refused.
        key: the API key that it wants.
        metrics: the text of `/metrics`, where it has them.
    """

    def __init__(
        self,
        *,
        answer: Callable[[Body], Any] | None = None,
        refuse: Callable[[Body], tuple[int, str] | None] = lambda body: None,
        models: Any = None,
        key: str | None = None,
        metrics: str | None = None,
    ) -> None:
        self.answer = answer or answer_text(" fine")
        self.refuse = refuse
        self.models = models or {"data": [{"id": "tiny", "max_model_len": 512}]}
        self.key = key
        self.metrics = metrics
        self.script: dict[int, list[Behaviour]] = defaultdict(list)
        self.always: Behaviour | None = None
        self.bodies: list[Body] = []
        self.connections = 0
        self.cut_off = 0
        self.now = 0
        self.most_at_once = 0
        self.url = ""
        self._tasks: set[asyncio.Task[None]] = set()

    def tries(self, seed: int) -> int:
        """How often the request with this seed was sent."""
        return sum(body.get("seed") == seed for body in self.bodies)

    async def __aenter__(self) -> Self:
        await self.listen()
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def listen(self, port: int = 0) -> None:
        """Listen at a port; again, where it had stopped."""
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", port, limit=1 << 24)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Stop listening and cut every connection."""
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while not writer.is_closing():
                await self._request(reader, writer)
        except asyncio.IncompleteReadError:
            pass
        except (ConnectionError, asyncio.CancelledError):
            self.cut_off += 1
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        content = await reader.readexactly(int(headers.get("content-length", 0)))
        if self.key and headers.get("authorization") != f"Bearer {self.key}":
            await reply(writer, {"error": {"message": "wrong key"}}, status=401)
        elif " /v1/models " in line:
            if isinstance(self.models, int):
                await reply(writer, {}, status=self.models)
            else:
                await reply(writer, self.models)
        elif " /metrics " in line and self.metrics is not None:
            await reply(writer, self.metrics.encode())
        elif " /v1/completions " in line:
            body = json.loads(content)
            self.bodies.append(body)
            self.now += 1
            self.most_at_once = max(self.most_at_once, self.now)
            try:
                await self._complete(writer, body)
            finally:
                self.now -= 1
        else:
            await reply(writer, {"detail": "Not Found"}, status=404)

    async def _complete(self, writer: asyncio.StreamWriter, body: Body) -> None:
        script = self.script[body.get("seed", 0)]
        if script or self.always:
            behave = script.pop(0) if script else self.always
            assert behave is not None
            await behave(self, writer, body)
        elif refusal := self.refuse(body):
            await reply(writer, {"error": {"message": refusal[1]}}, status=refusal[0])
        else:
            await asyncio.sleep(0.001)
            await reply(writer, self.answer(body))


def answer_text(text: str, **fields: Any) -> Callable[[Body], Any]:
    """A proper answer: `n` times `text`, with further fields of each choice."""

    def answer(body: Body) -> Any:
        prompt = body["prompt"]
        choice = {"text": text, "finish_reason": "stop"} | fields
        usage = {"prompt_tokens": len(prompt)} if isinstance(prompt, list) else {}
        return {"choices": [choice] * body.get("n", 1), "usage": usage}

    return answer


def strict(*, ids: bool, extensions: bool) -> Callable[[Body], tuple[int, str] | None]:
    """A `refuse` for a server that may take no token ids, and may refuse fields that OpenAI does not have."""

    def refuse(body: Body) -> tuple[int, str] | None:
        if not ids and not isinstance(body["prompt"], str):
            return 422, "prompt must be a string"
        if not extensions and set(body) & {"return_token_ids", "top_k", "stop_token_ids", "ignore_eos"}:
            return 400, "unknown field"
        return None

    return refuse


async def reply(writer: asyncio.StreamWriter, body: Any, status: int = 200, headers: str = "") -> None:
    """Answer with JSON, or with `body` as it is where it is bytes."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    reason = REASONS.get(status, "Some Status")
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Length: {len(content)}\r\n{headers}\r\n"
    writer.write(head.encode() + content)
    await writer.drain()


def status(code: int, message: Any = "no", headers: str = "") -> Behaviour:
    """An error status with a message."""

    async def behave(server: MisbehavingServer, writer: asyncio.StreamWriter, body: Body) -> None:
        await reply(writer, {"error": {"message": message}}, code, headers)

    return behave


def content(body: Any, headers: str = "") -> Behaviour:
    """Status 200 with this content."""

    async def behave(server: MisbehavingServer, writer: asyncio.StreamWriter, request: Body) -> None:
        await reply(writer, body, headers=headers)

    return behave


def slow(seconds: float) -> Behaviour:
    """A proper answer, late."""

    async def behave(server: MisbehavingServer, writer: asyncio.StreamWriter, body: Body) -> None:
        await asyncio.sleep(seconds)
        await reply(writer, server.answer(body))

    return behave


async def hang(server: MisbehavingServer, writer: asyncio.StreamWriter, body: Body) -> None:
    """Never answer."""
    await asyncio.sleep(3600)


async def cut(server: MisbehavingServer, writer: asyncio.StreamWriter, body: Body) -> None:
    """Promise a body and cut the connection in the middle of it."""
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{"choices": [{"te')
    await writer.drain()
    writer.close()


async def drop(server: MisbehavingServer, writer: asyncio.StreamWriter, body: Body) -> None:
    """Cut the connection without a word."""
    writer.close()


async def drip(server: MisbehavingServer, writer: asyncio.StreamWriter, body: Body) -> None:
    """Send white space for ever, never silent for long."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


async def flood(server: MisbehavingServer, writer: asyncio.StreamWriter, body: Body) -> None:
    """Send as much as the other side takes; the kernel's buffers bound what is on its way."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunk = b'{"choices": [' + b"9," * 50_000
    for _ in range(40_000):
        writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        await writer.drain()


async def gibberish(server: MisbehavingServer, writer: asyncio.StreamWriter, body: Body) -> None:
    """Something that is not HTTP."""
    writer.write(b"\x00\xff\x1b[31mhello\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        await writer.drain()
    writer.close()
