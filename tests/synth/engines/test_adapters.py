"""Adapters in the engines: a model with one answers as the merged model does; those that do not fit are refused."""

import asyncio
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import synth
from synth.chat.format import ChatFormat
from synth.engines.adapters import adapter_for, doubt_of, read_adapter
from synth.engines.base import EngineOptions, Sampling
from synth.engines.open import open_engine
from synth.errors import UsageError
from tests.conftest import Loop
from tests.synth.engines.adapted import MODEL, write_adapter

ASKED = ["What is 12 + 7?", "How do I make holes in paper?", "Write the word garden backwards.", "Who are you?"]


@pytest.fixture
def copied(tuned: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tuned / "adapter", tmp_path / "copied"))


def changed(adapter: Path, **settings: Any) -> str:
    config = json.loads((adapter / "adapter_config.json").read_text()) | settings
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    return str(adapter)


def answers(loop: Loop, chat: ChatFormat, engine: str, model: str | Path, options: EngineOptions) -> list[str]:
    """Greedy answers of a model; 30 tokens each, which is longer than most of the sample model's."""
    sampling = Sampling(max_tokens=30, temperature=0, stop_ids=chat.answer_stop_ids)
    prompts = [chat.answer_prompt([{"role": "user", "content": question}]) for question in ASKED]

    async def asked() -> list[str]:
        opened = await open_engine(engine, str(model), chat.tokenizer, options)
        try:
            found = await asyncio.gather(*(opened.generate(prompt, sampling) for prompt in prompts))
        finally:
            await opened.close()
        return [completion.text for [completion] in found]

    found: list[str] = loop.run(asked(), timeout=900)
    return found


@pytest.mark.parametrize("engine", ["transformers", pytest.param("vllm", marks=pytest.mark.vllm)])
def test_a_model_with_an_adapter_answers_as_the_merged_one(
    loop: Loop, chat: ChatFormat, tuned: Path, engine: str
) -> None:
    pytest.importorskip(engine)
    options = EngineOptions(device="cpu", adapter=str(tuned / "adapter"))
    if engine == "vllm":  # speculation accepts no token that the model would not have chosen
        ngrams = {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 3}
        options = replace(options, engine_args={"speculative_config": ngrams, "enforce_eager": True})
    plain, merged = (answers(loop, chat, "transformers", name, EngineOptions(device="cpu")) for name in (MODEL, tuned))
    assert answers(loop, chat, engine, MODEL, options) == merged != plain


def test_scores_and_rows_say_which_adapter(tuned: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows = [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello, you two."}]}]
    given = {"engine": "transformers", "device": "cpu"}
    with synth.load(MODEL, **given, adapter=tuned / "adapter") as model, synth.load(tuned, **given) as whole:  # type: ignore[arg-type]
        scored, expected = (synth.score_tokens(one, rows) for one in (model, whole))
        [row] = synth.magpie(model, rows=1, output=tmp_path / "d")
        assert row["model"] == f"{MODEL} + {tuned / 'adapter'}"
    said = capfd.readouterr().err
    assert f"loading {MODEL} + {tuned / 'adapter'}\n" in said
    assert f"adapter {tuned / 'adapter'} (trained on {MODEL})" in said
    for one, other in zip(scored, expected, strict=True):
        mine, theirs = (np.array(row["logprobs"], float) for row in (one, other))
        assert np.isfinite(mine).any() and np.allclose(mine, theirs, atol=1e-4, equal_nan=True)
        assert one["scorer"] != other["scorer"]
    record = json.loads((tmp_path / "d" / "run.json").read_text())
    assert record["settings"]["revision"].endswith("+" + record["settings"]["adapter"])
    with pytest.raises(UsageError, match=r"other settings \(adapter: .*now null"):
        synth.magpie(synth.load(MODEL, **given), rows=2, output=tmp_path / "d")  # type: ignore[arg-type]


def test_evaluate_with_and_without_an_adapter(tuned: Path) -> None:
    items = [{"prompt": question, "reference": "7", "verifier": "math"} for question in ASKED]
    model = synth.load(MODEL, engine="transformers", device="cpu")
    found = synth.evaluate(items, models=model, adapter=str(tuned / "adapter"), max_tokens=20)
    assert [one["name"] for one in found.scores["models"]] == ["model", "tuned"]
    with pytest.raises(UsageError, match="two models are called model"):
        synth.evaluate(items, models=model, adapter={"model": tuned / "adapter"})


def test_those_that_do_not_fit_are_refused(tuned: Path, copied: Path, hybrid: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"the adapter that was trained with it is {tuned}/adapter"):
        adapter_for(str(tuned), MODEL)
    with pytest.raises(UsageError, match="whose weights are not those of"):
        adapter_for(changed(copied, base_model_name_or_path=str(tuned)), MODEL)
    other = write_adapter(tmp_path / "wide", target_modules=["q_proj"])
    adapter_for(str(other), MODEL)
    from safetensors.numpy import load_file, save_file

    weights = load_file(other / "adapter_model.safetensors")
    for name, fault in (("layers.0", "layers.90"), ("", "")):
        renamed = {key.replace(name, fault): value[:, :-1] if not name else value for key, value in weights.items()}
        save_file(renamed, other / "adapter_model.safetensors")
        with pytest.raises(UsageError, match="was made for another model"):
            adapter_for(str(other), MODEL)


@pytest.mark.parametrize(
    ("file", "content", "fault"),
    [
        ("adapter_config.json", "{", "cannot be read"),
        ("adapter_config.json", "[1]", "names no peft_type"),
        ("adapter_config.json", '{"peft_type": "LORA", "r": "8"}', "the ranks"),
        ("adapter_model.safetensors", "x" * 90, "damaged or cut short"),
        ("adapter_model.safetensors", None, "has no adapter_model.safetensors"),
    ],
)
def test_broken_ones_are_refused(copied: Path, file: str, content: str | None, fault: str) -> None:
    (copied / file).unlink()
    if content is not None:
        (copied / file).write_text(content)
    with pytest.raises(UsageError, match=fault):
        adapter_for(str(copied), MODEL)


@pytest.mark.vllm
def test_vllm_says_at_once_what_it_does_not_take(tuned: Path, copied: Path) -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed")
    with pytest.raises(UsageError, match="vLLM applies LoRA, not LOHA"):
        synth.load(MODEL, engine="vllm", adapter=changed(copied, peft_type="LOHA"))
    with pytest.raises(UsageError, match="rank 1,000; vLLM takes 512 at most"):
        synth.load(MODEL, engine="vllm", adapter=changed(copied, peft_type="LORA", r=1000))
    with pytest.raises(UsageError, match="DoRA"):
        synth.load(MODEL, engine="vllm", adapter=changed(copied, r=4, use_dora=True))
    with pytest.raises(UsageError, match="quantisation: vLLM has no such engine argument; did you mean quantization"):
        synth.load(MODEL, engine="vllm", engine_args={"quantisation": "fp8"})
    with pytest.raises(UsageError, match=r"`engine_args` seed: .*made from `seed`"):
        synth.load(MODEL, engine="vllm", engine_args={"seed": 1})
    ngrams = {"method": "ngram", "num_speculative_tokens": 2}
    given = synth.load(MODEL, engine="vllm", engine_args={"kv-cache-dtype": "fp8", "speculative_config": ngrams})
    assert given.record()["engine_args"] == {"kv_cache_dtype": "fp8", "speculative_config": ngrams}
    assert given.other(f"{MODEL}@http://127.0.0.1:9").record().get("engine_args") is None
    assert given.run_in("transformers").record().get("engine_args") is None
    with pytest.raises(UsageError, match="recorded as JSON"):
        synth.load(MODEL, engine="vllm", engine_args={"quantization": {1}})


def test_read_adapter_finds_its_highest_rank(copied: Path) -> None:
    assert read_adapter(changed(copied, rank_pattern={"q_proj": 9})).rank == 9


@pytest.mark.vllm
def test_a_started_vllm_that_refuses_the_adapter_is_ended(
    loop: Loop, chat: ChatFormat, tuned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed")
    from vllm.v1.engine.async_llm import AsyncLLM

    class Started:
        ended = 0

        async def add_lora(self, request: Any) -> bool:
            raise ValueError("No adapter found")

        def shutdown(self) -> None:
            self.ended += 1

    llm = Started()
    monkeypatch.setattr(AsyncLLM, "from_engine_args", lambda arguments: llm)
    with pytest.raises(UsageError, match="No adapter found"):
        loop.run(open_engine("vllm", MODEL, chat.tokenizer, EngineOptions(adapter=str(tuned / "adapter"))))
    assert llm.ended == 1


def test_an_argument_that_is_given_by_both_its_names_is_refused() -> None:
    with pytest.raises(UsageError, match="`engine_args` kv_cache_dtype is given twice"):
        synth.load(MODEL, engine="vllm", engine_args={"kv-cache-dtype": "fp8", "kv_cache_dtype": "auto"})


@pytest.mark.vllm
def test_vllm_arguments_that_undo_what_synth_sets_are_refused() -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed")
    for name in ("kv_cache_memory_bytes", "lora_target_modules", "hf_config_path", "watermark_config"):
        with pytest.raises(UsageError, match=f"`engine_args` {name}: "):
            synth.load(MODEL, engine="vllm", engine_args={name: 1})


def saved_again(tmp_path: Path, changed: float = 0, **settings: Any) -> Path:
    """The sample model, saved in another way, perhaps with other weights in its head."""
    import torch

    from synth.engines.loading import load_causal_model

    model = load_causal_model(MODEL, settings.pop("dtype", torch.float32))
    model.lm_head.weight.data += changed
    model.save_pretrained(tmp_path, **settings)
    return tmp_path


def test_the_base_may_be_stored_in_other_shards_or_formats(copied: Path, tmp_path: Path) -> None:
    import torch

    sharded = saved_again(tmp_path / "sharded", max_shard_size="1MB")
    assert len(list(sharded.glob("*.safetensors"))) > 1
    rounded = saved_again(tmp_path / "rounded", dtype=torch.bfloat16)
    for base in (sharded, rounded):
        adapter_for(changed(copied, base_model_name_or_path=str(base)), MODEL)
        assert doubt_of(str(copied), MODEL) is None
    other = saved_again(tmp_path / "other", 0.1, max_shard_size="1MB")
    with pytest.raises(UsageError, match="whose weights are not those of"):
        adapter_for(changed(copied, base_model_name_or_path=str(other)), MODEL)


def test_bases_of_bin_files_are_compared(copied: Path, tmp_path: Path) -> None:
    """Files written by PyTorch itself, as models of some years ago are."""
    import torch

    for name, place in (("one", 0.0), ("other", 0.1)):
        folder = saved_again(tmp_path / name, place)
        (weights,) = folder.glob("*.safetensors")
        from safetensors.torch import load_file

        torch.save(load_file(weights), folder / "pytorch_model.bin")
        weights.unlink()
    one = tmp_path / "one"
    with pytest.raises(UsageError, match="whose weights are not those of"):
        adapter_for(changed(copied, base_model_name_or_path=str(tmp_path / "other")), str(one))
    shutil.copytree(one, tmp_path / "same")
    adapter_for(changed(copied, base_model_name_or_path=str(tmp_path / "same")), str(one))
    assert doubt_of(str(copied), str(one)) is None and "could not be compared" in str(doubt_of(str(copied), MODEL))


def test_a_base_that_cannot_be_compared_is_said_once(
    copied: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = changed(copied, base_model_name_or_path="acme/base-1b")
    with synth.load(MODEL, engine="transformers", device="cpu", adapter=folder) as model:
        list(synth.magpie(model, rows=1, output=tmp_path / "d"))
        list(synth.magpie(model, rows=1, output=tmp_path / "e"))
    said = capfd.readouterr().err
    assert said.count(f"made for acme/base-1b, which could not be compared with {MODEL}") == 1
