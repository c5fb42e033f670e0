"""Masks: which tokens, how many, and that the controls mask as many."""

import math
from collections.abc import Iterator

import numpy as np
import pytest

from synth.errors import UsageError
from synth.scoring.masks import Mask, Tokens, find_cut, mask_corpus, mask_rows


def some_tokens(seed: int, rows: int = 30) -> Tokens:
    """Rows of up to 40 tokens, some not scored, some protected, many log-probabilities equal."""
    draw = np.random.default_rng(seed)
    sizes = draw.integers(0, 40, rows)
    count = int(sizes.sum())
    logprobs = -np.round(draw.exponential(1.5, count), 1).astype(np.float32)
    logprobs[draw.random(count) < 0.3] = np.nan
    free = np.isfinite(logprobs) & (draw.random(count) < 0.9)
    return Tokens(np.repeat(np.arange(rows), sizes), logprobs, free, [f"row {seed} {i}" for i in range(rows)])


def by_row(tokens: Tokens) -> Iterator[np.ndarray]:
    for row in range(len(tokens.ids)):
        yield np.flatnonzero(tokens.rows == row)


def test_above_masks_strictly_what_is_above() -> None:
    logprobs = np.array([np.nan, -math.log(2.4), -math.log(2.6), -5, 0], np.float32)
    free = np.array([False, True, True, False, True])
    tokens = Tokens(np.zeros(5, np.int64), logprobs, free, ["a"])
    assert mask_rows(Mask(above=2.5), tokens).tolist() == [False, False, True, False, False]
    exactly = Tokens(np.zeros(1, np.int64), -np.log(np.array([2.5], np.float32)), np.array([True]), ["a"])
    assert not mask_rows(Mask(above=math.exp(-float(exactly.logprobs[0]))), exactly).any()


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5, 0.9])
def test_hardest_share_of_each_row(share: float) -> None:
    tokens = some_tokens(1)
    masked = mask_rows(Mask(hardest=share), tokens)
    assert not (masked & ~tokens.free).any()
    for places in by_row(tokens):
        scored = int(np.isfinite(tokens.logprobs[places]).sum())
        free = places[tokens.free[places]]
        expected = min(math.floor(share * scored + 0.5), len(free))
        hardest = sorted(free, key=lambda t: (tokens.logprobs[t], t))[:expected]
        assert np.flatnonzero(masked[places]).tolist() == sorted(t - places[0] for t in hardest)


@pytest.mark.parametrize("amount", [{"above": 2.5}, {"hardest": 0.2}, {"above": 1.0}, {"above": 1e9}])
@pytest.mark.parametrize("which", ["easiest", "random"])
def test_controls_mask_as_many_of_each_row(amount: dict[str, float], which: str) -> None:
    tokens = some_tokens(2)
    hardest = mask_rows(Mask(**amount), tokens)  # type: ignore[arg-type]
    control = mask_rows(Mask(**amount, which=which), tokens)  # type: ignore[arg-type]
    assert not (control & ~tokens.free).any()
    for places in by_row(tokens):
        assert hardest[places].sum() == control[places].sum()
        if which == "easiest":
            left = tokens.logprobs[places][tokens.free[places] & ~control[places]]
            assert (
                not len(left)
                or not control[places].any()
                or left.max() <= tokens.logprobs[places][control[places]].min()
            )
    if 0 < hardest.sum() < tokens.free.sum():
        assert (control != hardest).any()


def test_random_depends_on_seed_and_row_alone() -> None:
    tokens = some_tokens(3)
    mask = Mask(hardest=0.3, which="random", seed=1)
    whole = mask_rows(mask, tokens)
    part = tokens.rows >= 10
    alone = Tokens(tokens.rows[part] - 10, tokens.logprobs[part], tokens.free[part], tokens.ids[10:])
    assert (mask_rows(mask, alone) == whole[part]).all()
    assert (mask_rows(Mask(hardest=0.3, which="random", seed=2), tokens) != whole).any()
    assert whole.sum() > 20


@pytest.mark.parametrize("amount", [{"above": 2.5}, {"hardest": 0.2}, {"hardest": 0.999}, {"above": 1e9}])
@pytest.mark.parametrize("which", ["hardest", "easiest", "random"])
def test_over_the_corpus(amount: dict[str, float], which: str) -> None:
    blocks = [some_tokens(seed) for seed in range(4, 9)]
    mask = Mask(**amount, which=which, over="corpus")  # type: ignore[arg-type]
    cut = find_cut(mask, lambda: blocks)
    masked = np.concatenate([mask_corpus(mask, cut, tokens) for tokens in blocks])
    logprobs = np.concatenate([tokens.logprobs for tokens in blocks])
    free = np.concatenate([tokens.free for tokens in blocks])
    assert not (masked & ~free).any()
    if "above" in amount:
        expected = int((free & (logprobs < -math.log(amount["above"]))).sum())
    else:
        expected = min(math.floor(amount["hardest"] * np.isfinite(logprobs).sum() + 0.5), int(free.sum()))
    assert masked.sum() == expected
    if which != "random":
        sign = 1 if which == "hardest" else -1
        order = sorted(np.flatnonzero(free), key=lambda t: (sign * logprobs[t], t))
        assert np.flatnonzero(masked).tolist() == sorted(order[:expected])


def test_nothing_is_masked_unless_asked() -> None:
    assert not mask_rows(Mask(), some_tokens(1)).any()
    empty = Tokens(np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.bool_), [])
    assert mask_rows(Mask(hardest=0.2, which="random"), empty).shape == (0,)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"above": 2.5, "hardest": 0.2}, "two ways"),
        ({"above": 0.5}, "perplexity, 1 or more"),
        ({"above": math.nan}, "perplexity, 1 or more"),
        ({"hardest": 20}, "between 0 and 1"),
        ({"which": "random"}, "as many tokens as"),
    ],
)
def test_masks_that_say_nothing_are_refused(settings: dict[str, float], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Mask(**settings)  # type: ignore[arg-type]
