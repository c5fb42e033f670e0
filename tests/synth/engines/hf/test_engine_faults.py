"""The transformers engine when models, memory, requests or settings go wrong, and how it is opened and closed."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from synth.engines.base import EngineOptions, Sampling
from synth.engines.hf.engine import TransformersEngine, open_transformers
from synth.engines.hf.kv_batch import probe_cache
from synth.errors import RequestError, RunError, UsageError
from tests.synth.engines.tiny import VOCABULARY, WINDOW, byte_tokenizer, tiny_model

GREEDY = Sampling(max_tokens=12, temperature=0)
LONG = Sampling(max_tokens=WINDOW - 1, temperature=0)


def prompts(count: int) -> list[list[int]]:
    return [[(7 * i + j) % VOCABULARY for j in range(1 + i % 20)] for i in range(count)]


def greedy_alone(asked: list[list[int]]) -> list[Any]:
    async def main() -> list[Any]:
        engine = TransformersEngine(tiny_model(), byte_tokenizer())
        done = [await engine.generate(prompt, GREEDY) for prompt in asked]
        await engine.close()
        return done

    return asyncio.run(main())


def test_a_cancelled_request_leaves_the_batch() -> None:
    async def main() -> None:
        engine = TransformersEngine(tiny_model(), byte_tokenizer(), EngineOptions(concurrency=2))
        running = [asyncio.create_task(engine.generate([i], LONG)) for i in range(2)]
        waiting = asyncio.create_task(engine.generate([9], LONG))
        scored = asyncio.create_task(engine.logprobs([1, 2, 3]))
        await asyncio.sleep(0.05)
        for task in (*running, waiting, scored):
            task.cancel()
        await asyncio.gather(*running, waiting, scored, return_exceptions=True)
        [done] = await asyncio.wait_for(engine.generate([5], GREEDY), 60)
        assert len(done.token_ids) == 12
        drawn = engine.usage.completion_tokens
        assert drawn < 3 * LONG.max_tokens
        await asyncio.sleep(0.1)
        assert engine.usage.completion_tokens == drawn
        await engine.close()

    asyncio.run(main())


def test_a_failing_model_fails_everyone_and_says_why() -> None:
    model = tiny_model()
    calls = 0

    def fail(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise ValueError("boom")

    async def main() -> None:
        engine = TransformersEngine(model, byte_tokenizer())
        model.register_forward_pre_hook(fail)
        asked = [engine.generate(prompt, LONG) for prompt in prompts(20)]
        answers = await asyncio.gather(*asked, engine.logprobs([1, 2]), return_exceptions=True)
        assert sum(isinstance(a, RunError) and "boom" in str(a) for a in answers) >= 20
        with pytest.raises(RunError, match="boom"):
            await engine.generate([1], GREEDY)
        await engine.close()

    asyncio.run(main())


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_model_without_numbers_is_called_broken(temperature: float) -> None:
    model = tiny_model()
    model.lm_head.weight.data[3, 0] = float("nan")

    async def main() -> None:
        engine = TransformersEngine(model, byte_tokenizer())
        with pytest.raises(RunError, match="model is broken"):
            await engine.generate([1, 2], Sampling(temperature=temperature))
        await engine.close()
        engine = TransformersEngine(model, byte_tokenizer())
        with pytest.raises(RunError, match="model is broken"):
            await engine.logprobs([1, 2])
        await engine.close()

    asyncio.run(main())


@pytest.mark.parametrize("most", [1, 5])
def test_out_of_memory_halves_the_batch_and_loses_nothing(most: int) -> None:
    model = tiny_model()
    sizes: list[int] = []

    def refuse_wide(_module: Any, _args: Any, kwargs: Any) -> None:
        sizes.append(len(kwargs["input_ids"]))
        if sizes[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    async def main() -> list[Any]:
        engine = TransformersEngine(model, byte_tokenizer(), EngineOptions(concurrency=32))
        model.register_forward_pre_hook(refuse_wide, with_kwargs=True)
        generated = [engine.generate(prompt, GREEDY) for prompt in prompts(40)]
        scored = [engine.logprobs([1, 2, 3]) for _ in range(10)]
        done, scores = await asyncio.gather(asyncio.gather(*generated), asyncio.gather(*scored))
        assert len(scores) == 10 and all(len(score) == 3 for score in scores)
        await engine.close()
        return done

    assert asyncio.run(main()) == greedy_alone(prompts(40))
    assert max(sizes) > most


def test_out_of_memory_in_the_middle_keeps_what_was_drawn() -> None:
    model = tiny_model()
    calls = 0

    def fail_at_times(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls in (6, 15, 16, 30):
            raise torch.OutOfMemoryError("out of memory")

    async def main() -> list[Any]:
        engine = TransformersEngine(model, byte_tokenizer(), EngineOptions(concurrency=32))
        model.register_forward_pre_hook(fail_at_times)
        sampled = Sampling(max_tokens=12, temperature=0.5, n=2, seed=3)
        done = await asyncio.gather(*[engine.generate(prompt, sampled) for prompt in prompts(20)])
        assert engine.usage.completion_tokens == 20 * 2 * 12
        await engine.close()
        return done

    interrupted = asyncio.run(main())
    assert calls > 30
    assert asyncio.run(main()) == interrupted  # this time without interruptions


def test_a_sequence_too_large_for_memory_fails_alone() -> None:
    model = tiny_model()

    def refuse_long(_module: Any, _args: Any, kwargs: Any) -> None:
        if kwargs["input_ids"].shape[1] > 50:
            raise torch.OutOfMemoryError("out of memory")

    asked = [*prompts(6), [1] * 60]

    async def main() -> list[Any]:
        engine = TransformersEngine(model, byte_tokenizer())
        model.base_model.register_forward_pre_hook(refuse_long, with_kwargs=True)  # scores call it alone
        answers = await asyncio.gather(*[engine.generate(p, GREEDY) for p in asked], return_exceptions=True)
        scores = await asyncio.gather(*[engine.logprobs(p) for p in asked], return_exceptions=True)
        assert [isinstance(score, RequestError) for score in scores] == [False] * 6 + [True]
        await engine.close()
        return answers

    answers = asyncio.run(main())
    assert isinstance(answers[-1], RequestError) and "out of memory" in str(answers[-1])
    assert answers[:-1] == greedy_alone(asked[:-1])


def test_the_batch_keeps_to_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    per_token = sum(layer.keys.nbytes + layer.values.nbytes for layer in probe_cache(model).layers)
    monkeypatch.setattr("synth.engines.hf.engine.cache_memory", lambda *_: int(per_token * 100 * 1.5))
    rows: list[int] = []

    async def main() -> list[Any]:
        engine = TransformersEngine(model, byte_tokenizer())
        model.register_forward_pre_hook(lambda _m, _a, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True)
        done = await asyncio.gather(*[engine.generate(p, GREEDY) for p in prompts(15)])
        await engine.generate([1] * 150, GREEDY)  # larger than the budget, but alone
        await engine.close()
        return done

    assert asyncio.run(main()) == greedy_alone(prompts(15))
    assert 2 < max(rows) <= 100 // 13


def test_closing_fails_what_is_under_way() -> None:
    async def main() -> None:
        engine = TransformersEngine(tiny_model(), byte_tokenizer())
        running = asyncio.create_task(engine.generate([1], LONG))
        await asyncio.sleep(0.02)
        await engine.close()
        with pytest.raises(RunError, match="closed"):
            await running
        with pytest.raises(RunError, match="closed"):
            await engine.logprobs([1, 2])
        await engine.close()

    asyncio.run(main())


def test_one_engine_serves_one_event_loop_after_another() -> None:
    engine = TransformersEngine(tiny_model(), byte_tokenizer())
    first = asyncio.run(engine.generate([1, 2], GREEDY))
    assert asyncio.run(engine.generate([1, 2], GREEDY)) == first
    asyncio.run(engine.close())


def test_models_that_keep_another_state_are_refused() -> None:
    with pytest.raises(UsageError, match="MambaForCausalLM"):
        TransformersEngine(tiny_model("mamba"), byte_tokenizer())


def open_and_close(model: str, **options: Any) -> TransformersEngine:
    async def main() -> Any:
        engine = await open_transformers(model, byte_tokenizer(), EngineOptions(**options))
        await engine.close()
        return engine

    engine: TransformersEngine = asyncio.run(main())
    return engine


def test_opening_reports_device_dtype_and_window(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path)
    engine = open_and_close(str(tmp_path), device="cpu")
    assert engine.description == "transformers, LlamaForCausalLM on cpu, float32"
    assert engine.max_length == WINDOW
    engine = open_and_close(str(tmp_path), device="cpu", dtype="bfloat16", max_length=99)
    assert "bfloat16" in engine.description and engine.max_length == 99


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dtype": "float8"}, "dtype must be"),
        ({"device": "quantum"}, "not available"),
        ({"max_length": WINDOW + 1}, "maximum length"),
        ({"max_length": 1}, "maximum length"),
    ],
)
def test_options_that_do_not_suit_are_refused(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    tiny_model().save_pretrained(tmp_path)
    with pytest.raises(UsageError, match=words):
        open_and_close(str(tmp_path), **({"device": "cpu"} | options))


def test_a_path_without_a_model_gets_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "no weights").mkdir()
    tiny_model().config.save_pretrained(tmp_path / "no weights")
    (tmp_path / "garbage").mkdir()
    (tmp_path / "garbage" / "config.json").write_text("{")
    for name, words in [
        ("missing", "no such directory"),
        ("empty", "no config.json"),
        ("no weights", "cannot load"),
        ("garbage", "not a model that can be read"),
    ]:
        with pytest.raises(UsageError, match=words) as refused:
            open_and_close(str(tmp_path / name))
        assert "\n" not in str(refused.value) and name in str(refused.value)


@pytest.mark.parametrize("kind", ["RobertaConfig", "BartConfig", "MarianConfig"])
def test_a_model_that_counts_padding_is_refused(kind: str) -> None:
    """It finds positions by itself, so that its answers were others beside longer rows; here by up to 57 nats."""
    torch.manual_seed(0)
    small = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    small |= {"d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 48}
    config = getattr(transformers, kind)(**small, is_decoder=True, pad_token_id=0, eos_token_id=2)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    for weights in model.parameters():
        weights.data.mul_(5)
    with pytest.raises(UsageError, match="other answers beside longer rows than alone"):
        TransformersEngine(model, byte_tokenizer())
