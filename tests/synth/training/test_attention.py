"""Packed rows against each row by itself, in models of many kinds."""

from collections.abc import Iterator
from itertools import pairwise
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

from synth.training import attention
from synth.training.attention import IMPLEMENTATIONS, Way, lay_out, register
from synth.training.packing import _trains, choose_attention

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
CAPPED = "gemma2 caps its scores"
UNPACKABLE = {
    "mamba carries a state": MambaConfig(vocab_size=97, hidden_size=32, num_hidden_layers=2, state_size=4),
    CAPPED: Gemma2Config(**SMALL, sliding_window=16, attn_logit_softcapping=0.05),
    "gpt-neo has an attention of its own": GPTNeoConfig(
        vocab_size=97, hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]]
    ),
    "gpt-oss has sinks": GptOssConfig(**SMALL, num_local_experts=4, num_experts_per_tok=2),
}
LENGTHS = [60, 58, 40, 23, 22, 7, 3, 1]


def made(config: Any) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()


ON_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="its kernels need a CUDA device")


def packed(model: Any, rows: list[torch.Tensor], way: Way) -> torch.Tensor:
    """Logits of rows laid end to end."""
    register()
    model.set_attn_implementation(IMPLEMENTATIONS[way])
    lengths = [row.shape[1] for row in rows]
    lay_out(lengths, model.device)
    positions = torch.cat([torch.arange(length) for length in lengths])[None].to(model.device)
    logits: torch.Tensor = model(input_ids=torch.cat(rows, 1), position_ids=positions, use_cache=False).logits[0]
    return logits


@pytest.mark.parametrize("name", PACKABLE)
@pytest.mark.parametrize("way", ["grouped", pytest.param("flex", marks=ON_CUDA), pytest.param("flash", marks=ON_CUDA)])
def test_packed_rows_do_not_see_each_other(name: str, way: Way) -> None:
    """Neither forwards nor backwards; FlashAttention in bfloat16, the others in float32."""
    model = made(PACKABLE[name])
    close = {"atol": 2e-5}
    if way == "grouped":
        assert choose_attention(model, [LENGTHS, [200, 100]]) == way
        assert model.config._attn_implementation == "eager"  # as it was
    else:
        model = model.to("cuda", torch.bfloat16 if way == "flash" else torch.float32)
        close = {"atol": 2e-2, "rtol": 5e-2} if way == "flash" else {"atol": 1e-4}
    rows = [torch.randint(0, 97, (1, length), device=model.device) for length in LENGTHS]
    alone = torch.cat([model(input_ids=row).logits[0] for row in rows])
    alone.float().square().mean().backward()
    expected = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    model.zero_grad(set_to_none=True)
    together = packed(model, rows, way)
    assert torch.allclose(together, alone, **close)
    together.float().square().mean().backward()
    found = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert len(found) == len(expected)
    for own, wanted in zip(found, expected, strict=True):
        assert torch.allclose(own, wanted, **close)


@pytest.mark.parametrize("name", [*PACKABLE, CAPPED])
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flexattention_forwards_on_a_cpu(name: str) -> None:
    """Where it has no backward pass, and is not compiled."""
    model = made((PACKABLE | UNPACKABLE)[name])
    if name == CAPPED:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(5.0)  # so that scores reach the cap
    rows = [torch.randint(0, 97, (1, length)) for length in LENGTHS]
    torch.compiler.reset()  # it compiles a part of itself all the same, a limited number of times
    with torch.no_grad():
        alone = torch.cat([model(input_ids=row).logits[0] for row in rows])
        assert torch.allclose(packed(model, rows, "flex"), alone, atol=2e-5)


@pytest.fixture
def flash_on_cpu() -> Iterator[None]:
    """A plain rendering of what torch documents of its kernels for rows of many lengths."""

    def kernel(*given: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        query, key, value, starts, key_starts, longest, longest_key, causal, scale, window, *_ = given
        left, right = window
        assert causal == (left == -1) and starts.dtype == torch.int32 and longest == longest_key
        assert torch.equal(starts, key_starts) and right == 0 and longest == int(starts.diff().max())
        rows = []
        for start, end in pairwise(starts.tolist()):
            place = torch.arange(end - start)
            distance = place[:, None] - place[None]
            sees = (distance >= 0) & ((distance <= left) if left >= 0 else True)
            parts = (part[start:end].transpose(0, 1) for part in (query, key, value))
            row = torch.nn.functional.scaled_dot_product_attention(*parts, sees, scale=scale, enable_gqa=True)
            rows.append(row.transpose(0, 1))
        return torch.cat(rows), torch.empty(0), torch.empty(0)

    library = torch.library.Library("torch_attn", "IMPL")
    library.impl("_varlen_attn", kernel, "CPU", allow_override=True)
    yield
    library._destroy()


@pytest.mark.parametrize("name", PACKABLE)
def test_flashattention_is_called_as_documented(name: str, flash_on_cpu: None) -> None:
    model = made(PACKABLE[name])
    rows = [torch.randint(0, 97, (1, length)) for length in LENGTHS]
    with torch.no_grad():
        alone = torch.cat([model(input_ids=row).logits[0] for row in rows])
        assert torch.allclose(packed(model, rows, "flash"), alone, atol=2e-5)


@pytest.mark.parametrize("way", ["flash", "flex"])
def test_what_a_way_cannot_do_is_refused(way: Way) -> None:
    """It is left to the next one, which the trial finds."""
    dropping = made(LlamaConfig(**SMALL, attention_dropout=0.1)).train()
    with pytest.raises(NotImplementedError, match="dropout"):
        packed(dropping, [torch.arange(9)[None]], way)
    with pytest.raises(NotImplementedError, match="dropout"):
        _trains(dropping, way, [5, 3])
    assert packed(dropping, [torch.arange(9)[None]], "grouped").shape == (9, 97)


def test_a_way_is_tried_backwards_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """On CUDA, whose kernels may have no backward pass for a size of heads, or a wrong one."""
    model = made(PACKABLE["llama"])
    assert _trains(model, "grouped", [13, 11, 5])

    class Doubled(torch.autograd.Function):  # type: ignore[misc] # torch is not followed
        @staticmethod
        def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
            return value.clone()

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
            return 2 * gradient

    right = attention._WAYS["grouped"]
    monkeypatch.setitem(attention._WAYS, "grouped", lambda *given: Doubled.apply(right(*given)))
    assert not _trains(model, "grouped", [13, 11, 5])


@pytest.mark.parametrize("name", UNPACKABLE)
def test_models_that_cannot_be_packed_are_found_out(name: str) -> None:
    model = made(UNPACKABLE[name])
    assert choose_attention(model) is None
    model(input_ids=torch.arange(9)[None])  # still works as before


def test_what_shows_at_real_lengths_only_is_found_out() -> None:
    """A chunked attention whose chunks no short row fills, and which is in the mask alone."""
    text = {**SMALL, "intermediate_size_mlp": 48, "num_local_experts": 2, "attention_chunk_size": 32}
    model = made(Llama4TextConfig(**text, no_rope_layers=[1, 1], pad_token_id=0))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5.0)
    assert choose_attention(model)
    assert choose_attention(model, [[30, 29, 7]])
    assert choose_attention(model, [[90, 29, 7]]) is None
    assert len(model.model.layers) == 2


def test_a_deep_model_is_tried_in_its_first_layers() -> None:
    model = made(LlamaConfig(**SMALL | {"num_hidden_layers": 12}))
    names = [name for name, _ in model.named_parameters()]
    assert choose_attention(model, [[90, 29, 7]])
    assert [name for name, _ in model.named_parameters()] == names
