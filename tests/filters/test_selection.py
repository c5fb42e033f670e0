"""Which rows are chosen, and what is said of the others."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from filters import selection


def frame_of(count: int, **columns: Any) -> pl.DataFrame:
    return pl.DataFrame({"id": [f"r{row}" for row in range(count)], **columns})


def chosen(reasons: pl.Series) -> list[int]:
    return reasons.is_null().arg_true().to_list()


def units(*degrees: float) -> NDArray[np.float32]:
    angles = np.deg2rad(np.array(degrees))
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_the_best() -> None:
    scores = pl.Series("quality", [3.0, None, 5.0, float("nan"), 3.0, 1.0])
    frame = frame_of(6)
    assert chosen(selection.best(frame, scores, 2)) == [0, 2]  # of equals the earlier
    assert chosen(selection.best(frame, scores, 2, lowest=True)) == [0, 5]
    assert chosen(selection.best(frame, scores, 99)) == [0, 2, 4, 5]  # nothing speaks for the others
    assert selection.best(frame, scores, 3).to_list()[1:4:2] == ["no quality", "no quality"]
    assert chosen(selection.best(frame, scores.clear().extend_constant(None, 6), 3)) == []
    assert selection.best(frame, scores, 0)[2] == "not chosen: quality 5 ranks 1"


def test_numbers_in_text_are_numbers_and_words_are_refused() -> None:
    assert chosen(selection.best(frame_of(3), pl.Series("s", ["9", "10", "2"]), 1)) == [1]
    with pytest.raises(pl.exceptions.PolarsError):
        selection.best(frame_of(2), pl.Series("s", ["good", "bad"]), 1)
    for values in ([{"a": 1}, None], [[1], [2]]):
        with pytest.raises(ValueError, match="s holds values of type"):
            selection.best(frame_of(2), pl.Series("s", values), 1)


def test_the_shortest_right_answer() -> None:
    frame = frame_of(
        7,
        prompt=["a", "a", "a", "b", None, None, "a"],
        length=[11, 5, 1, 1, 0, 0, 5],
        verdict=["right", "right", "wrong", "unscorable", "right", "right", "right"],
    )
    reasons = selection.shortest_right(frame)
    assert chosen(reasons) == [1, 4]
    assert reasons[0] == "longer: than the right answer of r1" and reasons[2] == "not right: wrong"


def test_samples_depend_on_the_seed_alone() -> None:
    frame = frame_of(100)
    first = selection.sample(frame, 10, 1)
    assert len(chosen(first)) == 10 and first.equals(selection.sample(frame, 10, 1), null_equal=True)
    assert chosen(first) != chosen(selection.sample(frame, 10, 2))
    assert chosen(selection.sample(frame, 500, 0)) == list(range(100))


@pytest.mark.parametrize(
    ("shares", "count", "expected"),
    [
        ("proportional", 10, [6, 3, 1]),
        ("proportional", 100, [60, 30, 10]),
        ("proportional", 500, [60, 30, 10]),
        ("proportional", 7, [4, 2, 1]),
        ("equal", 9, [3, 3, 3]),
        ("equal", 60, [25, 25, 10]),
        ("equal", 11, [4, 4, 3]),
        ("equal", 0, [0, 0, 0]),
        ("equal", 500, [60, 30, 10]),
    ],
)
def test_strata(shares: selection.Shares, count: int, expected: list[int]) -> None:
    kinds = ["a"] * 60 + ["b"] * 30 + [None] * 10
    reasons = selection.stratified(frame_of(100, kind=kinds), "kind", count, shares, seed=0)
    found = chosen(reasons)
    assert [sum(low <= row < high for row in found) for low, high in ((0, 60), (60, 90), (90, 100))] == expected
    assert reasons.equals(selection.stratified(frame_of(100, kind=kinds), "kind", count, shares, 0), null_equal=True)


def test_many_strata_add_up() -> None:
    draw = np.random.default_rng(0)
    for _ in range(50):
        kinds = draw.integers(0, draw.integers(1, 30), size=200)
        count = int(draw.integers(0, 220))
        for shares in ("proportional", "equal"):
            reasons = selection.stratified(frame_of(200, kind=kinds), "kind", count, shares, 0)
            assert len(chosen(reasons)) == min(count, 200)


def test_a_budget_of_tokens() -> None:
    tokens = [40, 30, 20, 10]
    scores = pl.Series("quality", [1, 4, 3, 2])
    reasons = selection.budget(tokens, 60, scores, 0)
    assert chosen(reasons) == [1, 2, 3] and reasons[0] == "over the budget: 40 tokens"
    for seed in range(20):
        kept = chosen(selection.budget(tokens, 60, None, seed))
        assert sum(tokens[row] for row in kept) <= 60
    assert chosen(selection.budget(tokens, 55, scores, 0)) == [1, 2]
    assert chosen(selection.budget(tokens, 45, scores, 0)) == [1, 3]  # 20 no longer fit, 10 do
    assert chosen(selection.budget([10**6, 30, 20, 10], 60, None, 0)) == [1, 2, 3]
    assert selection.budget([None, 9], 60, None, 0).to_list() == ["no tokens", None]
    unscored = selection.budget(tokens, 60, pl.Series("quality", [None, 4.0, float("nan"), 2.0]), 0)
    assert unscored.to_list() == ["no quality", None, "no quality", None]
    assert chosen(selection.budget(tokens, 0, None, 0)) == [] and chosen(selection.budget([], 10, None, 0)) == []


def test_the_best_that_are_unlike_each_other() -> None:
    scores = pl.Series("score", [1.0, 9.0, 8.0, 7.0, 6.0])
    vectors = units(0, 90, 100, 40, 140)
    reasons = selection.diverse(frame_of(5), scores, vectors, 3, 0.1)
    # cos 10° = 0.98 is too near; cos 40° = 0.77 and cos 50° = 0.64 are not
    assert chosen(reasons) == [1, 3, 4]
    assert reasons[2] == "alike: to r1, cosine 0.98" and reasons[0] == "not chosen: score 1 ranks 5"
    assert selection.diverse(frame_of(5), scores, vectors, 1, 0.1)[2] == "alike: to r1, cosine 0.98"
    both = selection.diverse(frame_of(3), pl.Series("score", [3.0, 2.0, 1.0]), units(0, 90, 100), 1, 0.1)
    assert both[2] == "not chosen: score 1 ranks 3"  # what it is like was not chosen either
    assert chosen(selection.diverse(frame_of(5), scores, vectors, 99, 0.1)) == [0, 1, 3, 4]
    assert chosen(selection.diverse(frame_of(5), scores, vectors, 0, 0.1)) == []


def test_diversity_is_that_of_the_greedy_loop() -> None:
    draw = np.random.default_rng(3)
    vectors = draw.normal(size=(300, 3)).astype(np.float32)
    scores = pl.Series("score", draw.integers(0, 9, size=300))
    directions = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    kept: list[int] = []
    for row in np.argsort(-scores.to_numpy(), kind="stable").tolist():
        if len(kept) < 40 and all(1 - directions[row] @ directions[other] > 0.1 for other in kept):
            kept.append(row)
    assert chosen(selection.diverse(frame_of(300), scores, vectors, 40, 0.1)) == sorted(kept)


def test_diversity_without_rows_or_of_other_rows() -> None:
    nothing = selection.diverse(frame_of(0), pl.Series("s", [], dtype=pl.Float64), units(), 5, 0.1)
    assert nothing.to_list() == []
    with pytest.raises(ValueError, match="for 3 rows"):
        selection.diverse(frame_of(3), pl.Series("s", [1, 2, 3]), units(0), 5, 0.1)
    with pytest.raises(ValueError, match="distance of cosines"):
        selection.diverse(frame_of(1), pl.Series("s", [1]), units(0), 5, 1.0)


def test_representatives() -> None:
    clusters, distances = np.array([2, 0, 2, 0, 2]), np.array([0.5, 0.1, 0.2, 0.1, 0.2])
    reasons = selection.representatives(frame_of(5), clusters, distances)
    assert chosen(reasons) == [1, 2]
    assert reasons.to_list() == ["represented: by r2", None, None, "represented: by r1", "represented: by r2"]
