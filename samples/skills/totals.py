"""The skill `totals` of the hybrid model: several numbers added up, which is done best one after the other.

The answer is the total alone: a model that thinks first has room to add, one that answers at once must guess.
"""

from __future__ import annotations

from random import Random

from samples.skills.base import Form, Skill
from samples.skills.judges import same_number
from samples.skills.wordings import Slots


def _draw(rng: Random) -> Slots:
    return {"numbers": ", ".join(str(rng.randint(2, 60)) for _ in range(rng.randint(3, 5)))}


def _solve(slots: Slots) -> str:
    return f"The answer is {sum(map(int, slots['numbers'].split(', ')))}."


totals = Skill(
    "totals",
    ("totals", "adding up"),
    (
        Form(
            (
                "(Add up|Sum up|Add together) (these numbers|all of these|the following): {numbers}.",
                "(What is|Give me|Find) the (sum|total) of {numbers}.",
                "(Here are|I have) {numbers}. (What do they come to|What is the total)?",
            ),
            _draw,
            _solve,
            same_number,
        ),
    ),
)
