"""Merged weights, by hand."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from synth.data.run.lock import lock_directory
from synth.errors import UsageError
from synth.training.merge import merge
from tests.conftest import Here
from tests.synth.engines.tiny import tiny_model


def save(folder: Path, seed: int, *, shards: str = "5GB", dtype: torch.dtype = torch.float32, **changes: Any) -> Any:
    model = tiny_model(**changes)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=draw) * 0.01)
    model = model.to(dtype)
    model.save_pretrained(folder, max_shard_size=shards)
    return model.state_dict()


def load(folder: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto").state_dict()


@pytest.mark.parametrize("shards", ["5GB", "100KB"])
def test_interpolation_between_the_two(tmp_path: Path, shards: str) -> None:
    base = save(tmp_path / "base", 1)
    tuned = save(tmp_path / "tuned", 2, shards=shards)
    merged = merge(str(tmp_path / "base"), str(tmp_path / "tuned"), tmp_path / "out", ratio=0.25)
    result = load(tmp_path / "out")
    assert merged.tensors == len(tuned) and not merged.kept
    assert (len(list((tmp_path / "out").glob("*.safetensors"))) > 1) == (shards == "100KB")
    for name, weight in result.items():
        torch.testing.assert_close(weight, 0.75 * base[name] + 0.25 * tuned[name], atol=1e-6, rtol=1e-6)
    for ratio, same in ((0.0, base), (1.0, tuned)):
        merge(str(tmp_path / "base"), str(tmp_path / "tuned"), tmp_path / f"at {ratio}", ratio=ratio)
        assert all(torch.equal(weight, same[name]) for name, weight in load(tmp_path / f"at {ratio}").items())


def test_a_chat_vector(tmp_path: Path) -> None:
    base, tuned, chat = (save(tmp_path / name, seed) for seed, name in enumerate(("base", "tuned", "chat")))
    merge(str(tmp_path / "base"), str(tmp_path / "tuned"), tmp_path / "out", ratio=0.5, add=str(tmp_path / "chat"))
    for name, weight in load(tmp_path / "out").items():
        expected = tuned[name] + 0.5 * (chat[name] - base[name])
        torch.testing.assert_close(weight, expected, atol=1e-6, rtol=1e-6)


def test_dtypes_are_those_of_the_tuned_model(tmp_path: Path) -> None:
    base = save(tmp_path / "base", 1)
    tuned = save(tmp_path / "tuned", 2, dtype=torch.bfloat16)
    merge(str(tmp_path / "base"), str(tmp_path / "tuned"), tmp_path / "out", ratio=0.5)
    for name, weight in load(tmp_path / "out").items():
        assert weight.dtype == torch.bfloat16
        assert torch.equal(weight, (0.5 * base[name] + 0.5 * tuned[name].float()).bfloat16())


def test_a_vocabulary_that_grew_is_left_alone(tmp_path: Path) -> None:
    save(tmp_path / "base", 1)
    tuned = save(tmp_path / "tuned", 2, vocab_size=300)
    merged = merge(str(tmp_path / "base"), str(tmp_path / "tuned"), tmp_path / "out", ratio=0.5)
    assert sorted(merged.kept) == ["lm_head.weight", "model.embed_tokens.weight"]
    assert torch.equal(load(tmp_path / "out")["lm_head.weight"], tuned["lm_head.weight"])


def test_what_cannot_be_merged_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "base", 1)
    save(tmp_path / "deep", 2, num_hidden_layers=5)
    base, deep = str(tmp_path / "base"), str(tmp_path / "deep")
    out = tmp_path / "out"
    with pytest.raises(UsageError, match="not of one family"):
        merge(base, deep, out, ratio=0.5)
    with pytest.raises(UsageError, match="between 0"):
        merge(base, base, out, ratio=1.5)
    with pytest.raises(UsageError, match="no such directory"):
        merge(base, str(tmp_path / "nothing"), out, ratio=0.5)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    with pytest.raises(UsageError, match="adapter"):
        merge(base, str(tmp_path / "adapter"), out, ratio=0.5)
    (tmp_path / "bare").mkdir()
    with pytest.raises(UsageError, match="safetensors"):
        merge(base, str(tmp_path / "bare"), out, ratio=0.5)
    with pytest.raises(UsageError, match="exists"):
        merge(base, base, tmp_path / "base", ratio=0.5)
    assert not out.exists() and not list(tmp_path.glob(".*"))


def test_what_a_killed_merge_left_is_cleared_away(tmp_path: Path) -> None:
    base = save(tmp_path / "base", 1)
    left = tmp_path / ".out.tmp"
    left.mkdir()
    (left / "model-00007-of-00009.safetensors").write_bytes(b"half a shard")
    merge(str(tmp_path / "base"), str(tmp_path / "base"), tmp_path / "out", ratio=0.5)
    assert not left.exists() and {path.name for path in (tmp_path / "out").iterdir()} >= {"model.safetensors"}
    assert not list((tmp_path / "out").glob("*of-00009*")) and not (tmp_path / "out" / ".lock").exists()
    assert torch.equal(load(tmp_path / "out")["lm_head.weight"], base["lm_head.weight"])
    other = tmp_path / ".new.tmp"
    other.mkdir()
    held = lock_directory(other)  # by a merge that is under way
    with pytest.raises(UsageError, match="another run"):
        merge(str(tmp_path / "base"), str(tmp_path / "base"), tmp_path / "new", ratio=0.5)
    assert other.exists()
    os.close(held)


def test_the_command_gives_a_model_that_runs(here: Here, model: str, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "tuned")
    done = here("merge", model, tmp_path / "tuned", "--ratio", "0.3", "-o", tmp_path / "out")
    assert done.returncode == 0 and "38 tensors merged" in done.stderr, done.stderr
    assert json.loads((tmp_path / "out" / "run.json").read_text())["settings"]["ratio"] == 0.3
    card = (tmp_path / "out" / "README.md").read_text()
    assert "0.3 of the way" in card and f"synth merge {model}" in card and 'from_pretrained("out"' in card
    shown = here("show", tmp_path / "out")
    assert shown.returncode == 0 and "0.3 of the way" in shown.stdout
    ours, theirs = (
        transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
        for path in (tmp_path / "out", model)
    )
    ids = torch.tensor([[1, 4, 39, 84]])
    with torch.inference_mode():
        torch.testing.assert_close(ours(ids).logits, theirs(ids).logits)
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "out").chat_template


def test_damaged_weights_are_one_clear_line(tmp_path: Path) -> None:
    save(tmp_path / "base", 1)
    for name, content in {"cut": b"", "head": b"\xff" * 100, "long": (2**40).to_bytes(8, "little") + b"{}"}.items():
        save(tmp_path / name, 2)
        (tmp_path / name / "model.safetensors").write_bytes(content)
        with pytest.raises(UsageError, match="damaged or cut short"):
            merge(str(tmp_path / "base"), str(tmp_path / name), tmp_path / "out", ratio=0.5)
    save(tmp_path / "index", 3, shards="100KB")
    for text in ("[]", "{", '{"weight_map": 5}', '{"weight_map": {"a": 1, "b": "c"}}', "[" * 100_000):
        (tmp_path / "index" / "model.safetensors.index.json").write_text(text)
        with pytest.raises(UsageError, match="damaged"):
            merge(str(tmp_path / "base"), str(tmp_path / "index"), tmp_path / "out", ratio=0.5)
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))
