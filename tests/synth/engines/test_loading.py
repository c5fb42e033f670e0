"""The one door to a model's files: nothing goes past it, and what cannot be read ends in one line."""

import ast
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from synth.chat.derive import format_for
from synth.engines.hf.forward import Scorer
from synth.engines.loading import (
    load_causal_model,
    load_config,
    load_end_ids,
    load_tokenizer,
    own_attention,
    remote_code,
)
from synth.errors import UsageError
from synth.training.packing import choose_attention
from tests.synth.engines.hf.test_engine import plain_logprobs

ROOT = Path(__file__).parents[3]
SMALL: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": 0,
}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}


def test_nothing_of_a_model_is_loaded_elsewhere() -> None:
    """Calls and imports are looked at, not texts: a card may tell its reader how to load a model."""
    calls, imports = (
        {"from_pretrained", "from_config", "SentenceTransformer"},
        re.compile(r"Auto[A-Z]\w+|GenerationConfig"),
    )
    found, ways, told = [], Counter[str](), 0
    for folder in ("synth", "cli", "filters"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                names = []
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in calls:
                    names = [node.func.attr]
                elif isinstance(node, ast.ImportFrom) and node.module == "transformers":
                    names = [alias.name for alias in node.names if imports.fullmatch(alias.name)]
                if file == ROOT / "synth" / "engines" / "loading.py":
                    ways.update(names)
                    told += any(word.arg == "trust_remote_code" for word in getattr(node, "keywords", []))
                else:
                    found += [f"{file.relative_to(ROOT)}: {name}" for name in names]
    assert found == ["synth/engines/adapters.py: from_pretrained"]  # of peft: weights of an adapter, no code
    assert (ways["from_pretrained"], ways["from_config"], ways["SentenceTransformer"]) == (5, 1, 1)
    assert told == 5  # all but GenerationConfig and model2vec, which know no code of models'


ARCHITECTURES: dict[str, tuple[str, dict[str, Any], str]] = {
    "gemma2, caps": ("Gemma2Config", {"sliding_window": 16}, "eager"),
    "gemma2, no caps": ("Gemma2Config", {"sliding_window": 16, "attn_logit_softcapping": None}, "sdpa"),
    "vaultgemma, caps": ("VaultGemmaConfig", {"sliding_window": 16}, "eager"),
    "gemma3": ("Gemma3TextConfig", {"sliding_window": 16}, "sdpa"),
    "gpt-oss, sinks": ("GptOssConfig", EXPERTS | {"sliding_window": 16}, "eager"),
    "bloom, alibi": ("BloomConfig", {"n_head": 4, "n_layer": 2}, "eager"),
    "mpt, alibi": ("MptConfig", {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 256}, "eager"),
    "falcon, alibi": ("FalconConfig", {"alibi": True, "head_dim": None}, "eager"),
    "falcon, rotary": ("FalconConfig", {"alibi": False, "head_dim": None}, "sdpa"),
    "cohere2, window": ("Cohere2Config", {"sliding_window": 16}, "sdpa"),
    "qwen3": ("Qwen3Config", {}, "sdpa"),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_attention_that_a_model_needs_is_the_one_it_gets(tmp_path: Path, name: str) -> None:
    """With large queries and keys, where a cap, a sink or a bias decides."""
    kind, settings, expected = ARCHITECTURES[name]
    torch.manual_seed(0)
    given = {name: value for name, value in (SMALL | settings).items() if (name, value) != ("head_dim", None)}
    config = getattr(transformers, kind)(**given)
    eager = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for weight, numbers in eager.named_parameters():
            if "attn" in weight or "attention" in weight:
                numbers.data.normal_(0, 3) if "sink" in weight else numbers.data.mul_(12)
    eager.save_pretrained(tmp_path)
    draw = np.random.default_rng(1)
    rows = [draw.integers(3, 97, size).tolist() for size in (100, 61, 60, 8)]
    loaded = load_causal_model(str(tmp_path), torch.float32)
    assert loaded.config._attn_implementation == own_attention(loaded) == expected
    with torch.inference_mode():
        scores = Scorer(loaded).score(rows)
        for tokens, found in zip(rows, scores, strict=True):
            assert isinstance(found, np.ndarray)
            np.testing.assert_allclose(found[1:], plain_logprobs(eager, tokens).numpy(), atol=1e-4, rtol=0)
    ids = torch.tensor(rows[:1])
    choose_attention(loaded)  # tries another attention, and puts this one back
    assert loaded.config._attn_implementation == expected
    for model in (eager, loaded):
        model.train()
        model(input_ids=ids, labels=ids).loss.backward()
    for own, other in zip(loaded.parameters(), eager.parameters(), strict=True):
        if other.grad is not None and own.grad is not None:
            torch.testing.assert_close(own.grad, other.grad, atol=1e-4 * max(1, other.grad.abs().max()), rtol=1e-2)


def test_a_configuration_chooses_no_attention(tmp_path: Path, model: str) -> None:
    folder = shutil.copytree(model, tmp_path / "model")
    change(folder / "config.json", attn_implementation="someone/kernel", _attn_implementation="someone/kernel")
    assert load_causal_model(str(folder), torch.float32).config._attn_implementation == "sdpa"


def change(file: Path, **fields: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def write(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


def set_to(name: str, **fields: Any) -> Callable[[Path], object]:
    return lambda folder: change(folder / name, **fields)


def cut(name: str, size: int) -> Callable[[Path], object]:
    def do(folder: Path) -> None:
        with (folder / name).open("r+b") as file:
            file.truncate(size)

    return do


def without_a_tensor(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def as_directory(name: str) -> Callable[[Path], object]:
    def do(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return do


DAMAGES: dict[str, Callable[[Path], object]] = {
    "config is a list": write("config.json", "[]"),
    "config is a number": write("config.json", "3"),
    "config is null": write("config.json", "null"),
    "config is cut off": cut("config.json", 100),
    "config is empty": write("config.json", ""),
    "config is deep": write("config.json", "[" * 100_000),
    "config is a directory": as_directory("config.json"),
    "config of no type": write("config.json", "{}"),
    "unknown type": set_to("config.json", model_type="nobody-knows"),
    "type is null": set_to("config.json", model_type=None),
    "type is a list": set_to("config.json", model_type=["llama"]),
    "vocabulary is text": set_to("config.json", vocab_size="many"),
    "vocabulary is negative": set_to("config.json", vocab_size=-5),
    "vocabulary is another": set_to("config.json", vocab_size=77),
    "window is text": set_to("config.json", max_position_embeddings="512"),
    "window is negative": set_to("config.json", max_position_embeddings=-1),
    "no layers": set_to("config.json", num_hidden_layers=-1),
    "window is huge": set_to("config.json", max_position_embeddings=10**30),
    "no heads": set_to("config.json", num_attention_heads=0),
    "rope is a list": set_to("config.json", rope_parameters=[1]),
    "dtype unknown": set_to("config.json", dtype="float7"),
    "activation unknown": set_to("config.json", hidden_act="magic"),
    "generation config is a list": write("generation_config.json", "[]"),
    "generation config is cut off": cut("generation_config.json", 20),
    "generation config is a directory": as_directory("generation_config.json"),
    "end is text": set_to("generation_config.json", eos_token_id="</s>"),
    "end is a list of text": set_to("generation_config.json", eos_token_id=["</s>"]),
    "end is negative": set_to("generation_config.json", eos_token_id=-1),
    "end is a number with a point": set_to("generation_config.json", eos_token_id=2.5),
    "temperature is text": set_to("generation_config.json", temperature="hot", do_sample=True),
    "tokenizer is a list": write("tokenizer.json", "[]"),
    "tokenizer is cut off": cut("tokenizer.json", 5_000),
    "tokenizer is a directory": as_directory("tokenizer.json"),
    "tokenizer config is a list": write("tokenizer_config.json", "[]"),
    "tokenizer config is cut off": cut("tokenizer_config.json", 60),
    "special tokens are numbers": set_to("tokenizer_config.json", bos_token=7, eos_token=[1]),
    "weights are missing": lambda folder: (folder / "model.safetensors").unlink(),
    "weights are cut off": cut("model.safetensors", 1_000_000),
    "weights are no weights": write("model.safetensors", "weights"),
    "weights are empty": write("model.safetensors", ""),
    "a tensor is missing": without_a_tensor,
    "index names what is not there": write(
        "model.safetensors.index.json", '{"weight_map": {"lm_head.weight": "model-00009.safetensors"}}'
    ),
}
HARMLESS = {"temperature is text", "index names what is not there", "config of no type", "type is null"}
"""What the libraries may also pass over, as it plays no part in what we load."""


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_files_end_in_one_line(tmp_path: Path, model: str, name: str) -> None:
    folder = shutil.copytree(model, tmp_path / "model")
    DAMAGES[name](folder)
    try:
        format_for(str(folder))
        load_causal_model(str(folder), torch.float32)
    except UsageError as error:
        assert "\n" not in str(error) and len(str(error)) < 700 and "model" in str(error)
    else:
        assert name in HARMLESS


@pytest.mark.parametrize("limit", [1e30, 10**40, "512", -1, 0, None, True, [512], float("inf"), 512.5])
def test_a_limit_that_is_none_is_as_none(tmp_path: Path, model: str, limit: Any) -> None:
    folder = shutil.copytree(model, tmp_path / "model")
    change(folder / "tokenizer_config.json", model_max_length=limit)
    tokenizer = load_tokenizer(str(folder))
    assert tokenizer.model_max_length == int(1e30)
    assert tokenizer.encode("What is 3 plus 4?" * 200)


@pytest.mark.parametrize(
    "name", ["", ".", "x" * 500, "a/b/c", "\x00", "sampels/model", "~nobody/model", "samples/modle"]
)
def test_names_that_name_nothing(name: str) -> None:
    with pytest.raises(UsageError) as refused:
        load_config(name)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 600
    if name == "samples/modle":
        assert "did you mean samples/model?" in str(refused.value)


def test_a_permission_ends(model: str) -> None:
    from synth.engines.loading import remote_code_allowed

    assert not remote_code_allowed()
    with pytest.raises(ZeroDivisionError), remote_code(allowed=True):
        assert remote_code_allowed()
        raise ZeroDivisionError
    assert not remote_code_allowed()
    assert load_end_ids(model) == (2,)


def test_a_vocabulary_with_a_huge_id_is_refused_before_it_is_copied(tmp_path: Path, model: str) -> None:
    damaged = shutil.copytree(model, tmp_path / "model")
    known = json.loads((damaged / "tokenizer.json").read_text())
    known["model"]["vocab"]["W"] = 2**31
    (damaged / "tokenizer.json").write_text(json.dumps(known))
    with pytest.raises(UsageError, match=r"tokenizer\.json is damaged: it gives 'W' the id 2,147,483,648"):
        load_tokenizer(str(damaged))
