"""`math`: the same value in other words is right, another value is wrong, whatever surrounds it."""

import json
import random
import time
from decimal import Decimal
from pathlib import Path

import pytest

from filters.verdict import Check, Task, VerifierSettings
from filters.verifiers.registry import checker


@pytest.fixture(scope="module")
def check() -> Check:
    return checker(VerifierSettings("math"))


RIGHT = [
    (r"\boxed{x^2y^2}", "y^2x^2"),
    (r"\boxed{e^{x^2}}", "e^{x^{2}}"),
    ("The answer is €1,234.50.", "1234.5"),
    ("Answer: 42 km/h", "42"),
    ("The answer is 3 1/2.", r"\frac{7}{2}"),
    (r"\boxed{1,2,3}", "3,2,1"),
    ("Therefore, the answer is:\n\n$$\n\\frac{3}{4}\n$$", "3/4"),
    ("The answer is **42**.", "42"),
    ("The answer is 42 apples because 6 * 7 is 42.", "42"),
    ("So he has $12 - $5 = $7.", "7"),
    ("It costs $5 and not $3.", "5"),
    ("The answer is 98 - 30 = 68 rolls.", "68"),
    ("The answer is 3 1/2 hours.", "3.5"),
    ("The answer is 50%.", "50"),
    ("the answer is x = 5", "5"),
    (r"so \(x=\frac{3}{4}\).", "0.75"),
    ("The answer is Paris.", "Paris"),
    (r"\boxed{\text{Paris}}", "Paris"),
    ("It is 7.", "7"),
    ("x^8+1", "x^8 + 1"),
    (r"\boxed{1,234}", "1234"),
    ("#### 1,234", "1234"),
    (r"the final answer is \boxed{7}. I hope it is correct.", "7"),
    ("Final Answer: The final answer is $7$. I hope it is correct.", "7"),
    ("**Answer:** 7", "7"),
    (r"Answer: $\$7.50$", "7.5"),
    (r"\boxed{x \in [1, 3)}", "[1,3)"),
    (r"\boxed{12 \text{ cm}^2}", "12"),
    ("1.5e3", "1500"),
    (r"\boxed{-\frac{\sqrt{3}}{2}}", r"-\sqrt{3}/2"),
    (r"\boxed{0.5}", r"\dfrac12"),
    (r"\boxed{\binom{10}{3}}", "120"),
    (r"\boxed{\{2, 1\}}", r"\{1,2\}"),
    (r"\boxed{\begin{pmatrix} 1 \\ 2 \end{pmatrix}}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
    (r"\boxed{2\sqrt{3}}", r"\sqrt{12}"),
    (r"\boxed{90^\circ}", "90"),
    ("Natalia sold 48 + 24 = 72 clips.\n#### 72", "So she sold 72.\n#### 72"),
]

WRONG = [
    ("So it is 3.", "7"),
    (r"\boxed{1,2,3}", "123"),
    (r"\boxed{5x}", "5"),
    ("43", "42"),
    ("-42", "42"),
    (r"\boxed{[0,1]}", "[0,1)"),
    (r"\boxed{\{1,2\}}", r"\{1,2,3\}"),
    (r"\boxed{(2,1)}", "(1,2)"),
    ("1/3", "0.33"),
    ("I do not know", "42"),
    ("", "42"),
    (r"\boxed{9^{9^{9^9}}}", "5"),
    (r"\boxed{10^{99999999}}", "5"),
    (r"\boxed{100000!}", "5"),
    ("the answer is 42, no wait. The answer is 41.", "42"),
    (r"\boxed{5.000001}", "5"),
    (r"\boxed{x+1}", "x-1"),
]


@pytest.mark.parametrize(("response", "reference"), RIGHT)
def test_right(check: Check, response: str, reference: str) -> None:
    assert check(response, Task(reference)).kind == "right"


@pytest.mark.parametrize(("response", "reference"), WRONG)
def test_wrong(check: Check, response: str, reference: str) -> None:
    verdict = check(response, Task(reference))
    assert verdict.kind == "wrong" and verdict.reason


def test_what_was_read_is_shown(check: Check) -> None:
    assert check(r"Thus $x = \boxed{\frac{1}{2}}$.", Task("0.5")).answer == r"\frac{1}{2}"
    assert check("no number here", Task("5")).reason == "no answer found"
    assert check("5", Task(None)).kind == "unscorable"
    assert check("5", Task("  ")).kind == "unscorable"


@pytest.mark.parametrize(
    "garbage", ["$" * 10**6, "\\boxed{" * 10**5, "####" * 10**5, "9" * 10**6, "{" * 10**6, "answer is " * 10**5]
)
def test_garbage_ends_soon(check: Check, garbage: str) -> None:
    began = time.process_time()
    assert check(garbage, Task("5")).kind in ("wrong", "unscorable")
    assert time.process_time() - began < 20


def gsm8k(data: Path) -> list[str]:
    lines = [line for part in ("train", "test") for line in (data / "gsm8k" / f"{part}.jsonl").read_text().splitlines()]
    return [json.loads(line)["answer"] for line in lines]


def test_gsm8k_solutions_are_right(check: Check, data: Path) -> None:
    answers = gsm8k(data)
    assert len(answers) == 8792
    assert [text for text in answers if check(text, Task(text)).kind != "right"] == []


def test_gsm8k_shuffled_is_right_only_where_the_values_agree(check: Check, data: Path) -> None:
    def value(text: str) -> Decimal:
        return Decimal(text.split("####")[1].strip().replace(",", ""))

    answers = gsm8k(data)
    others = random.Random(3).sample(answers, len(answers))
    agreeing = 0
    for text, other in zip(answers, others, strict=True):
        same = value(text) == value(other)
        agreeing += same
        assert (check(text, Task(other)).kind == "right") == same, (text, other)
    assert 50 < agreeing < 1000


def test_math500_solutions_are_right(check: Check, data: Path) -> None:
    rows = [json.loads(line) for line in (data / "math500" / "test.jsonl").read_text().splitlines()]
    assert len(rows) == 500
    for row in rows:
        assert check(row["solution"], Task(row["answer"])).kind == "right", row["answer"]
        assert check(row["solution"], Task(row["solution"])).kind == "right", row["answer"]


FORMS = [
    "\\boxed{%s}",
    "The answer is $%s$.",
    "The answer is %s.",
    "Therefore, the final answer is:\n\n\\[\n%s\n\\]\n",
    "Hence we get $ %s $.",
    "<think>\nMaybe \\boxed{77777}?\n</think>\n\nThe answer is \\(%s\\).",
]


def test_math500_answers_are_right_in_every_form(check: Check, data: Path) -> None:
    answers = [json.loads(line)["answer"] for line in (data / "math500" / "test.jsonl").read_text().splitlines()]
    faults = [
        (form, answer) for form in FORMS for answer in answers if check(form % answer, Task(answer)).kind != "right"
    ]
    assert faults == []


def test_math500_shuffled_is_right_only_where_the_answers_agree(check: Check, data: Path) -> None:
    """Answers that differ as texts and are taken for equal are listed here, looked at one by one."""
    rows = [json.loads(line) for line in (data / "math500" / "test.jsonl").read_text().splitlines()]
    accepted = set()
    for seed in range(4):
        others = random.Random(seed).sample(rows, len(rows))
        for row, other in zip(rows, others, strict=True):
            same = row["answer"].replace(" ", "") == other["answer"].replace(" ", "")
            verdict = check(row["solution"], Task(other["answer"]))
            assert verdict.kind != "unscorable", other["answer"]
            if same:
                assert verdict.kind == "right"
            elif verdict.kind == "right":
                accepted.add((row["answer"], other["answer"]))
    assert accepted <= EQUAL, accepted - EQUAL


EQUAL: set[tuple[str, str]] = set()
"""Different texts of one value that the shuffles above bring together."""
