"""Llamas of random weights, of the sizes that are measured."""

from typing import Any, NamedTuple

import torch


class Shape(NamedTuple):
    """The sizes of a Llama; `tied` where its embeddings are its head, too."""

    hidden: int
    forward: int
    layers: int
    heads: int
    key_heads: int
    vocabulary: int
    tied: bool


SHAPES = {
    "2M": Shape(192, 512, 4, 6, 6, 1_024, True),
    "20M": Shape(256, 768, 6, 4, 4, 32_000, False),
    "20M-1k": Shape(512, 1_408, 6, 8, 8, 1_024, False),
    "110M": Shape(768, 2_048, 10, 12, 12, 32_000, False),
    "135M": Shape(576, 1_536, 30, 9, 3, 49_152, True),
    "1B": Shape(2_048, 8_192, 16, 32, 8, 128_256, True),
}


def llama(shape: Shape, longest: int, dtype: torch.dtype = torch.float32) -> Any:
    """A model for so many tokens at most; the same weights each time."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads,
        tie_word_embeddings=shape.tied,
        max_position_embeddings=longest,
    )
    return AutoModelForCausalLM.from_config(config, dtype=dtype)
