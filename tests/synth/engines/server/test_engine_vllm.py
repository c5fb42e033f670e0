"""The server engine against vLLM's own server, with plain transformers as the reference for tokens and numbers."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from synth.engines.base import Engine, EngineOptions, Sampling
from synth.engines.loading import load_causal_model
from synth.engines.server.engine import ServerEngine, open_server
from synth.errors import RequestError, UsageError

pytestmark = pytest.mark.vllm

WINDOW = 256
QUESTIONS = ["What is 12 plus 30?", "Hello!", "Write a function that adds two numbers.", "naïve café 😀"]


@pytest.fixture(scope="module")
def tokenizer(model_dir: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model_dir)


@pytest.fixture(scope="module")
def reference(model_dir: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def prompts(tokenizer: Any) -> list[list[int]]:
    chats = [[{"role": "user", "content": question}] for question in QUESTIONS]
    return [tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"] for chat in chats]


@pytest.fixture(scope="module")
def greedy(reference: Any, prompts: list[list[int]]) -> list[list[int]]:
    """40 tokens after each prompt by plain greedy decoding; nothing ends them."""
    return [
        reference.generate(
            torch.tensor([prompt]), max_new_tokens=40, do_sample=False, eos_token_id=None, pad_token_id=0
        )[0, len(prompt) :].tolist()
        for prompt in prompts
    ]


@pytest.fixture
def ask(vllm_url: str, model_dir: Path, tokenizer: Any) -> Callable[[Callable[[Engine], Awaitable[Any]]], Any]:
    """Run a function of the engine on a loop of its own."""

    def run(use: Callable[[Engine], Awaitable[Any]]) -> Any:
        async def opened() -> Any:
            engine = await open_server(vllm_url, str(model_dir), tokenizer, EngineOptions(timeout=120))
            try:
                return await use(engine)
            finally:
                await engine.close()

        return asyncio.run(opened())

    return run


Ask = Callable[[Callable[[Engine], Awaitable[Any]]], Any]


def token_logprobs(reference: Any, ids: list[int]) -> list[float]:
    """Log-probability of every token but the first, by a plain float32 forward pass."""
    with torch.no_grad():
        logprobs = torch.log_softmax(reference(torch.tensor([ids])).logits[0], -1)
    return [float(logprobs[at - 1, ids[at]]) for at in range(1, len(ids))]


def test_it_is_known_for_what_it_is(ask: Ask) -> None:
    async def use(engine: Engine) -> None:
        assert isinstance(engine, ServerEngine)
        assert engine.description.startswith("server vLLM ") and engine.description.endswith(", token ids")
        assert engine.max_length == WINDOW
        assert engine.dialect.returns_ids and engine.dialect.logprobs == "raw" and engine.dialect.echo is not None

    ask(use)


def test_greedy_tokens_are_those_of_the_model(
    ask: Ask, tokenizer: Any, prompts: list[list[int]], greedy: list[list[int]]
) -> None:
    async def use(engine: Engine) -> None:
        for prompt, expected in zip(prompts, greedy, strict=True):
            [completion] = await engine.generate(prompt, Sampling(max_tokens=40, temperature=0))
            assert list(completion.token_ids) == expected
            assert completion.finish == "length" and completion.stop_reason is None

    ask(use)


def test_an_adapter_is_another_model_of_the_server(
    vllm_url_with_adapter: str,
    model_dir: Path,
    tuned: Path,
    tokenizer: Any,
    prompts: list[list[int]],
    greedy: list[list[int]],
) -> None:
    merged = load_causal_model(str(tuned), torch.float32)

    async def answered(adapter: str) -> list[list[int]]:
        engine = await open_server(
            vllm_url_with_adapter, str(model_dir), tokenizer, EngineOptions(timeout=120, adapter=adapter)
        )
        assert engine.max_length == WINDOW
        sampling = Sampling(max_tokens=20, temperature=0)
        try:
            found = await asyncio.gather(*(engine.generate(prompt, sampling) for prompt in prompts))
        finally:
            await engine.close()
        return [list(completion.token_ids) for [completion] in found]

    expected = [
        merged.generate(torch.tensor([prompt]), max_new_tokens=20, do_sample=False, eos_token_id=None, pad_token_id=0)
        for prompt in prompts
    ]
    tokens = asyncio.run(answered("tuned"))
    assert tokens == [ids[0, len(prompt) :].tolist() for ids, prompt in zip(expected, prompts, strict=True)]
    assert tokens != [drawn[:20] for drawn in greedy]
    with pytest.raises(UsageError, match="does not list 'tunde'"):
        asyncio.run(answered("tunde"))


def test_stop_ids_end_it_and_are_not_part_of_it(
    ask: Ask, reference: Any, prompts: list[list[int]], greedy: list[list[int]]
) -> None:
    async def use(engine: Engine) -> None:
        for prompt, drawn in zip(prompts, greedy, strict=True):
            stop = drawn[12]
            first = drawn.index(stop)
            sampling = Sampling(max_tokens=40, temperature=0, stop_ids=(stop, 7), logprob=True)
            [completion] = await engine.generate(prompt, sampling)
            assert (list(completion.token_ids), completion.finish) == (drawn[:first], "stop")
            assert completion.stop_reason == stop and completion.logprob is not None
            expected = sum(token_logprobs(reference, prompt + drawn[: first + 1])[len(prompt) - 1 :])
            assert completion.logprob == pytest.approx(expected, abs=1e-3)

    ask(use)


def test_stop_strings_are_cut_off_text_and_tokens(ask: Ask, tokenizer: Any, prompts: list[list[int]]) -> None:
    async def use(engine: Engine) -> None:
        for prompt in prompts:
            [whole] = await engine.generate(prompt, Sampling(max_tokens=40, temperature=0))
            stop = whole.text[6:8]
            [completion] = await engine.generate(prompt, Sampling(max_tokens=40, temperature=0, stop=(stop,)))
            assert completion.text == whole.text[: whole.text.find(stop)]
            assert (completion.finish, completion.stop_reason) == ("stop", stop)
            assert tokenizer.decode(completion.token_ids) == completion.text

    ask(use)


def test_samples_differ_and_seeds_repeat_them(ask: Ask, prompts: list[list[int]]) -> None:
    async def use(engine: Engine) -> None:
        sampling = Sampling(max_tokens=30, temperature=2.0, n=4, seed=11)
        drawn = await engine.generate(prompts[0], sampling)
        assert len(drawn) == 4 and len({completion.token_ids for completion in drawn}) == 4
        assert await engine.generate(prompts[0], sampling) == drawn
        other = await engine.generate(prompts[0], Sampling(max_tokens=30, temperature=2.0, n=4, seed=12345))
        assert not {completion.token_ids for completion in drawn} & {completion.token_ids for completion in other}

    ask(use)


@pytest.mark.parametrize(("temperature", "top_p"), [(0.0, 1.0), (0.6, 0.9), (1.0, 1.0)])
def test_log_probabilities_are_the_models_own(
    temperature: float, top_p: float, ask: Ask, reference: Any, prompts: list[list[int]]
) -> None:
    """Whatever the temperature and top-p they were drawn with."""

    async def use(engine: Engine) -> None:
        for prompt in prompts:
            sampling = Sampling(max_tokens=20, temperature=temperature, top_p=top_p, seed=3, logprob=True)
            [completion] = await engine.generate(prompt, sampling)
            expected = token_logprobs(reference, [*prompt, *completion.token_ids])[len(prompt) - 1 :]
            assert completion.logprob == pytest.approx(sum(expected), abs=1e-3)

    ask(use)


def test_scores_of_given_tokens(ask: Ask, reference: Any, prompts: list[list[int]]) -> None:
    async def use(engine: Engine) -> None:
        for prompt in [*prompts, prompts[0][:2], (prompts[2] * 20)[: WINDOW - 1]]:
            scores = await engine.logprobs(prompt)
            assert scores.dtype == np.float32 and scores.shape == (len(prompt),) and np.isnan(scores[0])
            np.testing.assert_allclose(scores[1:], token_logprobs(reference, prompt), atol=1e-3)

    ask(use)


def test_an_over_long_prompt_is_one_bad_request(ask: Ask, prompts: list[list[int]]) -> None:
    async def use(engine: Engine) -> None:
        fits, too_long = [9] * (WINDOW - 1), [9] * WINDOW
        calls = [engine.generate(ids, Sampling(max_tokens=8)) for ids in (fits, too_long, prompts[0])]
        short, refused, other = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(short, list) and len(short[0].token_ids) == 1 and short[0].finish == "length"
        assert isinstance(refused, RequestError) and str(WINDOW) in str(refused)
        assert isinstance(other, list) and len(other[0].token_ids) == 8

    ask(use)


def test_what_only_the_server_knows_to_be_wrong_is_one_bad_request(ask: Ask, prompts: list[list[int]]) -> None:
    async def use(engine: Engine) -> None:
        with pytest.raises(RequestError, match="refused the request: HTTP 400"):
            await engine.generate([10**6], Sampling(max_tokens=8))
        assert await engine.generate(prompts[0], Sampling(max_tokens=8))

    ask(use)


def test_two_hundred_at_once(ask: Ask, prompts: list[list[int]], greedy: list[list[int]]) -> None:
    async def use(engine: Engine) -> None:
        sampling = Sampling(max_tokens=16, temperature=0)
        calls = [engine.generate(prompts[i % len(prompts)], sampling) for i in range(200)]
        for i, [completion] in enumerate(await asyncio.gather(*calls)):
            assert list(completion.token_ids) == greedy[i % len(prompts)][:16]
        assert engine.usage.requests == 200 and engine.usage.completion_tokens == 200 * 16
        assert engine.usage.prompt_tokens == 50 * sum(map(len, prompts))

    ask(use)


def test_the_tokenizer_of_another_model_is_noticed(vllm_url: str, model_dir: Path, tiny_tokenizer: Any) -> None:
    import copy

    from tokenizers import pre_tokenizers

    other = copy.deepcopy(tiny_tokenizer)
    other.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("o", "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    with pytest.raises(UsageError, match="tokenizer is not that of `model`"):
        asyncio.run(open_server(vllm_url, str(model_dir), other, EngineOptions()))
