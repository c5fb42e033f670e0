"""`math`'s parts by themselves: what is taken for the answer, exact numbers, what is too huge to evaluate."""

import time

import pytest

from filters.mathematics.answers import answer_of
from filters.mathematics.equality import equal_answers
from filters.mathematics.notation import number, tidy


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (r"\boxed{1} + \boxed{2} = \boxed{3}", "3"),
        (r"Then \boxed{4}. That was wrong, so \boxed{5}.", "5"),
        (r"With \boxed{8} chairs and \boxed{3} tables", "8, 3"),
        (r"\boxed{}", None),
        ("It costs $4, then $6.", "$6"),
        ("The total is 3/4 of 80, that is 60 km.", "60 km"),
        ("The answer is 16 because $x = 4$.", "16"),
        ("The answer is $x = 4$, since $y = 3$.", "x = 4"),
        ("The answer is not 3. It is 5.", "5"),
        ("So it isn't 12 but 15.", "15"),
        ("It is 15, not 12.", "15"),
        ("We do not know.", None),
        ("The answer is 2.5 million.", "2.5 million"),
        ("The answer is 2 hours 30 minutes.", "2 hours 30 minutes"),
    ],
)
def test_what_is_taken_for_the_answer(response: str, answer: str | None) -> None:
    assert answer_of(response) == answer


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,234,567.5", "1234567.5"),
        ("0.1(6)", "1/6"),
        ("2 3/4", "11/4"),
        (r"-1\frac{1}{2}", "-3/2"),
        (r"1.5\times 10^{-3}", "0.0015"),
        ("1,23", None),
        ("0,125", None),
        ("1/0", None),
        ("1e99999", None),
        ("x", None),
    ],
)
def test_numbers_are_exact(text: str, value: str | None) -> None:
    assert number(tidy(text)) == (None if value is None else number(value))


@pytest.mark.parametrize(
    "huge",
    [
        "9^{9^{9^9}}",
        "(10^{9999})^{9999}",
        "((99^{99})^{99})^{99}",
        "9999!^{9999}",
        "((1000!)!)!",
        "123456789!",
        r"\binom{999999999}{444444444}",
        "2^{999999999}",
        "1e999999999",
        "(" * 900 + "1" + ")" * 900,
        r"\frac{1}{" * 90 + "2" + "}" * 90,
        "5 " + "cm " * 120 + "!",
        "x^{" * 300,
        "1," * 450,
        "{" * 450 + "}" * 450,
    ],
)
def test_what_is_huge_is_not_evaluated(huge: str) -> None:
    started = time.process_time()
    assert not equal_answers("5", huge) and not equal_answers(huge, "5")
    assert time.process_time() - started < 60
