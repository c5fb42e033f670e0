"""Tiny random models of several architectures, and the byte-level tokenizer they share."""

from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models
from tokenizers.pre_tokenizers import ByteLevel

VOCABULARY = 256
WINDOW = 256

_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": WINDOW,
    "initializer_range": 0.3,  # wide, so that the next token hangs on the whole context
}

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", _SIZES),
    "mistral, sliding window": ("MistralConfig", _SIZES | {"sliding_window": 16}),
    "qwen2, half of it sliding": (
        "Qwen2Config",
        _SIZES | {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 2},
    ),
    "gemma2, soft caps": ("Gemma2Config", _SIZES | {"sliding_window": 16, "head_dim": 16, "pad_token_id": 0}),
    "gpt2, learned positions": (
        "GPT2Config",
        {"vocab_size": VOCABULARY, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": WINDOW},
    ),
    "mamba": ("MambaConfig", {"vocab_size": VOCABULARY, "hidden_size": 64, "num_hidden_layers": 2}),
}


def tiny_model(name: str = "llama", **changes: Any) -> Any:
    """A model of `CONFIGS` with random weights, the same each time. Nothing ends its generation of itself."""
    kind, settings = CONFIGS[name]
    torch.manual_seed(0)
    config = getattr(transformers, kind)(**(settings | {"bos_token_id": None, "eos_token_id": None} | changes))
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def byte_tokenizer() -> Any:
    """One token a byte; ids 0 to 255 in the order of the byte-level alphabet."""
    vocabulary = {letter: i for i, letter in enumerate(sorted(ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer)
