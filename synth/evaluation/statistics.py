"""What a model gained and lost: counts of verdicts before and after a training, with intervals."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from filters.verdict import RIGHT, UNSCORABLE, WRONG

SOUND, POOR = 0.95, 0.8
"""Shares of the old average that is kept: good from the first on, bad below the second."""

VERDICTS = frozenset({RIGHT, WRONG, UNSCORABLE})


@dataclass(frozen=True, slots=True)
class Transitions:
    """Counts of a suite's items by their verdicts under two models.

    Attributes:
        kept: right before and after.
        lost: right before, wrong after.
        gained: wrong before, right after.
        never: wrong before and after.
        unscorable: not judged before, or not after.
    """

    kept: int
    lost: int
    gained: int
    never: int
    unscorable: int

    @property
    def judged(self) -> int:
        """Items judged both times."""
        return self.kept + self.lost + self.gained + self.never


@dataclass(frozen=True, slots=True)
class SuiteScore:
    """One model's verdicts on one suite.

    Attributes:
        suite: its name.
        new: whether it asks for what is being learned; an old one asks for what must not be forgotten.
        right: items answered correctly.
        wrong: items answered incorrectly.
        unscorable: items of which nothing can be said; they count neither for nor against the model.
    """

    suite: str
    new: bool
    right: int
    wrong: int
    unscorable: int = 0

    @property
    def judged(self) -> int:
        """Items that are right or wrong."""
        return self.right + self.wrong

    @property
    def accuracy(self) -> float | None:
        """Share of the judged items that are right, 0 to 1; None where none is judged."""
        return self.right / self.judged if self.judged else None

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the accuracy."""
        return wilson(self.right, self.judged)


@dataclass(frozen=True, slots=True)
class Retention:
    """Two models side by side; every suite weighs the same, however many items it has.

    Attributes:
        new_before: mean accuracy on the new suites, 0 to 1; None, as the two below, where there is no new suite.
        new_after: the same after the training.
        gain: the difference of the two.
        old_before: mean accuracy on the old suites; None, as the two below, where there is no old suite.
        old_after: the same after the training.
        kept: share of the old accuracy that is still there, above 1 where it rose; None where it was 0 before.
    """

    new_before: float | None
    new_after: float | None
    gain: float | None
    old_before: float | None
    old_after: float | None
    kept: float | None


def wilson(right: int, judged: int, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of an accuracy, sound for small suites and for accuracies near 0 and 1.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".

    Returns:
        The lower and the upper bound, within 0 to 1; (0, 1) where nothing is judged.

    Raises:
        ValueError: `right` is not within 0 to `judged`, or `confidence` not between 0 and 1.
    """
    if not 0 <= right <= judged:
        raise ValueError(f"{right} right of {judged} judged")
    z = _quantile(confidence)
    if judged == 0:
        return 0.0, 1.0
    share = right / judged
    shrunk = 1 + z * z / judged
    centre = (share + z * z / (2 * judged)) / shrunk
    half = z * math.sqrt(share * (1 - share) / judged + (z / (2 * judged)) ** 2) / shrunk
    # At the ends the bound is the share itself, which rounding would miss by a hair.
    low = 0.0 if right == 0 else centre - half
    high = 1.0 if right == judged else centre + half
    return low, high


def transitions(before: Sequence[str], after: Sequence[str]) -> Transitions:
    """Count what became of each item; `before` and `after` are two models' verdicts on the same items.

    Raises:
        ValueError: the lengths differ, or a verdict is none of "right", "wrong" and "unscorable".
    """
    if len(before) != len(after):
        raise ValueError(f"{len(before)} verdicts before, {len(after)} after: not the same items")
    if unknown := sorted({*before, *after} - VERDICTS):
        raise ValueError(f"not a verdict: {', '.join(unknown)}")
    pairs = list(zip(before, after, strict=True))
    return Transitions(
        kept=pairs.count((RIGHT, RIGHT)),
        lost=pairs.count((RIGHT, WRONG)),
        gained=pairs.count((WRONG, RIGHT)),
        never=pairs.count((WRONG, WRONG)),
        unscorable=sum(UNSCORABLE in pair for pair in pairs),
    )


def paired_interval(before: Sequence[str], after: Sequence[str], confidence: float = 0.95) -> tuple[float, float]:
    """Interval of the accuracy after minus the accuracy before, over the items judged both times.

    It is narrower than one of unpaired items: the same items are hard for both models. Wilson intervals of the two
    accuracies are combined, less what the correlation of the verdicts explains.

    Source: Newcombe 1998, "Improved confidence intervals for the difference between binomial proportions based on
    paired data", method 10.

    Returns:
        The lower and the upper bound, within -1 to 1; (-1, 1) where nothing is judged both times.

    Raises:
        ValueError: as `transitions`, or `confidence` is not between 0 and 1.
    """
    counts = transitions(before, after)
    right_before, right_after = counts.kept + counts.lost, counts.kept + counts.gained
    low_before, high_before = wilson(right_before, counts.judged, confidence)
    low_after, high_after = wilson(right_after, counts.judged, confidence)
    if counts.judged == 0:
        return -1.0, 1.0
    share_before, share_after = right_before / counts.judged, right_after / counts.judged
    phi = _phi(counts)
    below = _combined(share_after - low_after, high_before - share_before, phi)
    above = _combined(high_after - share_after, share_before - low_before, phi)
    difference = (counts.gained - counts.lost) / counts.judged
    return max(-1.0, difference - below), min(1.0, difference + above)


def sign_test(lost: int, gained: int) -> float:
    """Two-sided exact p-value of as uneven a split of the changed items, were losing and gaining equally likely.

    Source: McNemar 1947, "Note on the sampling error of the difference between correlated proportions or
    percentages", with the binomial distribution in place of its approximation.

    Raises:
        ValueError: a count is negative.
    """
    if lost < 0 or gained < 0:
        raise ValueError(f"{lost} lost, {gained} gained")
    changed = lost + gained
    ways, tail = 1, 0  # whole numbers: floats would overflow beyond a thousand items
    for fewer in range(min(lost, gained) + 1):
        tail += ways
        ways = ways * (changed - fewer) // (fewer + 1)
    return min(1.0, 2 * tail / (1 << changed))


def retention(before: Sequence[SuiteScore], after: Sequence[SuiteScore]) -> Retention:
    """Compare a model with itself before a training, in any order of suites.

    A suite of which one of the two models has no judged item is left out of both averages.

    Raises:
        ValueError: a suite is missing on one side, there twice, or new on one side only.
    """
    earlier, later = _by_name(before), _by_name(after)
    if unmatched := sorted(earlier.keys() ^ later.keys()):
        raise ValueError(f"suites scored on one side only: {', '.join(unmatched)}")
    if differing := sorted(name for name in earlier if earlier[name].new != later[name].new):
        raise ValueError(f"suites that are new on one side only: {', '.join(differing)}")
    shared = [name for name in earlier if earlier[name].judged and later[name].judged]
    new = [name for name in shared if earlier[name].new]
    old = [name for name in shared if not earlier[name].new]
    new_before, new_after = (_average(scores[name] for name in new) for scores in (earlier, later))
    old_before, old_after = (_average(scores[name] for name in old) for scores in (earlier, later))
    return Retention(
        new_before=new_before,
        new_after=new_after,
        gain=None if new_before is None or new_after is None else new_after - new_before,
        old_before=old_before,
        old_after=old_after,
        kept=old_after / old_before if old_before and old_after is not None else None,
    )


def _quantile(confidence: float) -> float:
    """How many standard deviations to either side hold `confidence` of a normal distribution."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} is not between 0 and 1")
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _phi(counts: Transitions) -> float:
    """Correlation of the two verdicts, with Newcombe's continuity correction where it is positive."""
    margins = (
        (counts.kept + counts.lost)
        * (counts.gained + counts.never)
        * (counts.kept + counts.gained)
        * (counts.lost + counts.never)
    )
    if margins == 0:
        return 0.0
    agreement = counts.kept * counts.never - counts.lost * counts.gained
    corrected = max(agreement - counts.judged / 2, 0.0) if agreement > 0 else agreement
    return corrected / math.sqrt(margins)


def _combined(one: float, other: float, correlation: float) -> float:
    """Half-width of a difference, from those of its two terms."""
    # Perfectly correlated terms of the same width cancel; rounding must not leave a negative number there.
    return math.sqrt(max(0.0, one * one - 2 * correlation * one * other + other * other))


def _by_name(scores: Sequence[SuiteScore]) -> dict[str, SuiteScore]:
    """Scores by the names of their suites."""
    named: dict[str, SuiteScore] = {}
    for score in scores:
        if score.suite in named:
            raise ValueError(f"suite scored twice: {score.suite}")
        named[score.suite] = score
    return named


def _average(scores: Iterable[SuiteScore]) -> float | None:
    """Mean of the accuracies, each suite weighing the same; None where there is none."""
    accuracies = [score.accuracy for score in scores if score.accuracy is not None]
    return sum(accuracies) / len(accuracies) if accuracies else None
