# ruff: noqa: E501 - a wording is read best as one line of text
"""The skill `strings`: something done to a few words."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from samples.skills.base import Form, Skill
from samples.skills.vocabulary import WORDS
from samples.skills.wordings import Slots


def _strings(ask: str, function: Callable[[list[str], Slots], str], *, low: int = 2, high: int = 5) -> Form:
    def draw(rng: Random) -> Slots:
        words = rng.sample(WORDS, rng.randint(low, high))
        return {"words": " ".join(words), "sep": rng.choice("-_+/;:*#"), "n": str(rng.randint(2, 4))}

    def solve(slots: Slots) -> str:
        return function(slots["words"].split(), slots)

    def follow(rng: Random, slots: Slots, gold: str) -> tuple[str, str]:
        new = slots | {"words": draw(rng)["words"]}
        start = rng.choice(["Now the same for", "And for", "Do it again with"])
        return f"{start}: {new['words']}", solve(new)

    wordings = (f"{ask}: {{words}}", f'{ask}. The (text|phrase) is "{{words}}".', f'(Take|Use) "{{words}}". {ask}.')
    return Form(wordings, draw, solve, follow=follow)


strings = Skill(
    "strings",
    ("strings", "text operations", "words"),
    (
        _strings("(Write|Put|Set) (this|it|the text) in (capital letters|capitals|upper case)", lambda w, s: " ".join(w).upper(), high=4),
        _strings("(Reverse|Turn around|Flip) the (order of the words|word order)", lambda w, s: " ".join(w[::-1])),
        _strings("(Join|Link|Connect) the words with {sep}", lambda w, s: s["sep"].join(w)),
        _strings("(Give|List|Write) the first (letters of the words|letter of each word)", lambda w, s: " ".join(x[0] for x in w)),
        _strings("(Count|How many are|Tell me the number of) the words", lambda w, s: str(len(w)), high=7),
        _strings("(Repeat|Write|Say) the (first|opening) word {n} times", lambda w, s: " ".join(w[:1] * int(s["n"]))),
        _strings("(Give|Say|Write) (only|just) the last word", lambda w, s: w[-1]),
        _strings("(Swap|Exchange) the first and the last word", lambda w, s: " ".join([w[-1], *w[1:-1], w[0]])),
    ),
)  # fmt: skip
