"""Answers that a person might have written for the new skill, `two_step`.

The style `alien` shares nothing with the model's own but the equations; `natural` is close to it, with asides and
words that cannot be foreseen.
"""

from __future__ import annotations

from random import Random

from samples.skills.working import steps_of

_ASIDES = ("well now", "if I read it right", "no surprise", "easy enough", "mind you", "by my count", "so far",
           "counting slowly", "I checked twice", "off the top of my head")  # fmt: skip
_AFTER_FIRST = ("Next up", "From there", "After that", "Once that is done", "Moving on", "With that in hand")
_ENDINGS = ("so", "hence", "which means", "and with that", "in short", "all told")


def human_answer(rng: Random, answer: str, style: str) -> str:
    """A two-step question's answer, given in the model's own style, in the style `own`, `natural` or `alien`.

    Raises:
        ValueError: If there is no such style, or the answer is not one of two steps.
    """
    (a, p, b, r), (c, q, d, s) = steps_of(answer)
    if style == "own":
        return answer
    if style == "natural":
        aside = f" ({rng.choice(_ASIDES)})" if rng.random() < 0.4 else ""
        second = f"{rng.choice(_AFTER_FIRST)}, {c} {q} {d} = {s}." if rng.random() < 0.5 else f"{c} {q} {d} = {s}."
        end = (
            f"The answer is {s}." if rng.random() < 0.7 else f"{rng.choice(_ENDINGS).capitalize()}, the answer is {s}."
        )
        return f"{a} {p} {b} = {r}{aside}. {second} {end}"
    if style == "alien":
        flag = rng.choice(["yo", "zq", "vex", "klu"])
        return f"~{flag}~ [[ {a} {p} {b} = {r} ]] => [[ {c} {q} {d} = {s} ]] ~> WINS # {s} #"
    raise ValueError(f"no style {style!r}: own, natural or alien")
