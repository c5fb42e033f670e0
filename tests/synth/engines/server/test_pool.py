"""Several servers as one engine: who joins, who is left out, and that no row is lost to any of them."""

import asyncio
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from synth.engines.base import EngineOptions, Sampling
from synth.engines.server import pool
from synth.engines.server.engine import ServerEngine, open_server
from synth.errors import RequestError, RunError
from tests.synth.engines.misbehaving import (
    Behaviour,
    Body,
    MisbehavingServer,
    answer_text,
    content,
    cut,
    drop,
    hang,
    slow,
    status,
    strict,
)
from tests.synth.engines.serving import PROMPT, with_engine

pytestmark = pytest.mark.usefixtures("short_waits")

ROWS = 80


def weights(number: float) -> Callable[[Body], Any]:
    """What a server with these weights answers: its log-probabilities and its texts depend on them and on the seed."""

    def answer(body: Body) -> Any:
        logprobs = None
        if "logprobs" in body:
            top = -number - len(body["prompt"]) / 100
            logprobs = {"token_logprobs": [top], "top_logprobs": [{"a": top}]}
        text = f" {number} {body.get('seed', 0)}"
        return answer_text(text, logprobs=logprobs)(body) | {"model": body["model"]}

    return answer


def server_of(number: float = 1.0, **settings: Any) -> MisbehavingServer:
    return MisbehavingServer(answer=weights(number), **settings)


def options(told: list[str] | None = None, **settings: Any) -> EngineOptions:
    def say(line: str) -> None:
        if told is not None:
            told.append(line)

    return EngineOptions(**({"timeout": 5.0, "concurrency": 16, "patience": 5.0} | settings), say=say)


async def until(condition: Callable[[], Any]) -> None:
    """Wait for what comes to be, and stays: it is looked for every now and then."""
    async with asyncio.timeout(120):
        while not condition():
            await asyncio.sleep(0.01)


async def rows(engine: ServerEngine, count: int = ROWS) -> list[str]:
    answers = await asyncio.gather(*(engine.generate(PROMPT, Sampling(seed=seed)) for seed in range(1, count + 1)))
    return [completion.text for [completion] in answers]


EXPECTED = [f" 1.0 {seed}" for seed in range(1, ROWS + 1)]


def states(engine: ServerEngine) -> list[str]:
    return [server.state for server in engine.usage.servers]


def test_the_work_is_shared_and_the_rows_are_those_of_one(tiny_tokenizer: Any) -> None:
    servers = [server_of() for _ in range(3)]
    told: list[str] = []

    async def use(engine: ServerEngine) -> None:
        await until(lambda: states(engine) == ["well"] * 3)
        for server in servers:
            server.always = slow(0.05)
        assert await rows(engine) == EXPECTED
        assert all(ROWS / 6 < usage.requests < ROWS / 2 for usage in engine.usage.servers)
        assert sum(usage.prompt_tokens for usage in engine.usage.servers) == engine.usage.prompt_tokens == 3 * ROWS
        assert sum(server.most_at_once for server in servers) <= 18  # 16 of requests; those of the checks beside
        assert [line.partition(" is ")[2] for line in told] == ["used, too"] * 2

    with_engine(servers[0], tiny_tokenizer, use, options=options(told), beside=servers[1:])


# Who may join.


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (server_of(1.2), "other weights"),
        (server_of(models={"data": [{"id": "another", "max_model_len": 512}]}), "runs another, the first server tiny"),
        (server_of(models={"data": [{"id": "tiny", "max_model_len": 100}]}), "give `max_length` 100"),
        (server_of(refuse=strict(ids=False, extensions=True)), "does not take the requests"),
        (MisbehavingServer(answer=answer_text("x")), "other weights"),
        (server_of(key="secret"), "401"),
    ],
    ids=["weights", "name", "window", "dialect", "no logprobs", "key"],
)
def test_a_server_that_runs_something_else_is_left_out_in_one_line(
    other: MisbehavingServer, said: str, tiny_tokenizer: Any
) -> None:
    told: list[str] = []

    async def use(engine: ServerEngine) -> None:
        await until(lambda: states(engine) == ["well", "refused"])
        assert await rows(engine) == EXPECTED
        assert len(told) == 1 and said in told[0] and told[0].endswith("it is left out") and "\n" not in told[0]
        assert engine.usage.servers[1].requests == 0

    with_engine(server_of(), tiny_tokenizer, use, options=options(told), beside=[other])


def test_rounding_is_no_other_model(tiny_tokenizer: Any) -> None:
    async def use(engine: ServerEngine) -> None:
        await until(lambda: states(engine) == ["well", "well"])

    with_engine(server_of(), tiny_tokenizer, use, options=options(), beside=[server_of(1.01)])


def test_the_first_that_answers_is_the_one_that_counts(tiny_tokenizer: Any) -> None:
    told: list[str] = []

    async def run() -> None:
        async with server_of() as server:
            engine = await open_server(["http://127.0.0.1:9", server.url], "tiny", tiny_tokenizer, options(told))
            assert isinstance(engine, ServerEngine)
            assert engine.usage.servers[0].state in ("new", "away") and engine.usage.servers[1].state == "well"
            assert await rows(engine) == EXPECTED
            await engine.close()
        assert "tried again" in told[0]

    asyncio.run(run())


# Who is left out meanwhile.


def test_a_server_that_goes_is_left_out_and_used_again_when_it_is_back(tiny_tokenizer: Any) -> None:
    first, second = server_of(), server_of()
    told: list[str] = []

    async def use(engine: ServerEngine) -> None:
        await until(lambda: states(engine) == ["well", "well"])
        first.always = second.always = slow(0.02)
        work = asyncio.ensure_future(rows(engine))
        await until(lambda: engine.usage.servers[1].requests > 5)
        port = int(second.url.rpartition(":")[2])
        await second.stop()
        assert await work == EXPECTED
        await until(lambda: states(engine) == ["well", "away"])
        await second.listen(port)
        await until(lambda: states(engine) == ["well", "well"])
        assert await rows(engine) == EXPECTED
        assert "left out, and tried again" in told[1] and told[2].endswith("used again")

    with_engine(first, tiny_tokenizer, use, options=options(told), beside=[second])


def test_a_server_that_comes_back_with_other_weights_is_refused(tiny_tokenizer: Any) -> None:
    first, second = server_of(), server_of()

    async def use(engine: ServerEngine) -> None:
        await until(lambda: states(engine) == ["well", "well"])
        port = int(second.url.rpartition(":")[2])
        await second.stop()
        assert await rows(engine) == EXPECTED
        await until(lambda: states(engine) == ["well", "away"])
        second.answer = weights(2.0)
        await second.listen(port)
        await until(lambda: states(engine) == ["well", "refused"])
        assert await rows(engine) == EXPECTED

    with_engine(first, tiny_tokenizer, use, options=options(), beside=[second])


def test_the_run_waits_while_no_server_is_left_and_goes_on_when_one_is_back(tiny_tokenizer: Any) -> None:
    server = server_of()

    async def use(engine: ServerEngine) -> None:
        server.always = slow(0.02)
        work = asyncio.ensure_future(rows(engine))
        await until(lambda: engine.usage.servers[0].requests > 5)
        await server.stop()
        await until(lambda: states(engine) == ["away"])
        await server.listen(int(server.url.rpartition(":")[2]))
        assert await work == EXPECTED

    with_engine(server, tiny_tokenizer, use, options=options(patience=60.0))


def test_it_ends_when_none_comes_back(tiny_tokenizer: Any) -> None:
    servers = [server_of(), server_of()]

    async def use(engine: ServerEngine) -> None:
        await until(lambda: states(engine) == ["well", "well"])
        for server in servers:
            await server.stop()
        with pytest.raises(RunError, match=r"all 2 servers stopped answering .* \(without `restart`\)"):
            await engine.generate(PROMPT, Sampling())

    with_engine(servers[0], tiny_tokenizer, use, options=options(patience=0.3), beside=servers[1:])


def test_no_access_at_one_is_no_end(tiny_tokenizer: Any) -> None:
    first, second = server_of(), server_of()

    async def use(engine: ServerEngine) -> None:
        await until(lambda: states(engine) == ["well", "well"])
        first.always = status(403, "key expired")
        assert await rows(engine) == EXPECTED
        assert states(engine) == ["refused", "well"]

    with_engine(first, tiny_tokenizer, use, options=options(), beside=[second])


# What one of them does to its share. The other is well, but no faster.


def sometimes(fault: Behaviour, seed: int = 0) -> Behaviour:
    dice = random.Random(seed)

    async def behave(server: MisbehavingServer, writer: asyncio.StreamWriter, body: Body) -> None:
        await (fault if dice.random() < 0.3 else slow(0.02))(server, writer, body)

    return behave


FAULTS: dict[str, Behaviour] = {
    "500": status(500),
    "429": status(429),
    "503": status(503),
    "cut": cut,
    "drop": drop,
    "hang": hang,
    "empty": content({"choices": []}),
    "another model": content({"choices": [{"text": "x", "finish_reason": "stop"}], "model": "another"}),
    "bad request": status(400),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_no_row_is_lost_to_a_server_that_fails_three_in_ten(fault: Behaviour, tiny_tokenizer: Any) -> None:
    good, bad = server_of(), server_of()

    async def use(engine: ServerEngine) -> None:
        await until(lambda: states(engine) == ["well", "well"])
        good.always, bad.always = slow(0.02), sometimes(fault)
        assert await rows(engine) == EXPECTED
        assert engine.usage.servers[1].requests > 10 and engine.usage.servers[1].errors > 0

    with_engine(good, tiny_tokenizer, use, options=options(timeout=60.0), beside=[bad])


@pytest.mark.parametrize("fault", ["500", "503", "drop", "hang"])
def test_nor_where_it_is_the_only_one(fault: str, tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "SOONEST_OVERDUE", 0.1)
    server = server_of()

    async def use(engine: ServerEngine) -> None:
        server.always = sometimes(FAULTS[fault])
        assert await rows(engine) == EXPECTED
        assert len(server.bodies) < 3 * ROWS  # the load is not multiplied

    with_engine(server, tiny_tokenizer, use, options=options(timeout=60.0))


@pytest.mark.parametrize("count", [-1, 0, 3.5, "7", 10**9, None])
def test_counts_that_cannot_be_true_are_not_counted(count: Any, tiny_tokenizer: Any) -> None:
    def lying(body: Body) -> Any:
        return weights(1.0)(body) | {"usage": {"prompt_tokens": count, "completion_tokens": count}}

    async def use(engine: ServerEngine) -> None:
        assert engine.dialect.token_ids
        [completion] = await engine.generate(PROMPT, Sampling(seed=5))
        assert engine.usage.prompt_tokens == 3
        assert 0 <= engine.usage.completion_tokens <= len(completion.token_ids)

    with_engine(MisbehavingServer(answer=lying), tiny_tokenizer, use, options=options())


def test_a_request_that_both_refuse_is_wrong(tiny_tokenizer: Any) -> None:
    servers = [server_of(), server_of()]

    async def use(engine: ServerEngine) -> None:
        await until(lambda: states(engine) == ["well", "well"])
        for server in servers:
            server.script[7] = [status(400, "too long")]
        with pytest.raises(RequestError, match="too long"):
            await engine.generate(PROMPT, Sampling(seed=7))
        assert [server.tries(7) for server in servers] == [1, 1]

    with_engine(servers[0], tiny_tokenizer, use, options=options(), beside=servers[1:])


def test_one_that_refuses_what_another_takes_is_not_the_second_too(tiny_tokenizer: Any) -> None:
    good, bad = server_of(), server_of()

    async def use(engine: ServerEngine) -> None:
        await until(lambda: states(engine) == ["well", "well"])
        good.always, bad.always = slow(0.01), status(400)
        engine._pool._members.servers[0].level.limit = 1.0
        assert await rows(engine) == EXPECTED

    with_engine(good, tiny_tokenizer, use, options=options(), beside=[bad])


# Addresses in a file.


def test_a_file_of_addresses_is_read_again(
    tiny_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "LOOKS", 1)
    file, told = tmp_path / "servers.txt", list[str]()

    async def run() -> None:
        async with server_of() as first, server_of() as second:
            file.write_text(f"# ours\n\n{first.url}/v1  # of the first rack\n")
            engine = await open_server(str(file), "tiny", tiny_tokenizer, options(told))
            assert isinstance(engine, ServerEngine)
            file.write_text(f"{first.url}\n{second.url}\n{second.url}/v1/\n")
            await until(lambda: states(engine) == ["well", "well"])
            file.write_text("nonsense\n")
            await until(lambda: len(told) > 1)
            assert "line 1" in told[1] and "stay as they are" in told[1]
            file.write_text(second.url)
            await until(lambda: states(engine) == ["left", "well"])
            assert await rows(engine) == EXPECTED
            assert engine.usage.servers[0].requests == 0
            file.unlink()
            assert await rows(engine) == EXPECTED
            await engine.close()

    asyncio.run(run())


def test_a_store_of_addresses_that_answers_late_holds_nothing_up(
    tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "LOOKS", 1)
    store, asked, answers = fsspec.filesystem("memory"), threading.Event(), threading.Event()
    info = type(store).info

    def late(self: Any, path: str, **more: Any) -> Any:
        asked.set()
        assert answers.wait(60)
        return info(self, path, **more)

    async def run() -> None:
        async with server_of() as first, server_of() as second:
            store.pipe_file("/late/servers.txt", first.url.encode())
            engine = await open_server("memory://late/servers.txt", "tiny", tiny_tokenizer, options())
            assert isinstance(engine, ServerEngine)
            monkeypatch.setattr(type(store), "info", late)
            await until(asked.is_set)
            assert await asyncio.wait_for(rows(engine), 30) == EXPECTED
            store.pipe_file("/late/servers.txt", second.url.encode())
            answers.set()
            await until(lambda: states(engine) == ["left", "well"])
            await engine.close()

    asyncio.run(run())
