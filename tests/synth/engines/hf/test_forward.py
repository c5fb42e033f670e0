"""Scores of given tokens: which, how exactly, and in how much memory."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from synth.engines.hf.forward import Scorer, predictions
from synth.errors import RequestError, RunError, UsageError
from tests.synth.engines.hf.test_engine import plain_logprobs
from tests.synth.engines.tiny import CONFIGS, VOCABULARY, tiny_model


def some_sequences(count: int) -> list[list[int]]:
    draw = np.random.default_rng(3)
    return [draw.integers(0, VOCABULARY, size).tolist() for size in draw.integers(1, 200, count)]


@pytest.mark.parametrize("name", CONFIGS)
def test_only_what_is_wanted_is_scored_and_as_the_plain_model_does(name: str) -> None:
    model = tiny_model(name)
    sequences = some_sequences(40)
    draw = np.random.default_rng(4)
    wanted = [draw.random(len(tokens)) < 0.4 for tokens in sequences]
    with torch.inference_mode():
        found = Scorer(model).score(sequences, wanted)
    for tokens, part, scores in zip(sequences, wanted, found, strict=True):
        assert isinstance(scores, np.ndarray) and scores.dtype == np.float32
        part[0] = False
        assert (np.isnan(scores) == ~part).all()
        if len(tokens) > 1:
            expected = plain_logprobs(model, tokens).numpy()
            np.testing.assert_allclose(scores[1:][part[1:]], expected[part[1:]], atol=1e-4, rtol=0)


def test_a_model_that_cannot_be_taken_apart_is_used_whole() -> None:
    model = tiny_model()
    body = type(model.model)
    asked = []

    class Peculiar(body):  # type: ignore[misc, valid-type]
        def forward(self, *arguments: object, **named: object) -> object:
            asked.append(named)
            output = super().forward(*arguments, **named)
            if "position_ids" not in named:  # asked by itself, not by the model around it
                output.last_hidden_state = output.last_hidden_state * 2
            return output

    model.model.__class__ = Peculiar
    tokens = some_sequences(3)
    with torch.inference_mode():
        found = Scorer(model).score(tokens)
    for sequence, scores in zip(tokens, found, strict=True):
        assert isinstance(scores, np.ndarray)
        np.testing.assert_allclose(scores[1:], plain_logprobs(model, sequence).numpy(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("sharpness", [0.0, 1.0, 30.0])
def test_the_whole_distribution_is_described(sharpness: float) -> None:
    """Flat, as it is, and so sharp that most probabilities are 0 in float32."""
    model = tiny_model()
    with torch.no_grad():
        model.lm_head.weight.mul_(sharpness)
    sequences = [[7], *some_sequences(20)]
    with torch.inference_mode():
        found, alone = Scorer(model).predictions(sequences), Scorer(model).score(sequences)
    for tokens, figures, logprobs in zip(sequences, found, alone, strict=True):
        assert (
            isinstance(figures, np.ndarray) and isinstance(logprobs, np.ndarray) and figures.shape == (3, len(tokens))
        )
        assert np.isnan(figures[:, 0]).all()
        if len(tokens) == 1:
            continue
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([tokens])).logits[0, :-1].double()
        logs = logits.log_softmax(-1)
        np.testing.assert_allclose(figures[0, 1:], logprobs[1:], atol=1e-5)
        np.testing.assert_allclose(figures[1, 1:], -(logs.exp() * logs).sum(-1), atol=1e-4)
        above = logits - logits.gather(1, torch.tensor(tokens[1:])[:, None])
        assert (figures[2, 1:] <= 1 + (above > -1e-3).sum(-1).numpy()).all()
        assert (figures[2, 1:] >= 1 + (above > 1e-3).sum(-1).numpy()).all()


def test_tokens_that_cannot_follow_have_no_part_in_the_entropy() -> None:
    logits = torch.tensor([[1.0, 1.0, float("-inf"), float("-inf")], [5.0, -1e4, 0.0, 0.0]])
    logprobs, entropies, ranks = predictions(logits.clone(), torch.tensor([0, 2])).tolist()
    assert logprobs[0] == pytest.approx(-np.log(2)) and entropies[0] == pytest.approx(np.log(2))
    weights = np.exp([5.0, 0.0, 0.0])
    shares = weights / weights.sum()
    assert entropies[1] == pytest.approx(-(shares * np.log(shares)).sum(), rel=1e-5)
    assert ranks == [1, 2], "what is exactly as likely is not ahead"


@pytest.mark.parametrize("kind", ["BertConfig", "CpmAntConfig"])
def test_a_model_that_sees_what_follows_is_refused(kind: str) -> None:
    """BERT, unless it is told that it decodes; and one that tells padding from its row by the id 0 alone."""

    def made(**more: bool) -> Any:
        small = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "dim_head": 8}
        config = getattr(transformers, kind)(**small, intermediate_size=48, dim_ff=48, **more)
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
        for weights in model.parameters():
            weights.data.mul_(5)
        return model

    with pytest.raises(UsageError, match="no causal language model"):
        Scorer(made())
    if kind == "BertConfig":
        Scorer(made(is_decoder=True))


def test_a_sequence_that_does_not_fit_is_refused_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    scorer = Scorer(model)
    whole = scorer._parts.score

    def limited(figures: Any, ids: torch.Tensor, *places: np.ndarray) -> torch.Tensor:
        if ids.numel() > 120:
            raise torch.OutOfMemoryError("out of memory")
        return whole(figures, ids, *places)

    monkeypatch.setattr(scorer._parts, "score", limited)
    sequences = [[5] * 150, *some_sequences(20)]
    with torch.inference_mode():
        found = scorer.score(sequences)
    for tokens, scores in zip(sequences, found, strict=True):
        assert isinstance(scores, RequestError) == (len(tokens) > 120)


def test_a_broken_model_is_said_to_be_broken() -> None:
    model = tiny_model()
    with torch.no_grad():
        model.model.norm.weight[0] = float("nan")
    with torch.inference_mode(), pytest.raises(RunError, match="the model is broken"):
        Scorer(model).score([[1, 2, 3]])


MEMORY = """
import numpy as np, torch, transformers
from synth.engines.hf.forward import Scorer

def highest():  # of this process alone; what getrusage says begins with its parent's
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 2**20

torch.manual_seed(0)
config = transformers.LlamaConfig(vocab_size=150_000, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
    num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=4096)
model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
row = np.random.default_rng(0).integers(0, 150_000, 2048).tolist()
before = highest()
with torch.inference_mode():
    Scorer(model).predictions([row])
print(highest() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says how much memory there was")
def test_no_tensor_of_sequence_times_vocabulary_exists() -> None:
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    gibibytes = float(done.stdout)
    assert 0.01 < gibibytes < 0.5, f"{gibibytes:.2f} GiB; the logits alone would be 1.1"
