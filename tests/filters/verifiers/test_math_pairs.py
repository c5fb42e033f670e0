"""`math` on answers as models write them, kind by kind: right in other words, and near misses that are wrong.

The pairs of each kind are tables in `math_pairs`: (response, reference).
"""

import pytest

from filters.verdict import Check, Task, VerifierSettings
from filters.verifiers.registry import checker
from tests.filters.verifiers.math_pairs import (
    expressions,
    found,
    languages,
    numbers,
    sets,
    times,
    units,
    vectors,
    words,
)

KINDS = (found, numbers, units, words, times, languages, sets, vectors, expressions)

HUGE = [
    (r"\boxed{9^{9^{9}}}", "9^{9^{8}}"),
    (r"\boxed{3^{10000}}", "3^{10001}"),
    (r"\boxed{2^{100000}}", "2^{100001}"),
    (r"\boxed{1000000!}", "999999!"),
]


@pytest.fixture(scope="module")
def check() -> Check:
    return checker(VerifierSettings("math"))


@pytest.mark.parametrize(("response", "reference"), [pair for kind in KINDS for pair in kind.RIGHT])
def test_right(check: Check, response: str, reference: str) -> None:
    assert check(response, Task(reference)).kind == "right"


@pytest.mark.parametrize(("response", "reference"), [pair for kind in KINDS for pair in kind.WRONG])
def test_wrong(check: Check, response: str, reference: str) -> None:
    assert check(response, Task(reference)).kind == "wrong"


@pytest.mark.parametrize(("response", "reference"), HUGE)
def test_references_too_huge_to_evaluate_judge_nothing(check: Check, response: str, reference: str) -> None:
    assert check(response, Task(reference)).kind == "unscorable"
