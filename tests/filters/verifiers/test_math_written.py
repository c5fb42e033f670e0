r"""`math` on how answers are written beside numbers: units with powers, functions by cases, parts with labels, numerals."""

import pytest

from filters.mathematics.equality import equal_answers
from filters.mathematics.notation import tidy
from filters.mathematics.units import split_unit
from filters.verdict import Check, Task, VerifierSettings
from filters.verifiers.registry import checker


@pytest.fixture(scope="module")
def check() -> Check:
    return checker(VerifierSettings("math"))


STEP = r"\begin{cases} 1 & x \ge 0 \\ 0 & x < 0 \end{cases}"

SAME = [
    # units with powers, fractions of units, all of it in one \text
    (r"9.8\ \mathrm{m/s^2}", "9.8"),
    (r"9.8\ \mathrm{m/s^2}", r"9.8 \text{ m/s}^2"),
    (r"3\ \mathrm{kg\,m^{-3}}", "3"),
    (r"5\,\mathrm{kg\cdot m^2/s^2}", "5"),
    (r"8.31\ \mathrm{J\,mol^{-1}\,K^{-1}}", "8.31"),
    (r"20\,\frac{\text{m}}{\text{s}}", "20"),
    (r"72\,\frac{\text{km}}{\text{h}}", r"20\text{ m/s}"),
    (r"9.8\,\frac{\mathrm{m}}{\mathrm{s}^2}", r"9.8\text{ m/s}^2"),
    (r"\mathrm{x^2}", "x^2"),
    (r"\text{7 apples}", "7"),
    (r"\textbf{7 apples}", r"7 \text{ apples}"),
    (r"\text{10 AM}", "10 a.m."),
    (r"\text{3 million}", "3000000"),
    (r"\text{2 hours 30 minutes}", "2.5 hours"),
    (r"\text{2 hr 5 min}", "125 minutes"),
    (r"2\text{ hours and }30\text{ minutes}", "150 minutes"),
    (r"5\text{ remainder }2", "5 R 2"),
    # rows of a matrix as lists
    ("[[1, 2], [3, 4]]", r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}"),
    ("[[1,2]]", r"\begin{pmatrix}1&2\end{pmatrix}"),
    # functions by cases
    (r"f(x) = \begin{cases} x^2 & x \ge 0 \\ -x & x < 0 \end{cases}", r"\begin{cases} -x, & x<0 \\ x^2, & x\geq 0. \end{cases}"),
    (r"\begin{cases} 0 & \text{if } x<0 \\ 1 & \text{otherwise} \end{cases}", r"\begin{cases} 0, & x<0, \\ 1, & \text{otherwise}. \end{cases}"),
    (r"\begin{cases} x=1 \\ y=2 \end{cases}", "(1,2)"),
    (r"\begin{cases} x&=1 \\ y&=2 \end{cases}", "x=1,y=2"),
    # parts with labels
    ("(a) 3 (b) 4", "(a) 3, (b) 4"),
    (r"(a)\ 3,\ (b)\ 4", "3, 4"),
    (r"\text{(a) } 3, \text{(b) } 4", "a) 3; b) 4"),
    # what a letter ranges over, said by one
    (r"f(x) = kx, k\in\mathbb{R}", "f(x)=kx"),
    (r"2\pi k \text{ where } k \in \mathbb{Z}", r"2k\pi"),
    (r"\overline{AB}", "AB"),
    ("三十五", "35"),
    ("一百零二个", "102"),
    ("两千", "2000"),
    ("二〇二四年", "2024"),
    ("一万二千", "12000"),
]  # fmt: skip

OTHER = [
    (r"20\,\frac{\text{m}}{\text{s}}", r"20\text{ km/h}"),
    (r"3\ \mathrm{kg\,m^{-3}}", r"3\ \mathrm{kg\,m^{-2}}"),
    (r"\text{10 AM}", "10 p.m."),
    (r"\text{7 or 8}", "7"),
    (r"\text{at least 7}", "7"),
    (r"\text{2 hr 5 min}", "120 minutes"),
    (r"5\text{ remainder }2", "5"),
    ("[[1,2],[3,4]]", "[[1,2],[4,3]]"),
    ("[[1,2],[3,4]]", r"\begin{pmatrix} 1 & 3 \\ 2 & 4 \end{pmatrix}"),
    (STEP, r"\begin{cases} 1 & x<0 \\ 0 & x\ge0 \end{cases}"),
    (r"\begin{cases} x & x \ge 0 \\ -x & x<0 \end{cases}", r"\begin{cases} x^2 & x \ge 0 \\ -x & x<0 \end{cases}"),
    (STEP, "1"),
    (r"\begin{cases} x=1 \\ y=3 \end{cases}", "(1,2)"),
    ("(a) 4 (b) 3", "(a) 3, (b) 4"),
    ("(a) 4, (b) 3", "3, 4"),
    (r"2\pi k, k \in \mathbb{N}", r"2\pi k, k \in \mathbb{Z}"),
    (r"\overline{AB}", "CD"),
    ("三十五", "53"),
    ("一样", "1"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same_in_other_words(check: Check, one: str, other: str) -> None:
    assert check(rf"So it is $\boxed{{{one}}}$.", Task(other)).kind == "right"
    assert equal_answers(one, other) and equal_answers(other, one)


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_what_only_looks_alike(check: Check, one: str, other: str) -> None:
    assert check(rf"So it is $\boxed{{{one}}}$.", Task(other)).kind == "wrong"
    assert not equal_answers(one, other) and not equal_answers(other, one)


def test_an_answer_as_code_and_a_reference_by_cases(check: Check) -> None:
    for response in ("`7`", "The answer is `7`.", "The answer is **`7`**"):
        assert check(response, Task("7")).kind == "right"
    assert check("答案是三十五。", Task("35")).kind == "right"
    reference = rf"f(x) = {STEP.replace('x < 0', 'otherwise')}"
    assert check(rf"\boxed{{{STEP.replace('x < 0', 'otherwise')}}}", Task(reference)).kind == "right"


def test_a_unit_is_the_rest_of_an_answer() -> None:
    assert split_unit(tidy(r"9.8\ \mathrm{m/s^2}")) == ("9.8", r"\text{m/s}^{2}")
    assert split_unit(tidy(r"\mathrm{x^2}")) == (r"\text{x}^{2}", "")
