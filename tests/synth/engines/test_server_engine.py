"""The server engine against a server that misbehaves in every way we could think of."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from synth.engines import server_http
from synth.engines.base import EngineOptions, Sampling
from synth.engines.server import ServerEngine, open_server
from synth.errors import RequestError, RunError, UsageError
from tests.synth.engines.misbehaving import (
    Behaviour,
    Body,
    MisbehavingServer,
    answer_text,
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

PROMPT = [10, 20, 30]
QUICK = EngineOptions(timeout=0.3, retries=3, concurrency=32)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_http, "FIRST_WAIT", 0.01)
    monkeypatch.setattr("synth.engines.server.SECONDS_PER_TOKEN", 0.0)
    for name in ("SYNTH_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def with_engine(
    server: MisbehavingServer,
    tokenizer: Any,
    use: Callable[[ServerEngine], Awaitable[None]],
    *,
    options: EngineOptions = QUICK,
    model: str | None = "tiny",
) -> None:
    """Run `use` with an engine opened on `server`, both on a loop of their own."""

    async def run() -> None:
        async with server:
            engine = await open_server(server.url, model, tokenizer, options)
            assert isinstance(engine, ServerEngine)
            try:
                await use(engine)
            finally:
                await engine.close()

    asyncio.run(run())


def opening_error(server: MisbehavingServer, tokenizer: Any, **settings: Any) -> str:
    """The message of the UsageError with which opening fails: one line."""
    with pytest.raises(UsageError) as caught:
        with_engine(server, tokenizer, never, **settings)
    message = str(caught.value)
    assert "\n" not in message
    return message


async def never(engine: ServerEngine) -> None:
    raise AssertionError("the engine was opened")


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
        assert time.monotonic() - start < 3
        assert [completion.text for [completion] in completions] == [" fine"] * 5
        assert [server.tries(seed) for seed in range(5, 10)] == [1, 1, 2, 1, 1]

    with_engine(server, tiny_tokenizer, use)


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

    with_engine(server, tiny_tokenizer, use)


def test_retry_after_is_waited_for(tiny_tokenizer: Any) -> None:
    server = MisbehavingServer()

    async def use(engine: ServerEngine) -> None:
        server.script[7] = [status(429, headers="Retry-After: 1\r\n")]
        start = time.monotonic()
        await engine.generate(PROMPT, Sampling(seed=7))
        assert 1.0 <= time.monotonic() - start < 2.0

    with_engine(server, tiny_tokenizer, use)


def test_an_endless_retry_after_is_not(tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_http, "LONGEST_RETRY_AFTER", 0.1)
    server = MisbehavingServer()

    async def use(engine: ServerEngine) -> None:
        server.script[7] = [
            status(429, headers="Retry-After: 99999999999999999999\r\n"),
            status(503, headers="Retry-After: Fri, 31 Dec 2999 23:59:59 GMT\r\n"),
        ]
        start = time.monotonic()
        await engine.generate(PROMPT, Sampling(seed=7))
        assert time.monotonic() - start < 1.0

    with_engine(server, tiny_tokenizer, use)


def test_waits_grow_and_are_spread(tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_http, "FIRST_WAIT", 1.0)
    http = server_http.Http("http://localhost", {}, EngineOptions())
    for attempt, middle in enumerate([1, 3, 9, 27, 60, 60]):
        waits = [http.wait(attempt, None) for _ in range(100)]
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


def test_a_server_gone_for_good_ends_the_run(tiny_tokenizer: Any) -> None:
    server = MisbehavingServer()

    async def use(engine: ServerEngine) -> None:
        await engine.generate(PROMPT, Sampling(seed=7))
        await server.stop()
        requests = (engine.generate(PROMPT, Sampling(seed=seed)) for seed in range(100))
        outcomes = await asyncio.gather(*requests, return_exceptions=True)
        kinds = [type(outcome) for outcome in outcomes]
        assert kinds.count(RequestError) == server_http.DEAD_AFTER - 1
        assert kinds.count(RunError) == 100 - kinds.count(RequestError)
        with pytest.raises(RunError, match="stopped answering"):
            await engine.generate(PROMPT, Sampling())

    with_engine(server, tiny_tokenizer, use)


def test_one_bad_row_in_a_while_does_not_end_the_run(tiny_tokenizer: Any) -> None:
    server = MisbehavingServer()

    async def use(engine: ServerEngine) -> None:
        for seed in range(1, 41, 2):
            server.script[seed] = [status(500)] * 3
            with pytest.raises(RequestError):
                await engine.generate(PROMPT, Sampling(seed=seed))
            await engine.generate(PROMPT, Sampling(seed=seed + 1))

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

    async def use(engine: ServerEngine) -> None:
        server.always = slow(0.2)
        await asyncio.gather(*(engine.generate(PROMPT, Sampling()) for _ in range(48)))
        assert server.most_at_once == 32

    with_engine(server, tiny_tokenizer, use, options=EngineOptions(timeout=5, concurrency=32))


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
        await asyncio.sleep(0.2)
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
        await asyncio.sleep(0.2)
        await engine.close()
        with pytest.raises(RunError, match="closed"):
            await asyncio.wait_for(task, 2)

    with_engine(server, tiny_tokenizer, use, options=EngineOptions(timeout=60))


# What is sent, and what is made of the answer.


def strict(*, ids: bool, extensions: bool) -> Callable[[Body], tuple[int, str] | None]:
    """A server that takes only these."""

    def refuse(body: Body) -> tuple[int, str] | None:
        if not ids and not isinstance(body["prompt"], str):
            return 422, "prompt must be a string"
        if not extensions and set(body) & {"return_token_ids", "top_k", "stop_token_ids", "ignore_eos"}:
            return 400, "unknown field"
        return None

    return refuse


@pytest.mark.parametrize("ids", [True, False])
@pytest.mark.parametrize("extensions", [True, False])
def test_the_best_form_that_the_server_takes(ids: bool, extensions: bool, tiny_tokenizer: Any) -> None:
    server = MisbehavingServer(refuse=strict(ids=ids, extensions=extensions))
    prompt = tiny_tokenizer.encode("<bos><|user|>Hi there", add_special_tokens=False)
    end = tiny_tokenizer.eos_token_id

    async def use(engine: ServerEngine) -> None:
        assert (engine.dialect.token_ids, engine.dialect.extensions) == (ids, extensions)
        assert engine.description.endswith("token ids" if ids else "text prompts")
        [completion] = await engine.generate(prompt, Sampling(stop_ids=(end,), stop=("\n\n",), seed=1 << 40 | 5))
        sent = server.bodies[-1]
        assert sent["prompt"] == (prompt if ids else "<bos><|user|>Hi there")
        assert sent["stop"] == ["<|end|>", "\n\n"]
        assert sent.get("stop_token_ids") == ([end] if extensions else None)
        assert sent.get("skip_special_tokens") is (False if extensions else None)
        assert sent["seed"] == 5 and sent["max_tokens"] == 512 - len(prompt)
        assert completion.token_ids == tuple(tiny_tokenizer.encode(" fine"))

    with_engine(server, tiny_tokenizer, use)


def test_ids_that_are_counted_as_something_else_are_not_sent(tiny_tokenizer: Any) -> None:
    def answer(body: Body) -> Any:
        tokens = 1 if isinstance(body["prompt"], list) else None
        return {"choices": [{"text": "a", "finish_reason": "stop"}], "usage": {"prompt_tokens": tokens}}

    async def use(engine: ServerEngine) -> None:
        assert not engine.dialect.token_ids

    with_engine(MisbehavingServer(answer=answer), tiny_tokenizer, use)


def test_no_doubled_bos_in_text_prompts(tiny_tokenizer: Any) -> None:
    import copy

    from tokenizers.processors import TemplateProcessing

    adding = copy.deepcopy(tiny_tokenizer)
    adding.backend_tokenizer.post_processor = TemplateProcessing("<bos> $A", special_tokens=[("<bos>", 1)])

    def count(body: Body) -> Any:
        tokens = len(adding(body["prompt"])["input_ids"])
        return {"choices": [{"text": "a", "finish_reason": "stop"}], "usage": {"prompt_tokens": tokens}}

    for answer in (count, answer_text("a")):  # the server counts, or leaves us to guess
        server = MisbehavingServer(refuse=strict(ids=False, extensions=False), answer=answer)

        async def use(engine: ServerEngine, server: MisbehavingServer = server) -> None:
            await engine.generate(adding("Hi")["input_ids"], Sampling())
            assert server.bodies[-1]["prompt"] == "Hi"

        with_engine(server, adding, use)


@pytest.mark.parametrize(
    ("text", "fields", "expected"),
    [
        ("yes<|end|>no", {"finish_reason": "length"}, ("yes", "stop", "<|end|>")),
        ("yes", {"finish_reason": "length"}, ("yes", "length", None)),
        ("yes", {"finish_reason": "stop", "stop_reason": "<|end|>"}, ("yes", "stop", "<|end|>")),
        ("yes", {"finish_reason": "eos_token"}, ("yes", "stop", None)),
        ("yes", {"finish_reason": "stop", "matched_stop": "STOP"}, ("yes", "stop", "STOP")),
        ("yesSTOPno<|end|>", {"finish_reason": "stop"}, ("yes", "stop", "STOP")),
        ("yes", {"finish_reason": None}, ("yes", "length", None)),
        ("", {"finish_reason": "stop"}, ("", "stop", None)),
        ("a\ud800b", {"finish_reason": "stop"}, ("a?b", "stop", None)),
    ],
)
def test_stops_are_cut_off_a_text(
    text: str, fields: dict[str, Any], expected: tuple[str, str, Any], tiny_tokenizer: Any
) -> None:
    server = MisbehavingServer(refuse=strict(ids=True, extensions=False), answer=answer_text(text, **fields))

    async def use(engine: ServerEngine) -> None:
        sampling = Sampling(stop_ids=(tiny_tokenizer.eos_token_id,), stop=("STOP",))
        [completion] = await engine.generate(PROMPT, sampling)
        reason = tiny_tokenizer.eos_token_id if expected[2] == "<|end|>" else expected[2]
        assert (completion.text, completion.finish, completion.stop_reason) == (*expected[:2], reason)
        assert tiny_tokenizer.decode(completion.token_ids) == expected[0]

    with_engine(server, tiny_tokenizer, use)


@pytest.mark.parametrize("cut_by_server", [True, False])
@pytest.mark.parametrize("stop", ["<|end|>", "STOP", "fi", "ne fine"])
def test_stops_are_cut_off_token_ids(stop: str, cut_by_server: bool, tiny_tokenizer: Any) -> None:
    whole = " café fine" + (stop if stop in ("<|end|>", "STOP") else "")
    rest = " and more"
    ids = tiny_tokenizer.encode(whole + rest)
    kept = whole[: whole.find(stop)] if stop in whole else whole
    fields: dict[str, Any] = {"token_ids": ids, "finish_reason": "length"}
    text = whole + rest
    if stop == "ne fine":
        kept, text = text, text  # never comes
    elif cut_by_server:
        if stop == "<|end|>":
            ids = ids[: ids.index(tiny_tokenizer.eos_token_id) + 1]
        reason = tiny_tokenizer.eos_token_id if stop == "<|end|>" else stop
        text, fields = kept, {"token_ids": ids, "finish_reason": "stop", "stop_reason": reason}
    fields["logprobs"] = {"token_logprobs": [-0.5] * len(ids)}
    server = MisbehavingServer(answer=answer_text(text, **fields))

    async def use(engine: ServerEngine) -> None:
        by_id = stop == "<|end|>"
        sampling = Sampling(
            stop_ids=(tiny_tokenizer.eos_token_id,) if by_id else (), stop=() if by_id else (stop,), logprob=True
        )
        [completion] = await engine.generate(PROMPT, sampling)
        assert completion.text == kept
        assert tiny_tokenizer.decode(completion.token_ids) == kept
        assert completion.finish == ("length" if stop == "ne fine" else "stop")
        if by_id:
            drawn = tiny_tokenizer.encode(kept)
            assert completion.token_ids == tuple(drawn) and completion.logprob == -0.5 * (len(drawn) + 1)

    with_engine(server, tiny_tokenizer, use)


def test_a_server_that_gives_one_completion_is_asked_n_times(tiny_tokenizer: Any) -> None:
    server = MisbehavingServer(answer=lambda body: answer_text(f" {body['seed']}")(body | {"n": 1}))

    async def use(engine: ServerEngine) -> None:
        completions = await engine.generate(PROMPT, Sampling(n=4, seed=20))
        assert [completion.text for completion in completions] == [" 20", " 21", " 22", " 23"]
        greedy = await engine.generate(PROMPT, Sampling(n=4, seed=20, temperature=0))
        assert len(greedy) == 4 and len(set(greedy)) == 1

    with_engine(server, tiny_tokenizer, use)


def scores(*, processed: bool) -> Callable[[Body], Any]:
    def answer(body: Body) -> Any:
        value = -2.0 / (body["temperature"] if processed else 1.0)
        tokens = {"token_logprobs": [value, value], "top_logprobs": [{"a": value}, {"b": value}]}
        return answer_text("ab", logprobs=tokens if "logprobs" in body else None)(body)

    return answer


@pytest.mark.parametrize(
    ("processed", "sampling", "expected"),
    [
        (False, Sampling(temperature=0.5, logprob=True), -4.0),
        (True, Sampling(temperature=0.5, logprob=True), None),
        (True, Sampling(temperature=1.0, logprob=True), -4.0),
        (False, Sampling(temperature=1.0), None),
    ],
)
def test_log_probabilities_are_the_models_own_or_none(
    processed: bool, sampling: Sampling, expected: float | None, tiny_tokenizer: Any
) -> None:
    async def use(engine: ServerEngine) -> None:
        assert (await engine.generate(PROMPT, sampling))[0].logprob == expected

    with_engine(MisbehavingServer(answer=scores(processed=processed)), tiny_tokenizer, use)


def test_a_server_that_does_not_score_prompts_says_so(tiny_tokenizer: Any) -> None:
    async def use(engine: ServerEngine) -> None:
        with pytest.raises(RequestError, match="--engine vllm or --engine transformers"):
            await engine.logprobs(PROMPT)

    with_engine(MisbehavingServer(), tiny_tokenizer, use)


@pytest.mark.parametrize("least", [0, 1])
def test_prompts_are_scored_by_echo(least: int, tiny_tokenizer: Any) -> None:
    def answer(body: Body) -> Any:
        drawn = body["max_tokens"] if body.get("echo") else 1
        prompt = list(body["prompt"]) if body.get("echo") else []
        values = [None, *(-float(token) for token in prompt[1:])] if prompt else []
        tokens = {"token_logprobs": values + [-99.0] * drawn, "top_logprobs": [{"a": -1.0}]}
        return answer_text("a", logprobs=tokens)(body)

    def refuse(body: Body) -> tuple[int, str] | None:
        return (400, "max_tokens must be at least 1") if body["max_tokens"] < least else None

    async def use(engine: ServerEngine) -> None:
        values = await engine.logprobs(PROMPT)
        assert values.dtype == "float32" and values[0] != values[0] and values[1:].tolist() == [-20.0, -30.0]
        assert (await engine.logprobs([5])).shape == (1,)
        for wrong in ([], [1] * 513):
            with pytest.raises(RequestError):
                await engine.logprobs(wrong)

    with_engine(MisbehavingServer(answer=answer, refuse=refuse), tiny_tokenizer, use)


@pytest.mark.parametrize("prompt", [[], [1] * 512, [1] * 9999])
def test_a_prompt_without_room_is_one_bad_request(prompt: list[int], tiny_tokenizer: Any) -> None:
    server = MisbehavingServer()

    async def use(engine: ServerEngine) -> None:
        asked = len(server.bodies)
        with pytest.raises(RequestError):
            await engine.generate(prompt, Sampling())
        assert len(server.bodies) == asked

    with_engine(server, tiny_tokenizer, use)


# Opening.


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

    assert "--api-key" in opening_error(MisbehavingServer(key="secret"), tiny_tokenizer)
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
    assert "no answer within" in opening_error(server, tiny_tokenizer)
    assert time.monotonic() - start < 2 and len(server.bodies) == 1


def test_a_server_that_is_still_loading(tiny_tokenizer: Any) -> None:
    server = MisbehavingServer()
    server.script[0] = [status(503, "loading"), status(503, "loading")]

    async def use(engine: ServerEngine) -> None:
        assert engine.dialect.token_ids and engine.dialect.extensions

    with_engine(server, tiny_tokenizer, use)


def test_the_tokenizer_of_another_model(tiny_tokenizer: Any) -> None:
    answer = answer_text("a", token_ids=[1], prompt_token_ids=[1, 2, 3])
    assert "tokenizer" in opening_error(MisbehavingServer(answer=answer), tiny_tokenizer)
