"""Open the server engine on a misbehaving server, use it, and close both."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from synth.engines.base import EngineOptions
from synth.engines.server.engine import ServerEngine, open_server
from tests.synth.engines.misbehaving import MisbehavingServer

PROMPT = [10, 20, 30]
QUICK = EngineOptions(timeout=10, retries=3, concurrency=32)
"""For servers that are never silent for long, however busy this machine is."""
IMPATIENT = replace(QUICK, timeout=1.0)
"""For those that are."""


def with_engine(
    server: MisbehavingServer,
    tokenizer: Any,
    use: Callable[[ServerEngine], Awaitable[None]],
    *,
    options: EngineOptions = QUICK,
    model: str | None = "tiny",
    beside: Sequence[MisbehavingServer] = (),
) -> None:
    """Run `use` with an engine opened on `server`, and on those `beside` it, all on a loop of their own."""

    async def run() -> None:
        async with AsyncExitStack() as stack:
            for one in (server, *beside):
                await stack.enter_async_context(one)
            urls = [one.url for one in (server, *beside)]
            engine = await open_server(urls, model, tokenizer, options)
            assert isinstance(engine, ServerEngine)
            try:
                await use(engine)
            finally:
                await engine.close()

    asyncio.run(run())
