"""Retention: intervals against published examples, transitions, averages over suites."""

import math
from collections.abc import Sequence
from dataclasses import asdict

import pytest

from filters.verdict import RIGHT, UNSCORABLE, WRONG
from synth.evaluation.statistics import (
    Retention,
    SuiteScore,
    Transitions,
    paired_interval,
    retention,
    sign_test,
    transitions,
    wilson,
)


def verdicts(kept: int, lost: int, gained: int, never: int) -> tuple[Sequence[str], Sequence[str]]:
    before = [RIGHT] * (kept + lost) + [WRONG] * (gained + never)
    after = [RIGHT] * kept + [WRONG] * lost + [RIGHT] * gained + [WRONG] * never
    return before, after


@pytest.mark.parametrize(
    ("right", "judged", "low", "high"),
    # The examples of Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_as_published(right: int, judged: int, low: float, high: float) -> None:
    assert wilson(right, judged) == pytest.approx((low, high), abs=5e-5)
    assert wilson(judged - right, judged) == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_wilson_at_the_ends() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    for judged in range(1, 200):
        assert wilson(0, judged)[0] == 0.0
        assert wilson(judged, judged)[1] == 1.0


def test_wilson_is_wider_with_more_confidence() -> None:
    assert wilson(5, 10, 0.99)[0] < wilson(5, 10)[0] < wilson(5, 10, 0.5)[0] < 0.5


@pytest.mark.parametrize(("right", "judged", "confidence"), [(2, 1, 0.95), (-1, 3, 0.95), (1, 3, 1.0), (0, 0, 0.0)])
def test_wilson_refuses(right: int, judged: int, confidence: float) -> None:
    with pytest.raises(ValueError, match=r"judged|confidence"):
        wilson(right, judged, confidence)


def test_wilson_beside_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for right, judged in [(3, 7), (50, 100), (999, 1000)]:
        other = stats.binomtest(right, judged).proportion_ci(0.9, method="wilson")
        assert wilson(right, judged, 0.9) == pytest.approx((other.low, other.high), abs=1e-12)


def test_transitions() -> None:
    before = [RIGHT, RIGHT, WRONG, WRONG, UNSCORABLE, RIGHT, UNSCORABLE, RIGHT]
    after = [RIGHT, WRONG, RIGHT, WRONG, RIGHT, UNSCORABLE, UNSCORABLE, RIGHT]
    found = transitions(before, after)
    assert found == Transitions(kept=2, lost=1, gained=1, never=1, unscorable=3)
    assert found.judged == 5
    assert transitions([], []) == Transitions(0, 0, 0, 0, 0)


def test_transitions_refuse() -> None:
    with pytest.raises(ValueError, match="1 verdicts before, 2 after"):
        transitions([RIGHT], [RIGHT, WRONG])
    with pytest.raises(ValueError, match="not a verdict: correct"):
        transitions([RIGHT], ["correct"])


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        # Altman et al. 2000, "Statistics with confidence", table 6.2: correlated, so corrected for continuity.
        ((14, 0, 5, 22), 0.011, 0.226),
        # Fagerland, Lydersen & Laake 2014, "Recommended tests and confidence intervals for paired binomial
        # proportions", airway hyper-responsiveness: the correction leaves no correlation.
        ((1, 7, 1, 12), -0.507, -0.026),
    ],
)
def test_paired_interval_as_published(counts: tuple[int, int, int, int], low: float, high: float) -> None:
    before, after = verdicts(*counts)
    assert paired_interval(before, after) == pytest.approx((low, high), abs=6e-4)
    assert paired_interval(after, before) == pytest.approx((-high, -low), abs=6e-4)


def test_paired_interval_by_hand() -> None:
    # Accuracy 0.5 both times, Wilson 0.5 ± h. All 10 agree: phi = (25 - 5) / 25 = 0.8, so the half-width is
    # sqrt(2 h² (1 - 0.8)).
    half = wilson(5, 10)[1] - 0.5
    assert paired_interval(*verdicts(5, 0, 0, 5)) == pytest.approx((-half * math.sqrt(0.4), half * math.sqrt(0.4)))
    # All 10 differ: phi = -25 / 25, uncorrected, so the half-widths add.
    assert paired_interval(*verdicts(0, 5, 5, 0)) == pytest.approx((-2 * half, 2 * half))


def test_paired_interval_at_the_ends() -> None:
    assert paired_interval([], []) == (-1.0, 1.0)
    assert paired_interval([UNSCORABLE, RIGHT], [RIGHT, UNSCORABLE]) == (-1.0, 1.0)
    for counts in [(9, 0, 0, 0), (0, 9, 0, 0), (0, 0, 9, 0), (0, 0, 0, 9)]:
        low, high = paired_interval(*verdicts(*counts))
        assert -1 <= low <= (counts[2] - counts[1]) / 9 <= high <= 1


def test_paired_interval_leaves_out_what_is_not_judged_both_times() -> None:
    before, after = verdicts(14, 0, 5, 22)
    assert paired_interval([*before, RIGHT, UNSCORABLE], [*after, UNSCORABLE, WRONG]) == paired_interval(before, after)


def test_sign_test() -> None:
    assert sign_test(0, 0) == 1.0
    assert sign_test(3, 3) == 1.0
    assert sign_test(0, 5) == 2 / 32
    assert sign_test(7, 1) == sign_test(1, 7) == 2 * (1 + 8) / 256
    assert sign_test(2, 3) == 1.0  # twice the tail, 1 + 5 + 10 of 32
    with pytest.raises(ValueError, match="-1 lost"):
        sign_test(-1, 2)


def test_sign_test_of_many_items() -> None:
    assert 0 < sign_test(9_800, 10_200) < 0.01
    assert sign_test(0, 5_000) == 0.0  # smaller than a float can say


def test_sign_test_beside_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for lost, gained in [(1, 9), (86, 150), (400, 410)]:
        assert sign_test(lost, gained) == pytest.approx(stats.binomtest(lost, lost + gained).pvalue, rel=1e-9)


def test_suite_score() -> None:
    score = SuiteScore("gsm8k", new=False, right=81, wrong=182, unscorable=7)
    assert score.judged == 263
    assert score.accuracy == 81 / 263
    assert score.interval == wilson(81, 263)
    nothing = SuiteScore("gsm8k", new=False, right=0, wrong=0, unscorable=9)
    assert (nothing.judged, nothing.accuracy, nothing.interval) == (0, None, (0.0, 1.0))


BEFORE = [
    SuiteScore("law", True, 1, 9),
    SuiteScore("maths", False, 60, 40),
    SuiteScore("code", False, 4, 6),
]
AFTER = [
    SuiteScore("code", False, 1, 9),
    SuiteScore("law", True, 8, 2),
    SuiteScore("maths", False, 30, 70),
]


def test_retention_averages_over_suites() -> None:
    expected = {"new_before": 0.1, "new_after": 0.8, "gain": 0.7, "old_before": 0.5, "old_after": 0.2, "kept": 0.4}
    assert asdict(retention(BEFORE, AFTER)) == pytest.approx(expected)


def test_retention_without_new_or_old_suites() -> None:
    assert retention(BEFORE[:1], AFTER[1:2]) == Retention(0.1, 0.8, 0.8 - 0.1, None, None, None)
    assert retention(BEFORE[2:], AFTER[:1]) == Retention(None, None, None, 0.4, 0.1, 0.25)
    assert retention([], []) == Retention(None, None, None, None, None, None)


def test_retention_of_nothing_known_before() -> None:
    found = retention([SuiteScore("code", False, 0, 5)], [SuiteScore("code", False, 2, 3)])
    assert (found.old_before, found.old_after, found.kept) == (0.0, 0.4, None)


def test_retention_leaves_out_a_suite_judged_on_one_side_only() -> None:
    before = [*BEFORE, SuiteScore("chat", False, 9, 1)]
    after = [*AFTER, SuiteScore("chat", False, 0, 0, unscorable=10)]
    assert retention(before, after) == retention(BEFORE, AFTER)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (BEFORE, AFTER[:2], "scored on one side only: maths"),
        (BEFORE[:1], [SuiteScore("law", False, 1, 1)], "new on one side only: law"),
        ([*BEFORE, BEFORE[0]], AFTER, "suite scored twice: law"),
    ],
)
def test_retention_refuses(before: list[SuiteScore], after: list[SuiteScore], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        retention(before, after)
