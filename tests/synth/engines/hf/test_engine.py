"""The transformers engine against plain `model.generate` and plain forward passes, one prompt at a time."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import numpy as np
import pytest
import torch

from synth.chat.format import ChatFormat
from synth.engines.base import Completion, EngineOptions, Sampling
from synth.engines.hf.engine import TransformersEngine, load_model
from synth.errors import RequestError
from tests.synth.engines.tiny import CONFIGS, VOCABULARY, WINDOW, byte_tokenizer, tiny_model

T = TypeVar("T")
MERGEABLE = [name for name in CONFIGS if name != "mamba"]


def run(
    model: Any,
    work: Callable[[TransformersEngine], Awaitable[T]],
    concurrency: int = 16,
    max_length: int | None = None,
) -> T:
    async def main() -> T:
        options = EngineOptions(concurrency=concurrency, max_length=max_length)
        engine = TransformersEngine(model, byte_tokenizer(), options)
        try:
            return await work(engine)
        finally:
            await engine.close()

    return asyncio.run(main())


def some_prompts(count: int, longest: int = 60) -> list[list[int]]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, VOCABULARY, n).tolist() for n in rng.integers(1, longest, count)]


def plain_greedy(model: Any, prompt: list[int], tokens: int) -> list[int]:
    ids = torch.tensor([prompt])
    with torch.inference_mode():
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False, pad_token_id=0
        )
    drawn: list[int] = out[0, len(prompt) :].tolist()
    return drawn


def plain_logprobs(model: Any, tokens: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        logits = model(torch.tensor([tokens])).logits[0, :-1].float()
    return logits.log_softmax(-1).gather(-1, torch.tensor(tokens[1:])[:, None])[:, 0]


async def in_parallel(engine: TransformersEngine, asked: list[tuple[list[int], Sampling]]) -> list[list[Completion]]:
    return await asyncio.gather(*[engine.generate(prompt, sampling) for prompt, sampling in asked])


@pytest.mark.parametrize("name", MERGEABLE)
def test_greedy_tokens_and_logprobs_are_those_of_the_plain_model(name: str) -> None:
    model = tiny_model(name)
    prompts = some_prompts(50)
    lengths = np.random.default_rng(1).integers(1, 40, 50).tolist()

    async def work(engine: TransformersEngine) -> tuple[Any, Any]:
        asked = [Sampling(max_tokens=n, temperature=0, logprob=True) for n in lengths]
        completions = await in_parallel(engine, list(zip(prompts, asked, strict=True)))
        sequences = [p + list(c.token_ids) for p, [c] in zip(prompts, completions, strict=True)]
        return completions, await asyncio.gather(*[engine.logprobs(s) for s in sequences])

    completions, scores = run(model, work)
    for prompt, length, [done], score in zip(prompts, lengths, completions, scores, strict=True):
        assert list(done.token_ids) == plain_greedy(model, prompt, length)
        assert done.text == byte_tokenizer().decode(done.token_ids)
        assert (done.finish, done.stop_reason) == ("length", None)
        expected = plain_logprobs(model, prompt + list(done.token_ids))
        assert score.dtype == np.float32 and np.isnan(score[0])
        torch.testing.assert_close(torch.from_numpy(score[1:]), expected, atol=1e-4, rtol=0)
        assert done.logprob == pytest.approx(expected[len(prompt) - 1 :].sum().item(), abs=1e-3)


def test_a_request_is_answered_alike_whatever_runs_beside_it() -> None:
    model = tiny_model(initializer_range=0.15)
    asked = [
        (prompt, Sampling(5 + i % 30, (0.7, 1.0, 0)[i % 3], (1.0, 0.9)[i % 2], (None, 9, 1)[i % 5 % 3], seed=i))
        for i, prompt in enumerate(some_prompts(80))
    ]

    def texts(concurrency: int, shuffle: int) -> list[str]:
        order = list(range(len(asked)))
        random.Random(shuffle).shuffle(order)
        answers = run(model, lambda e: in_parallel(e, [asked[i] for i in order]), concurrency)
        return [text for _, text in sorted(zip(order, (c.text for [c] in answers), strict=True))]

    alone = texts(1, 0)
    assert len(set(alone)) > 70
    assert texts(7, 1) == alone
    assert texts(64, 2) == alone


def test_samples_of_a_prompt_differ_share_a_prefill_and_stay_themselves() -> None:
    model = tiny_model()
    widths: list[tuple[int, ...]] = []
    model.register_forward_pre_hook(
        lambda _m, _a, kwargs: widths.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    prompt = some_prompts(1)[0] + [1, 2, 3]

    def samples(n: int, concurrency: int) -> list[Completion]:
        widths.clear()
        return run(model, lambda e: e.generate(prompt, Sampling(max_tokens=8, n=n, seed=5)), concurrency)

    eight = samples(8, concurrency=16)
    assert [rows for rows, width in widths if width == len(prompt)] == [1]
    assert len({c.text for c in eight}) == 8
    assert samples(3, concurrency=16) == eight[:3]
    assert samples(8, concurrency=3) == eight


def test_many_samples_follow_the_models_distribution() -> None:
    model = tiny_model(vocab_size=12, initializer_range=0.1)
    prompt = [3, 1, 4, 1, 5]
    drawn = run(model, lambda e: e.generate(prompt, Sampling(max_tokens=1, n=4000, logprob=True)), 500)
    with torch.inference_mode():
        logprobs = model(torch.tensor([prompt])).logits[0, -1].log_softmax(-1)
    expected = 4000 * logprobs.exp().numpy()
    counts = np.bincount([c.token_ids[0] for c in drawn], minlength=12)
    assert ((counts - expected) ** 2 / expected).sum() < 38  # 0.9999 quantile, 11 degrees of freedom
    for one in drawn[:20]:
        assert one.logprob == pytest.approx(logprobs[one.token_ids[0]].item(), abs=1e-5)


def test_stop_ids_end_a_completion_and_count_in_its_logprob() -> None:
    model = tiny_model()
    prompt = some_prompts(1)[0]
    greedy = plain_greedy(model, prompt, 30)
    stop = greedy[12]
    at = greedy.index(stop)
    sampling = Sampling(max_tokens=30, temperature=0, stop_ids=(VOCABULARY - 1, stop), logprob=True)
    [done] = run(model, lambda e: e.generate(prompt, sampling))
    assert list(done.token_ids) == greedy[:at]
    assert (done.finish, done.stop_reason) == ("stop", stop)
    expected = plain_logprobs(model, prompt + greedy[: at + 1])[len(prompt) - 1 :].sum().item()
    assert done.logprob == pytest.approx(expected, abs=1e-4)


def test_stop_strings_cut_text_and_tokens_before_them() -> None:
    model, tokenizer = tiny_model(), byte_tokenizer()
    letters = tokenizer("abcdefghijklmnopqrstuvwxyz").input_ids
    with torch.no_grad():  # only letters: each token is then a character
        model.lm_head.weight[[i for i in range(VOCABULARY) if i not in letters]] = 0
    prompts = some_prompts(12)
    whole = run(model, lambda e: in_parallel(e, [(p, Sampling(max_tokens=60, seed=9)) for p in prompts]))
    texts = [c.text for [c] in whole]
    stops = tuple(text[20:22] for text in texts)
    found = run(model, lambda e: in_parallel(e, [(p, Sampling(max_tokens=60, seed=9, stop=stops)) for p in prompts]))
    for text, [full], [done] in zip(texts, whole, found, strict=True):
        at = min(text.index(stop) for stop in stops if stop in text)
        assert done.text == text[:at]
        assert done.finish == "stop" and text.startswith(str(done.stop_reason), at)
        assert tokenizer.decode(done.token_ids) == done.text
        assert done.token_ids == full.token_ids[: len(done.token_ids)]


def test_a_stop_string_of_several_bytes_a_character() -> None:
    model, tokenizer = tiny_model(), byte_tokenizer()
    spoken = tokenizer("né ≠ ok").input_ids
    wanted = iter(spoken * 3)

    def say(_module: Any, _args: Any, output: Any) -> Any:
        output.logits[...] = torch.nn.functional.one_hot(torch.tensor(next(wanted)), VOCABULARY).float()
        return output

    async def work(engine: TransformersEngine) -> list[Completion]:
        model.register_forward_hook(say)
        return await engine.generate([1], Sampling(max_tokens=20, temperature=0, stop=("≠ o",)))

    [done] = run(model, work)
    assert (done.text, done.stop_reason) == ("né ", "≠ o")
    assert list(done.token_ids) == tokenizer("né ").input_ids


def test_requests_that_cannot_be_served_fail_alone() -> None:
    model = tiny_model()
    good = some_prompts(5)

    async def work(engine: TransformersEngine) -> tuple[list[Any], list[Any]]:
        asked = [*good, [1] * WINDOW, [], [VOCABULARY], [-1], [1] * (WINDOW - 3)]
        generated = [engine.generate(p, Sampling(max_tokens=10, temperature=0)) for p in asked]
        scored = [engine.logprobs(p) for p in ([], [1] * (WINDOW + 1), [7], [1] * WINDOW)]
        return (
            await asyncio.gather(*generated, return_exceptions=True),
            await asyncio.gather(*scored, return_exceptions=True),
        )

    generated, scored = run(model, work)
    for prompt, [done] in zip(good, generated[:5], strict=True):
        assert list(done.token_ids) == plain_greedy(model, prompt, 10)
    assert all(isinstance(error, RequestError) for error in generated[5:9])
    assert f"{WINDOW} tokens" in str(generated[5]) and "empty" in str(generated[6])
    assert len(generated[9][0].token_ids) == 3 and generated[9][0].finish == "length"
    assert isinstance(scored[0], RequestError) and isinstance(scored[1], RequestError)
    assert len(scored[2]) == 1 and np.isnan(scored[2][0])
    assert len(scored[3]) == WINDOW and np.isfinite(scored[3][1:]).all()


def test_late_requests_join_and_nobody_waits_for_the_slowest() -> None:
    model = tiny_model()
    prompts = some_prompts(30)

    async def work(engine: TransformersEngine) -> tuple[list[Completion], list[list[Completion]]]:
        slow = asyncio.create_task(engine.generate([5], Sampling(max_tokens=WINDOW - 1, temperature=0)))
        await asyncio.sleep(0.02)
        asked = []
        for prompt in prompts:
            asked.append(asyncio.create_task(engine.generate(prompt, Sampling(max_tokens=3, temperature=0))))
            await asyncio.sleep(0.002)
        late = await asyncio.gather(*asked)
        assert not slow.done()
        return await slow, late

    slow, late = run(model, work)
    assert list(slow[0].token_ids) == plain_greedy(model, [5], WINDOW - 1)
    for prompt, [done] in zip(prompts, late, strict=True):
        assert list(done.token_ids) == plain_greedy(model, prompt, 3)


def test_a_trained_chat_model_asks_and_answers_alike_at_any_concurrency(model: str, chat: ChatFormat) -> None:
    """Sampled questions from the empty user turn, then greedy answers, as `synth magpie` asks for them."""
    loaded = load_model(model, EngineOptions(device="cpu"))

    def talk(concurrency: int) -> list[tuple[Completion, Completion]]:
        async def one(engine: TransformersEngine, seed: int) -> tuple[Completion, Completion]:
            ask = Sampling(max_tokens=60, stop_ids=chat.stop_ids, stop=chat.stop, seed=seed)
            [question] = await engine.generate(chat.user_prompt().ids, ask)
            prompt = chat.answer_prompt([{"role": "user", "content": question.text}])
            answer = Sampling(max_tokens=60, temperature=0, stop_ids=chat.answer_stop_ids, stop=chat.answer_stop)
            [answered] = await engine.generate(prompt, answer)
            return question, answered

        async def main() -> list[tuple[Completion, Completion]]:
            engine = TransformersEngine(loaded, chat.tokenizer, EngineOptions(concurrency=concurrency))
            rows = await asyncio.gather(*[one(engine, seed) for seed in range(100)])
            await engine.close()
            return rows

        return asyncio.run(main())

    rows = talk(64)
    assert talk(9) == rows
    assert sum(answer.finish == "stop" for _, answer in rows) > 90
    assert len({question.text for question, _ in rows}) > 50
