"""The server engine: what it sends, and what it makes of the answers."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from synth.engines.base import Sampling
from synth.engines.server.engine import ServerEngine
from synth.errors import RequestError, UsageError
from tests.synth.engines.misbehaving import (
    Body,
    MisbehavingServer,
    answer_text,
    strict,
)
from tests.synth.engines.serving import PROMPT, with_engine

pytestmark = pytest.mark.usefixtures("short_waits")


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


def test_top_k_is_sent_to_servers_that_take_it_and_to_no_others(tiny_tokenizer: Any) -> None:
    server = MisbehavingServer(refuse=strict(ids=True, extensions=True))

    async def use(engine: ServerEngine) -> None:
        await engine.generate(PROMPT, Sampling(top_k=20))
        assert server.bodies[-1]["top_k"] == 20
        await engine.generate(PROMPT, Sampling())
        assert server.bodies[-1]["top_k"] == -1

    with_engine(server, tiny_tokenizer, use)

    async def refused(engine: ServerEngine) -> None:
        with pytest.raises(UsageError, match="takes no top_k"):
            await engine.generate(PROMPT, Sampling(top_k=20))

    with_engine(MisbehavingServer(refuse=strict(ids=True, extensions=False)), tiny_tokenizer, refused)


def test_ids_that_are_counted_as_something_else_are_not_sent(tiny_tokenizer: Any) -> None:
    def answer(body: Body) -> Any:
        tokens = 1 if isinstance(body["prompt"], list) else None
        return {"choices": [{"text": "a", "finish_reason": "stop"}], "usage": {"prompt_tokens": tokens}}

    async def use(engine: ServerEngine) -> None:
        assert not engine.dialect.token_ids

    with_engine(MisbehavingServer(answer=answer), tiny_tokenizer, use)


def test_no_doubled_bos_in_text_prompts(tiny_tokenizer: Any) -> None:
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
        (True, Sampling(temperature=1.0, top_k=5, logprob=True), None),
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
        with pytest.raises(UsageError, match="use `engine` transformers"):
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
