"""The server engine against a server that misbehaves in every way we could think of."""

import asyncio
import random
import time
from typing import Any

import pytest

from synth.engines.base import EngineOptions, Sampling
from synth.engines.server import limits, retries
from synth.engines.server.engine import ServerEngine
from synth.errors import RequestError, RunError
from tests.synth.engines.misbehaving import (
    Behaviour,
    Body,
    MisbehavingServer,
    content,
    cut,
    drip,
    drop,
    flood,
    gibberish,
    hang,
    reply,
    slow,
    status,
)
from tests.synth.engines.server.test_pool import until
from tests.synth.engines.serving import IMPATIENT, PROMPT, QUICK, with_engine

pytestmark = pytest.mark.usefixtures("short_waits")


# What one try can suffer.

PASSING: dict[str, Behaviour] = {
    "429": status(429),
    "429 in a moment": status(429, headers="Retry-After: 0\r\n"),
    "429 by a past date": status(429, headers="Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n"),
    "500": status(500, "worker died"),
    "503": status(503, "loading"),
    "hang": hang,
    "cut": cut,
    "drop": drop,
    "drip": drip,
    "flood": flood,
    "not HTTP": gibberish,
    "not JSON": content(b"<html>gateway</html>", headers="Content-Type: text/html\r\n"),
    "half JSON": content(b'{"choices": [{"text": "a'),
    "deep JSON": content(b"[" * 100_000),
    "compressed": content(b"\x1f\x8b\x08abc", headers="Content-Encoding: gzip\r\n"),
    "empty body": content(b""),
    "a list": content([1, 2]),
    "no choices": content({"choices": []}),
    "choices null": content({"choices": None}),
    "choice a string": content({"choices": ["text"]}),
    "no text": content({"choices": [{"text": None, "finish_reason": "stop"}]}),
    "aborted": content({"choices": [{"text": "a", "finish_reason": "abort"}]}),
    "ids not ids": content({"choices": [{"text": "a", "token_ids": ["x", -1], "finish_reason": "stop"}]}),
}


@pytest.mark.parametrize("behaviour", PASSING.values(), ids=PASSING.keys())
def test_a_passing_fault_is_tried_again_and_disturbs_nobody(behaviour: Behaviour, tiny_tokenizer: Any) -> None:
    server = MisbehavingServer()

    async def use(engine: ServerEngine) -> None:
        server.script[7] = [behaviour]
        start = time.monotonic()
        requests = (engine.generate(PROMPT, Sampling(seed=seed)) for seed in range(5, 10))
        completions = await asyncio.gather(*requests)
        assert time.monotonic() - start < 30
        assert [completion.text for [completion] in completions] == [" fine"] * 5
        assert [server.tries(seed) for seed in range(5, 10)] == [1, 1, 2, 1, 1]

    with_engine(server, tiny_tokenizer, use, options=IMPATIENT if behaviour in (hang, drip) else QUICK)


@pytest.mark.parametrize("behaviour", PASSING.values(), ids=PASSING.keys())
def test_a_lasting_fault_of_one_request_is_its_own(behaviour: Behaviour, tiny_tokenizer: Any) -> None:
    server = MisbehavingServer()

    async def use(engine: ServerEngine) -> None:
        server.script[7] = [behaviour] * 3
        with pytest.raises(RequestError, match=r"3 tries failed, the last: .+") as caught:
            await engine.generate(PROMPT, Sampling(seed=7))
        assert len(str(caught.value)) < 400 and str(caught.value).isprintable()
        assert server.tries(7) == 3
        assert (await engine.generate(PROMPT, Sampling(seed=8)))[0].text == " fine"

    with_engine(server, tiny_tokenizer, use, options=IMPATIENT if behaviour in (hang, drip) else QUICK)


def test_retry_after_is_waited_for(tiny_tokenizer: Any) -> None:
    server = MisbehavingServer()

    async def use(engine: ServerEngine) -> None:
        server.script[7] = [status(429, headers="Retry-After: 1\r\n")]
        start = time.monotonic()
        await engine.generate(PROMPT, Sampling(seed=7))
        assert 1.0 <= time.monotonic() - start < 20

    with_engine(server, tiny_tokenizer, use)


def test_an_endless_retry_after_is_not(tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LONGEST_PAUSE", 0.1)
    server = MisbehavingServer()

    async def use(engine: ServerEngine) -> None:
        server.script[7] = [
            status(429, headers="Retry-After: 99999999999999999999\r\n"),
            status(503, headers="Retry-After: Fri, 31 Dec 2999 23:59:59 GMT\r\n"),
        ]
        start = time.monotonic()
        await engine.generate(PROMPT, Sampling(seed=7))
        assert time.monotonic() - start < 20

    with_engine(server, tiny_tokenizer, use)


def test_waits_grow_and_are_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_WAIT", 1.0)
    for attempt, middle in [(0, 1), (1, 2), (2, 4), (3, 8), (4, 16), (5, 30), (500, 30)]:
        waits = [retries.wait_of(attempt) for _ in range(100)]
        assert middle * 0.5 <= min(waits) < middle * 0.8 < middle * 1.2 < max(waits) <= middle * 1.5


# What a request is refused for.


@pytest.mark.parametrize("code", [400, 413, 422, 302])
def test_a_refused_request_is_not_tried_again(code: int, tiny_tokenizer: Any) -> None:
    server = MisbehavingServer()

    async def use(engine: ServerEngine) -> None:
        server.script[7] = [status(code, "too \x1b[31mlong\n\u202e" + "x" * 5000)] * 3
        with pytest.raises(RequestError, match=f"HTTP {code}: too") as caught:
            await engine.generate(PROMPT, Sampling(seed=7))
        assert str(caught.value).isprintable() and len(str(caught.value)) < 380
        assert server.tries(7) == 1

    with_engine(server, tiny_tokenizer, use)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"message": "m1"}}, "m1"),
        ({"error": "m2"}, "m2"),
        ({"message": "m3"}, "m3"),
        ({"detail": [{"loc": "m4"}]}, "m4"),
        (b"m5", "m5"),
        (b"\xff\x00m6", "m6"),
    ],
)
def test_the_servers_own_words_are_in_the_error(body: Any, said: str, tiny_tokenizer: Any) -> None:
    async def refuse(server: MisbehavingServer, writer: asyncio.StreamWriter, request: Body) -> None:
        await reply(writer, body, 400)

    server = MisbehavingServer()

    async def use(engine: ServerEngine) -> None:
        server.script[7] = [refuse]
        with pytest.raises(RequestError, match=said):
            await engine.generate(PROMPT, Sampling(seed=7))

    with_engine(server, tiny_tokenizer, use)


@pytest.mark.parametrize("code", [401, 403, 404])
def test_a_refusal_of_everybody_ends_the_run(code: int, tiny_tokenizer: Any) -> None:
    server = MisbehavingServer()

    async def use(engine: ServerEngine) -> None:
        server.always = status(code, "key expired")
        with pytest.raises(RunError, match=f"refuses requests: HTTP {code}: key expired"):
            await engine.generate(PROMPT, Sampling(seed=7))
        assert server.tries(7) == 1

    with_engine(server, tiny_tokenizer, use)


def test_a_server_gone_for_good_ends_the_run_and_loses_no_row(tiny_tokenizer: Any) -> None:
    server = MisbehavingServer()

    async def use(engine: ServerEngine) -> None:
        await engine.generate(PROMPT, Sampling(seed=7))
        await server.stop()
        requests = (engine.generate(PROMPT, Sampling(seed=seed)) for seed in range(100))
        outcomes = await asyncio.gather(*requests, return_exceptions=True)
        assert all(isinstance(outcome, RunError) for outcome in outcomes)
        with pytest.raises(RunError, match="stopped answering"):
            await engine.generate(PROMPT, Sampling())

    with_engine(server, tiny_tokenizer, use, options=EngineOptions(timeout=5, retries=3, concurrency=32, patience=0.5))


def test_one_bad_row_in_a_while_does_not_end_the_run(tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_WAIT", 0.001)
    server = MisbehavingServer()

    async def use(engine: ServerEngine) -> None:
        for bad in range(1, 100, 20):
            server.script[bad] = [status(500)] * retries.MOST_TRIES
            good = (engine.generate(PROMPT, Sampling(seed=seed)) for seed in range(bad + 1, bad + 20))
            await asyncio.gather(*good)
            with pytest.raises(RequestError):
                await engine.generate(PROMPT, Sampling(seed=bad))

    with_engine(server, tiny_tokenizer, use)


# Many at once, cancelling, closing.


def test_a_storm_is_weathered(tiny_tokenizer: Any) -> None:
    server = MisbehavingServer()
    faults = [status(429), status(500), cut, drop, content(b"junk"), status(503, headers="Retry-After: 0\r\n")]
    dice = random.Random(0)

    async def use(engine: ServerEngine) -> None:
        for seed in range(0, 600, 2):
            server.script[seed] = dice.choices(faults, k=dice.randint(1, 2))
        requests = (engine.generate(PROMPT, Sampling(seed=seed)) for seed in range(600))
        completions = await asyncio.gather(*requests)
        assert [completion.text for [completion] in completions] == [" fine"] * 600
        assert server.most_at_once <= 32
        assert engine.usage.requests == 600 and engine.usage.prompt_tokens == 1800

    with_engine(server, tiny_tokenizer, use, options=EngineOptions(timeout=5, retries=3, concurrency=32))


def test_as_many_at_once_as_asked(tiny_tokenizer: Any) -> None:
    server = MisbehavingServer()

    async def wait_for_the_others(server: MisbehavingServer, writer: asyncio.StreamWriter, body: Body) -> None:
        await until(lambda: server.most_at_once >= 32)
        await slow(0.2)(server, writer, body)

    async def use(engine: ServerEngine) -> None:
        server.always = wait_for_the_others
        await asyncio.gather(*(engine.generate(PROMPT, Sampling()) for _ in range(48)))
        assert server.most_at_once == 32

    with_engine(server, tiny_tokenizer, use, options=EngineOptions(timeout=60, concurrency=32))


def test_connections_are_kept(tiny_tokenizer: Any) -> None:
    server = MisbehavingServer()

    async def use(engine: ServerEngine) -> None:
        for _ in range(10):
            await asyncio.gather(*(engine.generate(PROMPT, Sampling()) for _ in range(20)))
        assert server.connections <= QUICK.concurrency

    with_engine(server, tiny_tokenizer, use)


def test_cancelling_closes_the_request_and_frees_its_place(tiny_tokenizer: Any) -> None:
    server = MisbehavingServer()

    async def use(engine: ServerEngine) -> None:
        for seed in range(1, 40):
            server.script[seed] = [hang]
        tasks = [asyncio.create_task(engine.generate(PROMPT, Sampling(seed=seed))) for seed in range(1, 40)]
        await until(lambda: server.now == 32)
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
        assert (await engine.generate(PROMPT, Sampling(seed=99)))[0].text == " fine"

    with_engine(server, tiny_tokenizer, use, options=EngineOptions(timeout=60, retries=2, concurrency=32))


def test_closing_fails_what_is_under_way(tiny_tokenizer: Any) -> None:
    server = MisbehavingServer()

    async def use(engine: ServerEngine) -> None:
        server.script[7] = [hang]
        task = asyncio.create_task(engine.generate(PROMPT, Sampling(seed=7)))
        await until(lambda: server.tries(7))
        await engine.close()
        with pytest.raises(RunError, match="closed"):
            await asyncio.wait_for(task, 60)

    with_engine(server, tiny_tokenizer, use, options=EngineOptions(timeout=60))
