"""Worked answers: equations one after the other, then the number they come to."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from operator import add, floordiv, mul, sub
from random import Random

from samples.skills.judges import final_number
from samples.skills.wordings import Slots

Step = tuple[int, str, int, int]  # a, operation, b and the result: a + b = result
OPERATIONS: dict[str, Callable[[int, int], int]] = {"+": add, "-": sub, "*": mul, "/": floordiv}
_EQUATION = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)")


def steps_of(answer: str) -> list[Step]:
    """The equations of a worked answer, in order."""
    return [(int(a), op, int(b), int(r)) for a, op, b, r in _EQUATION.findall(answer)]


def write_steps(steps: Sequence[Step]) -> str:
    """The worked answer of these equations, in the model's own style."""
    lines = " ".join(f"{a} {op} {b} = {r}." for a, op, b, r in steps)
    return f"{lines} The answer is {steps[-1][3]}."


def work_out(start: int, *moves: tuple[str, int]) -> str:
    """The worked answer of a number that is changed by one (operation, operand) after the other.

    Raises:
        ValueError: If a division leaves a remainder or a result is negative: stories count whole things.
    """
    steps: list[Step] = []
    for op, b in moves:
        if op == "/" and (b == 0 or start % b):
            raise ValueError("does not divide")
        result = OPERATIONS[op](start, b)
        if result < 0:
            raise ValueError("negative")
        steps.append((start, op, b, result))
        start = result
    return write_steps(steps)


def change_total(rng: Random, slots: Slots, gold: str) -> tuple[str, str]:
    """A second question and its answer, as a form's `follow`: a few more, or a few less, than the answer was."""
    value = int(final_number(gold) or 0)
    n = rng.randint(2, 20)
    if value > n and rng.random() < 0.5:
        ask = rng.choice(["And if {} of them are lost?", "And after taking {} away?", "What if {} are removed?"])
        return ask.format(n), work_out(value, ("-", n))
    ask = rng.choice(["And if {} more are added?", "And with {} more?", "What if there are {} more?"])
    return ask.format(n), work_out(value, ("+", n))
