"""Texts as vectors: means of hidden states, and models made for the purpose."""

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from synth.curation import embeddings
from synth.curation.embeddings import check_embedder, mean_states, open_embedder, unit
from synth.engines.base import EngineOptions
from synth.errors import RunError, UsageError
from tests.synth.engines.tiny import CONFIGS, VOCABULARY, tiny_model

CPU = EngineOptions(device="cpu")


def sequences(count: int = 20, longest: int = 100) -> list[list[int]]:
    draw = np.random.default_rng(3)
    return [draw.integers(0, VOCABULARY, size).tolist() for size in draw.integers(1, longest, count)]


@pytest.mark.parametrize("name", CONFIGS)
def test_batches_give_what_each_sequence_gives_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(name)
    monkeypatch.setattr(embeddings, "BATCH_TOKENS", 300)
    found = mean_states(model, sequences())
    for vector, tokens in zip(found, sequences(), strict=True):
        with torch.inference_mode():
            output = model(input_ids=torch.tensor([tokens]), output_hidden_states=True)
        np.testing.assert_allclose(vector, output.hidden_states[-1][0].mean(dim=0), atol=1e-4, rtol=1e-4)


def test_memory_that_runs_out_makes_batches_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    model, states, widths = tiny_model(), embeddings._states, []

    def small(model: Any, ids: torch.Tensor) -> Any:
        if ids.numel() > 100:
            raise torch.OutOfMemoryError("CUDA out of memory")
        widths.append(ids.numel())
        return states(model, ids)

    expected = mean_states(model, sequences())
    monkeypatch.setattr(embeddings, "_states", small)
    np.testing.assert_allclose(mean_states(model, sequences()), expected, atol=1e-5)
    assert len(widths) > 5
    with pytest.raises(RunError, match="one sequence of 101 tokens"):
        mean_states(model, [[1] * 101])


def test_a_broken_model_is_found_out() -> None:
    model = tiny_model()
    with torch.no_grad():
        model.get_input_embeddings().weight[7] = float("nan")
    with pytest.raises(RunError, match="not numbers"):
        mean_states(model, [[1, 7]])


def test_the_sample_model_puts_like_tasks_together(model: str) -> None:
    embed = open_embedder(model, CPU)
    sums = [f"What is {a} plus {b}?" for a, b in ((3, 4), (17, 5), (40, 2), (9, 9))]
    capitals = [f"What is the capital of {name}?" for name in ("France", "Peru", "Kenya", "Norway")]
    vectors = embed([*sums, *capitals, ""])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    products = vectors @ vectors.T
    assert products[:4, :4].min() > products[:4, 4:8].max()
    assert products[4:8, 4:8].min() > products[:4, 4:8].max()
    long = open_embedder(model, EngineOptions(device="cpu", max_length=3))
    first, second = long(["What is 3 plus 4?", "What is 3 times 5?"])
    np.testing.assert_allclose(first, second, atol=1e-6)
    assert embed([]).shape == (0, vectors.shape[1])


def test_a_named_library_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Static:
        def encode(self, texts: list[str]) -> Any:
            return np.array([[3.0 * len(text), 4.0 * len(text)] for text in texts])

    fake = SimpleNamespace(StaticModel=SimpleNamespace(from_pretrained=lambda name: Static()))
    monkeypatch.setitem(sys.modules, "model2vec", fake)
    assert np.allclose(open_embedder("model2vec:some/model", CPU)(["a", ""]), np.array([[0.6, 0.8], [0.0, 0.0]]))
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(UsageError, match="pip install sentence-transformers"):
        open_embedder("sentence-transformers:some/model", CPU)
    with pytest.raises(UsageError, match="pip install sentence-transformers"):
        check_embedder("sentence-transformers:some/model")
    check_embedder("model2vec:some/model")


def test_no_such_model() -> None:
    with pytest.raises(UsageError, match="no such directory"):
        open_embedder("./nowhere", CPU)


def test_unit_leaves_zero_alone() -> None:
    assert unit(np.array([[0, 0], [0, 2]], np.float32)).tolist() == [[0, 0], [0, 1]]
