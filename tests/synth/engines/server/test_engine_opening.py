"""Opening the server engine: addresses, keys, models, and servers that are not what they should be."""

import asyncio
import time
from typing import Any

import pytest

from synth.engines.base import EngineOptions
from synth.engines.server import http as server_http
from synth.engines.server.engine import ServerEngine, open_server
from synth.errors import UsageError
from tests.synth.engines.misbehaving import (
    MisbehavingServer,
    answer_text,
    hang,
    status,
)
from tests.synth.engines.serving import IMPATIENT, QUICK, with_engine

pytestmark = pytest.mark.usefixtures("short_waits")


def opening_error(server: MisbehavingServer, tokenizer: Any, **settings: Any) -> str:
    """The message of the UsageError with which opening fails: one line."""
    with pytest.raises(UsageError) as caught:
        with_engine(server, tokenizer, never, **settings)
    message = str(caught.value)
    assert "\n" not in message
    return message


async def never(engine: ServerEngine) -> None:
    raise AssertionError("the engine was opened")


@pytest.mark.parametrize("tail", ["", "/", "/v1", "/v1/"])
def test_forms_of_the_url(tail: str, tiny_tokenizer: Any) -> None:
    async def run() -> None:
        async with MisbehavingServer() as server:
            engine = await open_server(server.url + tail, "tiny", tiny_tokenizer, QUICK)
            assert server.url in engine.description
            await engine.close()

    asyncio.run(run())


@pytest.mark.parametrize("url", ["localhost:8000", "http://", "ftp://x/v1", "http://a:port", "http://a?b=1", "\x1b"])
def test_a_url_that_is_none(url: str, tiny_tokenizer: Any) -> None:
    with pytest.raises(UsageError) as caught:
        asyncio.run(open_server(url, None, tiny_tokenizer, QUICK))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://no-such-host.invalid", "https://127.0.0.1:9"])
def test_nobody_there(url: str, tiny_tokenizer: Any) -> None:
    with pytest.raises(UsageError, match="is it running"):
        asyncio.run(open_server(url, None, tiny_tokenizer, QUICK))


def test_tls_where_there_is_none(tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_http, "CONNECT_SECONDS", 0.5)

    async def run() -> None:
        async with MisbehavingServer() as server:
            with pytest.raises(UsageError, match="does not answer"):
                await open_server(server.url.replace("http", "https"), None, tiny_tokenizer, QUICK)

    asyncio.run(run())


def test_keys(tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def use(engine: ServerEngine) -> None:
        assert "secret" not in engine.description + repr(engine.dialect)

    assert "`api_key`" in opening_error(MisbehavingServer(key="secret"), tiny_tokenizer)
    options = EngineOptions(api_key="secret\n", timeout=1)
    with_engine(MisbehavingServer(key="secret"), tiny_tokenizer, use, options=options)
    assert "secret" not in repr(options)
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    with_engine(MisbehavingServer(key="secret"), tiny_tokenizer, use)
    monkeypatch.setenv("SYNTH_API_KEY", "wins")
    with_engine(MisbehavingServer(key="wins"), tiny_tokenizer, use)
    monkeypatch.setenv("SYNTH_API_KEY", "se\ncret")
    assert "API key" in opening_error(MisbehavingServer(), tiny_tokenizer)


def test_the_model_is_found(tiny_tokenizer: Any) -> None:
    async def use(engine: ServerEngine) -> None:
        assert engine.max_length == 512

    two = {"data": [{"id": "a", "max_model_len": 512, "root": "/models/a"}, {"id": "b\x1b[31m"}]}
    with_engine(MisbehavingServer(), tiny_tokenizer, use, model="/some/tokenizer")
    with_engine(MisbehavingServer(), tiny_tokenizer, use, model=None)
    with_engine(MisbehavingServer(models=two), tiny_tokenizer, use, model="/models/a")
    with_engine(MisbehavingServer(models=404), tiny_tokenizer, use, model="a")
    for model in (None, "c"):
        message = opening_error(MisbehavingServer(models=two), tiny_tokenizer, model=model)
        assert message.endswith("a, b [31m")
    assert "OpenAI-compatible" in opening_error(MisbehavingServer(models=404), tiny_tokenizer, model=None)
    assert "lists no model" in opening_error(MisbehavingServer(models={"data": 1}), tiny_tokenizer, model=None)


def test_the_window(tiny_tokenizer: Any) -> None:
    unsaid = {"data": [{"id": "tiny"}]}
    for models, asked, expected in [(None, 100, 100), (None, 9999, 512), (unsaid, 77, 77), (unsaid, None, 512)]:
        options = EngineOptions(max_length=asked, timeout=1)

        async def use(engine: ServerEngine, expected: int = expected) -> None:
            assert engine.max_length == expected

        with_engine(MisbehavingServer(models=models), tiny_tokenizer, use, options=options)


def test_a_chat_only_server(tiny_tokenizer: Any) -> None:
    server = MisbehavingServer(refuse=lambda body: (404, "no such route"))
    assert "/v1/completions" in opening_error(server, tiny_tokenizer)


def test_a_server_that_hangs_at_once(tiny_tokenizer: Any) -> None:
    server = MisbehavingServer()
    server.always = hang
    start = time.monotonic()
    assert "no answer within" in opening_error(server, tiny_tokenizer, options=IMPATIENT)
    assert time.monotonic() - start < 20 and len(server.bodies) == 1


def test_a_server_that_is_still_loading(tiny_tokenizer: Any) -> None:
    server = MisbehavingServer()
    server.script[0] = [status(503, "loading"), status(503, "loading")]

    async def use(engine: ServerEngine) -> None:
        assert engine.dialect.token_ids and engine.dialect.extensions

    with_engine(server, tiny_tokenizer, use)


def test_the_tokenizer_of_another_model(tiny_tokenizer: Any) -> None:
    answer = answer_text("a", token_ids=[1], prompt_token_ids=[1, 2, 3])
    assert "tokenizer" in opening_error(MisbehavingServer(answer=answer), tiny_tokenizer)
