"""Steps of fixed shapes: the tokens of the usual steps, for rows that come and go; and models that cannot take them."""

import random
from typing import Any

import pytest
import torch
import transformers

from synth.engines.base import Sampling, Usage
from synth.engines.hf.decoding import Decoder, SequenceState
from tests.synth.engines.tiny import CONFIGS, VOCABULARY, byte_tokenizer, tiny_model

FIXED = {name: name in ("llama", "gpt2, learned positions") for name in CONFIGS if name != "mamba"}
"""Models, and whether all their layers see the whole cache."""


def decoded(model: Any, *, fixed: bool, rows: int = 12) -> tuple[list[list[int]], Decoder]:
    """What 30 sequences of many lengths draw, of which new ones join while others run, and the decoder."""
    chance = random.Random(2)
    sequences = []
    for number in range(30):
        prompt = [chance.randrange(VOCABULARY) for _ in range(chance.randrange(1, 40))]
        sampling = Sampling(max_tokens=chance.randrange(1, 60), temperature=number % 3, seed=number)
        sequences.append(SequenceState(None, prompt, sampling, 0, sampling.max_tokens, frozenset({7})))
    decoder = Decoder(model, byte_tokenizer(), Usage(), rows, 1 << 30, fixed=fixed)
    decoder.add(sequences[:20])
    with torch.inference_mode():
        for step in range(1_000):
            if step == 9:
                decoder.add(sequences[20:])
            decoder.step()
            if step > 9 and not decoder:
                break
    assert not any(sequence.error for sequence in sequences)
    return [sequence.tokens for sequence in sequences], decoder


@pytest.mark.parametrize(("name", "takes"), FIXED.items())
def test_the_tokens_are_those_of_usual_steps(name: str, takes: bool) -> None:
    model = tiny_model(name)
    usual, without = decoded(model, fixed=False)
    tokens, decoder = decoded(model, fixed=True)
    assert tokens == usual and without.fixed is None
    assert (decoder.fixed is not None and decoder.fixed.trusted is True) == takes


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")
def test_on_a_gpu_steps_are_graphs_with_the_same_tokens() -> None:
    model = tiny_model().to("cuda")
    usual, _ = decoded(model, fixed=False)
    tokens, decoder = decoded(model, fixed=True)
    assert decoder.fixed is not None and decoder.fixed.trusted is True
    assert sum(map(list.__eq__, tokens, usual)) >= 28  # kernels differ, and round otherwise


def test_a_model_that_reads_the_mask_itself_keeps_its_usual_steps() -> None:
    """Bloom makes its positions of the mask, of which it expects two dimensions."""
    torch.manual_seed(0)
    config = transformers.BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.3)
    config.max_position_embeddings = 256
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    usual, _ = decoded(model, fixed=False)
    tokens, decoder = decoded(model, fixed=True)
    assert decoder.fixed is not None and decoder.fixed.trusted is False
    assert tokens == usual
