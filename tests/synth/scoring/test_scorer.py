"""A model on a server scores as the same model here does."""

from pathlib import Path

import numpy as np
import pytest

from synth.engines.base import EngineOptions
from synth.engines.loading import load_tokenizer
from synth.errors import RequestError, UsageError
from synth.scoring.scorer import open_scorer


@pytest.mark.vllm
def test_a_server_of_vllm_and_a_model_here_agree(vllm_url: str, model_dir: Path) -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed")
    tokenizer = load_tokenizer(str(model_dir))
    options = EngineOptions(device="cpu", concurrency=8)
    draw = np.random.default_rng(0)
    sequences = [draw.integers(6, 300, size).astype(np.int32) for size in (3, 50, 20, 1, 7)]
    wanted = [draw.random(len(tokens)) < 0.7 for tokens in sequences]
    here, there = (open_scorer(engine, str(model_dir), tokenizer, options) for engine in ("auto", vllm_url))
    try:
        assert there.max_length <= here.max_length
        for one, two, part in zip(here.score(sequences, wanted), there.score(sequences, wanted), wanted, strict=True):
            assert isinstance(one, np.ndarray) and isinstance(two, np.ndarray)
            part[0] = False
            np.testing.assert_allclose(one[part], two[part], atol=1e-3)
    finally:
        here.close()
        there.close()


def test_ids_beyond_the_vocabulary_are_refused_alone(model: str) -> None:
    scorer = open_scorer("auto", model, load_tokenizer(model), EngineOptions(device="cpu"))
    sequences = [np.array([5, 9, 20], np.int32), np.array([5, 70_000], np.int32)]
    good, bad = scorer.score(sequences, [np.ones(3, bool), np.ones(2, bool)])
    assert isinstance(good, np.ndarray) and np.isfinite(good[1:]).all()
    assert isinstance(bad, RequestError) and "vocabulary" in str(bad)
    scorer.close()


def test_no_server_there(model: str) -> None:
    with pytest.raises(UsageError, match="does not answer"):
        options = EngineOptions(timeout=1, retries=1)
        open_scorer("http://127.0.0.1:9", model, load_tokenizer(model), options)
