"""Packed rows against each row by itself, in models of many kinds."""

from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoConfig,
    GptOssConfig,
    Llama4TextConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    OPTConfig,
    Phi3Config,
    PhiConfig,
    Qwen3Config,
    Qwen3MoeConfig,
)

from synth.training.attention import PACKED, can_pack, lay_out, register

SMALL: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
}
PACKABLE = {
    "llama": LlamaConfig(**SMALL),
    "qwen3": Qwen3Config(**SMALL),
    "qwen3-moe": Qwen3MoeConfig(**SMALL, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16),
    "gemma3, window of 16": Gemma3TextConfig(**SMALL, sliding_window=16),
    "gpt2": GPT2Config(vocab_size=97, n_embd=32, n_layer=2, n_head=4, n_positions=256),
    "mistral, window of 16": MistralConfig(**SMALL, sliding_window=16),
    "phi": PhiConfig(**SMALL),
    "phi3": Phi3Config(**SMALL, pad_token_id=0),
    "opt": OPTConfig(
        vocab_size=97, hidden_size=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4, word_embed_proj_dim=32
    ),
}
UNPACKABLE = {
    "mamba carries a state": MambaConfig(vocab_size=97, hidden_size=32, num_hidden_layers=2, state_size=4),
    "gemma2 caps its scores": Gemma2Config(**SMALL),
    "gpt-neo has an attention of its own": GPTNeoConfig(
        vocab_size=97, hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]]
    ),
    "gpt-oss has sinks": GptOssConfig(**SMALL, num_local_experts=4, num_experts_per_tok=2),
}
LENGTHS = [60, 58, 40, 23, 22, 7, 3, 1]


def made(config: Any) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()


@pytest.mark.parametrize("name", PACKABLE)
def test_packed_rows_do_not_see_each_other(name: str) -> None:
    model = made(PACKABLE[name])
    assert can_pack(model, [LENGTHS, [200, 100]])
    assert model.config._attn_implementation == "eager"  # as it was
    rows = [torch.randint(0, 97, (1, length)) for length in LENGTHS]
    alone = torch.cat([model(input_ids=row).logits[0] for row in rows])
    alone.square().mean().backward()
    expected = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    model.zero_grad(set_to_none=True)
    register()
    model.set_attn_implementation(PACKED)
    lay_out(LENGTHS, torch.device("cpu"))
    positions = torch.cat([torch.arange(length) for length in LENGTHS])[None]
    packed = model(input_ids=torch.cat(rows, 1), position_ids=positions, use_cache=False).logits[0]
    assert torch.allclose(packed, alone, atol=2e-5)
    packed.square().mean().backward()
    found = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert len(found) == len(expected)
    for own, wanted in zip(found, expected, strict=True):
        assert torch.allclose(own, wanted, atol=1e-5)


@pytest.mark.parametrize("name", UNPACKABLE)
def test_models_that_cannot_be_packed_are_found_out(name: str) -> None:
    model = made(UNPACKABLE[name])
    assert not can_pack(model)
    model(input_ids=torch.arange(9)[None])  # still works as before


def test_what_shows_at_real_lengths_only_is_found_out() -> None:
    """A chunked attention whose chunks no short row fills, and which is in the mask alone."""
    text = {**SMALL, "intermediate_size_mlp": 48, "num_local_experts": 2, "attention_chunk_size": 32}
    model = made(Llama4TextConfig(**text, no_rope_layers=[1, 1], pad_token_id=0))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5.0)
    assert can_pack(model)
    assert can_pack(model, [[30, 29, 7]])
    assert not can_pack(model, [[90, 29, 7]])
    assert len(model.model.layers) == 2


def test_a_deep_model_is_tried_in_its_first_layers() -> None:
    model = made(LlamaConfig(**SMALL | {"num_hidden_layers": 12}))
    names = [name for name, _ in model.named_parameters()]
    assert can_pack(model, [[90, 29, 7]])
    assert [name for name, _ in model.named_parameters()] == names
