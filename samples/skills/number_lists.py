"""The skill `lists`: a question about a few whole numbers."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from samples.skills.base import Form, Skill
from samples.skills.wordings import Slots


def _lists(ask: str, what: str, function: Callable[[list[int]], object]) -> Form:
    def draw(rng: Random) -> Slots:
        return {"numbers": ", ".join(map(str, rng.sample(range(1, 100), rng.randint(3, 5))))}

    def solve(slots: Slots) -> str:
        value = function([int(n) for n in slots["numbers"].split(", ")])
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        return f"The {what} is {shown}."

    def follow(rng: Random, slots: Slots, gold: str) -> tuple[str, str]:
        word, better = rng.choice([("largest", max), ("smallest", min)])
        start = rng.choice(["And the", "And what is the", "Now the"])
        return f"{start} {word}?", f"The {word} number is {better(int(n) for n in slots['numbers'].split(', '))}."

    wordings = (
        f"{ask}: {{numbers}}.",
        f"(Look at|Take|Here are) the numbers {{numbers}}. {ask}.",
        f"{ask} (in|for) this list: {{numbers}}.",
    )
    return Form(wordings, draw, solve, follow=follow)


lists = Skill(
    "lists",
    ("lists of numbers", "number lists"),
    (
        _lists("(Find|Give me|Name|Tell me) the (largest|biggest|highest) number", "largest number", max),
        _lists("(Find|Give me|Name|Tell me) the (smallest|lowest|least) number", "smallest number", min),
        _lists("(Sort|Order) (them|the numbers|everything) from (small to large|low to high)", "sorted list", sorted),
        _lists("(Find|Give me|Name|Tell me) the last number", "last number", lambda v: v[-1]),
        _lists("(Say|Count|Tell me) how many numbers there are", "count", len),
        _lists("(Reverse|Turn around) (the order|everything)", "reversed list", lambda v: v[::-1]),
    ),
)  # fmt: skip
