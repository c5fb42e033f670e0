"""What a pool of servers gives up, and when: tries, requests, servers."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from synth.engines.base import Sampling
from synth.engines.server import pool
from synth.engines.server.engine import ServerEngine, open_server
from tests.synth.engines.misbehaving import Body, MisbehavingServer, hang, status
from tests.synth.engines.server.test_pool import EXPECTED, options, rows, server_of, states, until
from tests.synth.engines.serving import PROMPT, with_engine

pytestmark = pytest.mark.usefixtures("short_waits")


def test_a_try_given_up_before_it_began_takes_no_place(tiny_tokenizer: Any) -> None:
    async def use(engine: ServerEngine) -> None:
        [server] = engine._pool._members.servers
        work = [asyncio.ensure_future(engine.generate(PROMPT, Sampling(seed=seed))) for seed in range(1, 17)]
        await until(lambda: server.tries)
        for one in list(server.tries):
            one.drop()
        for request in work:
            request.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        async with asyncio.timeout(20):
            assert await rows(engine) == EXPECTED
        assert (engine._pool._load, server.load, server.tries) == (0, 0, set())

    with_engine(server_of(), tiny_tokenizer, use, options=options())


def test_a_request_that_always_hangs_times_out(tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "SOONEST_OVERDUE", 0.05)
    server = server_of()

    async def use(engine: ServerEngine) -> None:
        assert await rows(engine) == EXPECTED
        engine._pool._seconds.extend([0.01] * 256)  # however slow this machine is
        server.script[999] = [hang] * 100
        request = asyncio.ensure_future(engine.generate(PROMPT, Sampling(seed=999)))
        await until(lambda: engine.usage.servers[0].errors)
        assert pool.MOST_TRIES_AT_ONCE <= server.tries(999) <= pool.MOST_TRIES_AT_ONCE + 1
        request.cancel()

    with_engine(server, tiny_tokenizer, use, options=options(timeout=3.0, concurrency=96))


def test_one_that_left_the_file_stays_away_whatever_it_still_answers(
    tiny_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "LOOKS", 1)
    file = tmp_path / "servers.txt"

    async def run() -> None:
        gone = asyncio.Event()

        async def refuse_then(server: MisbehavingServer, writer: asyncio.StreamWriter, body: Body) -> None:
            await gone.wait()
            await status(403)(server, writer, body)

        async with server_of() as first, server_of() as second:
            file.write_text(f"{first.url}\n{second.url}")
            engine = await open_server(str(file), "tiny", tiny_tokenizer, options())
            assert isinstance(engine, ServerEngine)
            await until(lambda: states(engine) == ["well", "well"])
            first.always = refuse_then
            work = asyncio.ensure_future(rows(engine))
            await until(lambda: first.now)
            file.write_text(second.url)
            await until(lambda: states(engine) == ["left", "well"])
            gone.set()
            assert await work == EXPECTED
            await until(lambda: len(engine._pool._members.servers) == 1)
            assert states(engine) == ["left", "well"]
            await engine.close()

    asyncio.run(run())
