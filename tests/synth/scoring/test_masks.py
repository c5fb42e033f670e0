"""Masks: which tokens, how many, and that the controls mask as many."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from synth.errors import UsageError
from synth.scoring.masks import Mask, Tokens, find_cuts, mask_corpus, mask_rows


def some_tokens(seed: int, rows: int = 30) -> Tokens:
    """Rows of up to 40 tokens, some not scored, some protected, many log-probabilities equal."""
    draw = np.random.default_rng(seed)
    sizes = draw.integers(0, 40, rows)
    count = int(sizes.sum())
    logprobs = -np.round(draw.exponential(1.5, count), 1).astype(np.float32)
    logprobs[draw.random(count) < 0.3] = np.nan
    free = np.isfinite(logprobs) & (draw.random(count) < 0.9)
    entropies = np.round(draw.exponential(0.7, count), 1).astype(np.float32)
    entropies[np.isnan(logprobs)] = np.nan
    names = [f"row {seed} {i}" for i in range(rows)]
    return Tokens(np.repeat(np.arange(rows), sizes), logprobs, free, names, entropies)


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


def conflicts_among(places: np.ndarray, share: float, tokens: Tokens) -> list[int]:
    """By the definition: sorted both ways, and equal to the last or better."""
    assert tokens.entropies is not None
    scored = [place for place in places if np.isfinite(tokens.logprobs[place])]
    count = math.floor(share * len(scored) + 0.5)
    if not count:
        return []
    surest = sorted(tokens.entropies[scored])[count - 1]
    unlikeliest = sorted(tokens.logprobs[scored])[count - 1]
    return [
        place
        for place in scored
        if tokens.entropies[place] <= surest and tokens.logprobs[place] <= unlikeliest and tokens.free[place]
    ]


@pytest.mark.parametrize("share", [0.15, 0.5, 0.9])
def test_confident_conflicts(share: float) -> None:
    tokens = some_tokens(11)
    masked = mask_rows(Mask(conflicts=share), tokens)
    expected = [place for places in by_row(tokens) for place in conflicts_among(places, share, tokens)]
    assert np.flatnonzero(masked).tolist() == expected and (len(expected) or share < 0.5)

    blocks = [some_tokens(seed) for seed in range(11, 15)]
    mask = Mask(conflicts=share, over="corpus")
    cuts = find_cuts(mask, lambda: blocks)
    found = np.concatenate([mask_corpus(mask, cuts, block) for block in blocks])
    whole = Tokens(
        np.concatenate([block.rows + 30 * at for at, block in enumerate(blocks)]),
        np.concatenate([block.logprobs for block in blocks]),
        np.concatenate([block.free for block in blocks]),
        [name for block in blocks for name in block.ids],
        np.concatenate([block.entropies for block in blocks if block.entropies is not None]),
    )
    expected = conflicts_among(np.arange(len(whole.rows)), share, whole)
    assert np.flatnonzero(found).tolist() == expected and len(expected) > 5


def test_a_share_of_no_token_is_none_even_where_the_model_is_certain() -> None:
    logprobs, free = np.array([0.0, -30.0], np.float32), np.array([True, True])
    tokens = Tokens(np.zeros(2, np.int64), logprobs, free, ["a"], np.zeros(2, np.float32))
    for over in ("row", "corpus"):
        mask = Mask(conflicts=0.2, over=over)
        assert not mask_rows(mask, tokens).any()
        assert not mask_corpus(mask, find_cuts(mask, lambda: [tokens]), tokens).any()
        more = Mask(conflicts=0.3, over=over)
        assert mask_rows(more, tokens).tolist() == [False, True], "equal entropies are all among the lowest"
        assert mask_corpus(more, find_cuts(more, lambda: [tokens]), tokens).tolist() == [False, True]


@pytest.mark.parametrize("over", ["row", "corpus"])
def test_conflicts_beside_hard_tokens_and_their_controls(over: str) -> None:
    tokens = some_tokens(21)

    def masked(**settings: Any) -> np.ndarray:
        mask = Mask(**settings, over=over)  # type: ignore[arg-type]
        if over == "row":
            return mask_rows(mask, tokens)
        return mask_corpus(mask, find_cuts(mask, lambda: [tokens]), tokens)

    for hard in ({"above": 20.0}, {"hardest": 0.05}):
        both = masked(**hard, conflicts=0.5)
        assert (both == (masked(**hard) | masked(conflicts=0.5))).all() and both.sum() > masked(**hard).sum()
        for which in ("easiest", "random"):
            control = masked(**hard, conflicts=0.5, which=which)
            assert control.sum() == both.sum() and not (control & ~tokens.free).any()


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
    cut = find_cuts(mask, lambda: blocks)
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
        ({"conflicts": 15}, "`mask_confident_conflicts` is a share between 0 and 1"),
        ({"which": "random"}, "as many tokens as"),
    ],
)
def test_masks_that_say_nothing_are_refused(settings: dict[str, float], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Mask(**settings)  # type: ignore[arg-type]
