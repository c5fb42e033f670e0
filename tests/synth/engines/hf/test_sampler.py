"""The sampler draws from the right distribution, and every row from its own."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from synth.engines.hf.forward import logprobs
from synth.engines.hf.sampler import draw, stream_key, uniforms

ROWS = 40_000
LOGITS = torch.tensor([2.0, 1.0, 0.0, -1.0, 1.5, -20.0, float("-inf"), 0.5])


def draw_many(temperature: float, top_p: float, logits: torch.Tensor = LOGITS, top_k: int = 0) -> NDArray[np.int64]:
    keys = np.array([stream_key(0, i) for i in range(ROWS)], np.uint64)
    numbers = uniforms(keys, np.zeros(ROWS, np.int64))
    settings = np.full(ROWS, temperature, np.float32), np.full(ROWS, top_p, np.float32)
    ranks = np.full(ROWS, top_k, np.int64)
    tokens: NDArray[np.int64] = draw(logits.repeat(ROWS, 1), *settings, numbers, ranks).numpy()
    return tokens


def chi_square(tokens: NDArray[np.int64], expected: NDArray[np.float64]) -> float:
    counts = np.bincount(tokens, minlength=len(expected))
    assert counts[expected == 0].sum() == 0
    likely = expected * ROWS > 5
    return float(((counts - expected * ROWS)[likely] ** 2 / (expected * ROWS)[likely]).sum())


# 0.9999 quantile of the chi-square distribution with 7 degrees of freedom; the seeds are fixed.
LIMIT = 29.9


def test_temperature_one_is_the_softmax() -> None:
    expected = LOGITS.double().softmax(-1).numpy()
    assert chi_square(draw_many(1.0, 1.0), expected) < LIMIT


def test_temperature_sharpens() -> None:
    expected = (LOGITS.double() / 0.5).softmax(-1).numpy()
    assert chi_square(draw_many(0.5, 1.0), expected) < LIMIT
    assert set(draw_many(1e-6, 1.0)) == {0}


def test_top_p_keeps_the_nucleus_and_its_proportions() -> None:
    p = LOGITS.double().softmax(-1).numpy()
    order = np.argsort(-p)
    nucleus = order[: int(np.searchsorted(p[order].cumsum(), 0.7)) + 1]
    expected = np.zeros_like(p)
    expected[nucleus] = p[nucleus] / p[nucleus].sum()
    assert set(draw_many(1.0, 0.7)) == set(nucleus)
    assert chi_square(draw_many(1.0, 0.7), expected) < LIMIT
    assert set(draw_many(1.0, 1e-6)) == {0}


@pytest.mark.parametrize(("top_k", "top_p"), [(3, 1.0), (5, 0.6), (100, 0.7)])
def test_top_k_keeps_the_likeliest_and_top_p_its_share_of_them(top_k: int, top_p: float) -> None:
    p = LOGITS.double().softmax(-1).numpy()
    likeliest = np.argsort(-p)[:top_k]
    shares = p[likeliest] / p[likeliest].sum()
    kept = likeliest[: min(len(likeliest), int(np.searchsorted(shares.cumsum(), top_p)) + 1)]
    expected = np.zeros_like(p)
    expected[kept] = p[kept] / p[kept].sum()
    assert chi_square(draw_many(1.0, top_p, top_k=top_k), expected) < LIMIT


def test_flat_distributions_are_drawn_from_to_their_end() -> None:
    logits = torch.randn(200, generator=torch.Generator().manual_seed(0)) / 4
    p = logits.double().softmax(-1).numpy()
    limit = 283  # 0.9999 quantile, 199 degrees of freedom
    assert chi_square(draw_many(1.0, 1.0, logits), p) < limit
    order = np.argsort(-p)
    nucleus = order[: int(np.searchsorted(p[order].cumsum(), 0.8)) + 1]
    assert len(nucleus) > 100
    expected = np.zeros_like(p)
    expected[nucleus] = p[nucleus] / p[nucleus].sum()
    assert chi_square(draw_many(1.0, 0.8, logits), expected) < limit


def test_rows_of_different_settings_do_not_touch_each_other() -> None:
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(60, 150)).astype(np.float32))
    temperature = rng.choice([0.0, 0.7, 1.0], 60).astype(np.float32)
    top_p = rng.choice([0.5, 1.0], 60).astype(np.float32)
    numbers = rng.random(60)
    top_k = rng.choice([0, 3, 200], 60)
    together = draw(logits, temperature, top_p, numbers, top_k)
    rows = [slice(i, i + 1) for i in range(60)]
    alone = [draw(logits[i], temperature[i], top_p[i], numbers[i], top_k[i]) for i in rows]
    assert together.tolist() == torch.cat(alone).tolist()
    greedy = temperature == 0
    assert together[greedy].tolist() == logits[greedy].argmax(-1).tolist()


def test_extreme_uniform_numbers_draw_possible_tokens() -> None:
    logits = torch.tensor([[float("-inf"), 0.0, 1.0, float("-inf")]] * 2)
    ones = np.ones(2, np.float32)
    ends = np.array([0.0, 1 - 2.0**-40])
    assert draw(logits, ones, ones, ends).tolist() == [2, 1]  # likeliest first
    assert draw(logits, ones, ones * np.float32(0.99), ends).tolist() == [2, 1]
    for top_k in (2, 4):
        assert draw(logits, ones, ones, ends, np.full(2, top_k)).tolist() == [2, 1]


def test_logits_that_are_not_numbers_are_marked() -> None:
    logits = torch.tensor([[0.0, float("nan")], [0.0, 1.0], [float("inf"), 0.0]])
    for temperature in (0.0, 1.0):
        heat = np.full(3, temperature, np.float32)
        assert draw(logits, heat, np.ones(3, np.float32), np.full(3, 0.5)).tolist() == [-1, 1, -1]


def test_streams_are_uniform_and_unrelated() -> None:
    keys = np.array([stream_key(seed, sample) for seed in range(200) for sample in range(5)], np.uint64)
    assert len(set(keys.tolist())) == 1000
    table = np.stack([uniforms(keys, np.full(1000, step)) for step in range(50)])
    assert table.min() >= 0 and table.max() < 1
    counts = np.histogram(table, bins=20, range=(0, 1))[0]
    assert ((counts - 2500) ** 2 / 2500).sum() < 50
    assert np.abs(np.corrcoef(table[:, :40].T) - np.eye(40)).max() < 0.65
    assert abs(np.corrcoef(table[:-1].ravel(), table[1:].ravel())[0, 1]) < 0.02
    assert stream_key(-1, 0) != stream_key(1, 0) and stream_key(2**70 + 3, 0) == stream_key(3, 0)


def test_logprobs_are_the_models_own() -> None:
    logits = torch.randn(4, 9, generator=torch.Generator().manual_seed(0))
    tokens = torch.tensor([0, 8, 3, 3])
    expected = logits.double().log_softmax(-1)[torch.arange(4), tokens]
    torch.testing.assert_close(logprobs(logits, tokens)[0].double(), expected, atol=1e-6, rtol=0)
