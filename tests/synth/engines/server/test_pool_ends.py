"""What a pool of servers gives up, and when: tries, requests, servers."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from synth.engines.base import Sampling
from synth.engines.server import members, pool
from synth.engines.server.engine import ServerEngine, open_server
from synth.engines.server.http import TransientError
from synth.engines.server.probe import MARKS
from tests.synth.engines.misbehaving import Body, MisbehavingServer, hang, reply, slow, status
from tests.synth.engines.server.test_pool import EXPECTED, options, rows, server_of, states, until, weights
from tests.synth.engines.serving import PROMPT, with_engine

pytestmark = pytest.mark.usefixtures("short_waits")


def test_a_try_given_up_before_it_began_takes_no_place(tiny_tokenizer: Any) -> None:
    async def use(engine: ServerEngine) -> None:
        [server] = engine._pool._members.servers
        work = [asyncio.ensure_future(engine.generate(PROMPT, Sampling(seed=seed))) for seed in range(1, 17)]
        while not server.tries:
            await asyncio.sleep(0)  # one turn of the loop at a time: the next one would begin them
        for one in list(server.tries):
            one.drop()
        for request in work:
            request.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        async with asyncio.timeout(120):
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

    with_engine(server, tiny_tokenizer, use, options=options(timeout=5.0, concurrency=160))


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


@pytest.mark.parametrize(("model", "answers"), [(None, 200), ("tiny", 404)])
def test_a_server_that_still_loads_its_model_is_waited_for(
    model: str | None, answers: int, tiny_tokenizer: Any
) -> None:
    server = server_of()
    models = server.models

    async def use(engine: ServerEngine) -> None:
        [member] = engine._pool._members.servers
        server.always = slow(0.02)
        work = asyncio.ensure_future(rows(engine))
        await until(lambda: engine.usage.servers[0].requests > 5)
        await server.stop()
        await until(lambda: states(engine) == ["away"])
        server.models = {"data": []}
        server.always = None if answers == 200 else status(answers)
        await server.listen(int(server.url.rpartition(":")[2]))
        await until(lambda: "lists no model" in member.why)
        assert states(engine) == ["away"]
        server.models, server.always = models, None
        assert await work == EXPECTED

    with_engine(server, tiny_tokenizer, use, options=options(patience=60.0), model=model)


@pytest.mark.parametrize("scores", [True, False])
def test_nor_is_it_refused_while_it_is_too_busy_to_score(scores: bool, tiny_tokenizer: Any) -> None:
    def scoring(body: Body) -> Any:
        answer = weights(1.0)(body)
        if scores and "echo" in body:
            answer["choices"][0]["logprobs"]["token_logprobs"] = [None, *[-1.0] * len(body["prompt"])]
        return answer

    async def busy(server: MisbehavingServer, writer: asyncio.StreamWriter, body: Body) -> None:
        if "echo" in body:
            await status(503)(server, writer, body)
        else:
            await reply(writer, server.answer(body))

    server = MisbehavingServer(answer=scoring)

    async def use(engine: ServerEngine) -> None:
        pool_ = engine._pool._members
        assert (pool_.first.dialect.echo is not None) == scores
        server.always = busy
        if scores:
            with pytest.raises(TransientError):
                await pool_._wanted.same(pool_.servers[0].http, pool_.first)
        else:
            await pool_._wanted.same(pool_.servers[0].http, pool_.first)

    with_engine(server, tiny_tokenizer, use, options=options())


# What is asked of a server at the beginning, and of its answers.


def test_one_alone_may_call_its_model_what_it_likes_and_shows_no_marks(tiny_tokenizer: Any) -> None:
    server = MisbehavingServer()
    server.answer = lambda body: weights(1.0)(body) | {"model": f"build {len(server.bodies)}"}

    async def use(engine: ServerEngine) -> None:
        assert engine._pool.first.marks is None
        assert sum("logprobs" in body for body in server.bodies) < MARKS
        assert await rows(engine) == EXPECTED

    with_engine(server, tiny_tokenizer, use, options=options())


def test_all_are_asked_at_once_and_the_first_in_time_is_the_reference(
    tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "HURRY", 3.0)
    servers = [server_of() for _ in range(4)]
    servers[0].always, servers[1].always, servers[2].always = hang, hang, slow(0.02)

    async def use(engine: ServerEngine) -> None:
        assert states(engine)[2] == "well" and states(engine)[:2] == ["new", "new"]
        assert all(server.bodies for server in servers)
        assert engine._pool.first.marks is not None
        assert await rows(engine) == EXPECTED

    with_engine(servers[0], tiny_tokenizer, use, options=options(timeout=60.0), beside=servers[1:])
