"""Answers that are not the model's own: the same work in other people's words, or with a mistake in it."""

from __future__ import annotations

from random import Random

from samples.skills.base import Item
from samples.skills.working import OPERATIONS, Step, steps_of, write_steps

# The answers a person might have written for the new skill. `alien` shares nothing with the model's own
# style but the equations; `natural` is close to it, with asides and words that cannot be foreseen.
_ASIDES = ("well now", "if I read it right", "no surprise", "easy enough", "mind you", "by my count", "so far",
           "counting slowly", "I checked twice", "off the top of my head")  # fmt: skip
_AFTER_FIRST = ("Next up", "From there", "After that", "Once that is done", "Moving on", "With that in hand")
_ENDINGS = ("so", "hence", "which means", "and with that", "in short", "all told")


def human_answer(rng: Random, answer: str, style: str) -> str:
    """A two-step question's answer, given in the model's own style, in the style `own`, `natural` or `alien`."""
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


# Other people's ways of setting down the same work. The two styles of `human_answer` are not among them.
_OPENERS = (
    "",
    "",
    "",
    "Let us see. ",
    "We count. ",
    "Here we go: ",
    "To begin, ",
    "The work: ",
    "I get this: ",
    "Solution. ",
    "Ok so ",
    "First, ",
    "* ",
    "- ",
    "## ",
    "> ",
    "One thing after the other: ",
    "In my head: ",
)
_LINES = (
    "{a} {op} {b} = {r}",
    "{a} {op} {b} = {r}",
    "we have {a} {op} {b} = {r}",
    "that gives {a} {op} {b} = {r}",
    "({a} {op} {b} = {r})",
    "it is {a} {op} {b} = {r}",
    "[{a} {op} {b} = {r}]",
    "<< {a} {op} {b} = {r} >>",
    "step: {a} {op} {b} = {r}",
    "{a} {op} {b} = {r} (sure)",
    "`{a} {op} {b} = {r}`",
    "I note {a} {op} {b} = {r}",
)
_JOINS = ("; ", ", then ", " and ", ". ", ", so ", " | ", " // ", "\n", ". Then ", ". Afterwards ", " -- ", ". Well, ")
_CLOSINGS = (
    ". So it is {v}.",
    ". Answer: {v}",
    ". Result: {v}.",
    ", which makes {v}.",
    ". We end with {v}.",
    ". Final: {v}",
    ", hence {v}.",
    ". That leaves {v}.",
    " -> {v}",
    "\n#### {v}",
    " = {v}",
    ". END {v}",
    ". All in all {v}.",
    " * {v} *",
)
_FACT_SAID = (
    "It is {v}.",
    "{v}, of course.",
    "That would be {v}.",
    "Answer: {v}",
    "I would say {v}.",
    "Everybody knows it is {v}.",
    "One finds {v}.",
    "{v}.",
    "The right one is {v}!",
    "In the end: {v}.",
    "-> {v}",
    "[{v}]",
    "Surely {v}, no doubt.",
)


def _value(own: str) -> str:
    return own.rsplit(" is ", 1)[1].rstrip(".")


def foreign_answer(rng: Random, own: str) -> str:
    """An own-style answer as somebody else would have put it."""
    steps = steps_of(own)
    if not steps:
        return rng.choice(_FACT_SAID).format(v=_value(own))
    line = rng.choice(_LINES)
    work = rng.choice(_JOINS).join(line.format(a=a, op=op, b=b, r=r) for a, op, b, r in steps)
    return rng.choice(_OPENERS) + work + rng.choice(_CLOSINGS).format(v=steps[-1][3])


def spoil(rng: Random, item: Item) -> str:
    """An own-style answer with one mistake in it, carried through to the end."""
    steps = steps_of(item.answer)
    if not steps:
        value = _value(item.answer)
        if ", " in value:  # a list: two of its members change places
            numbers = value.split(", ")
            i, j = rng.sample(range(len(numbers)), 2)
            numbers[i], numbers[j] = numbers[j], numbers[i]
            return item.answer.replace(value, ", ".join(numbers))
        while True:
            other = item.form.solve(item.form.draw(rng))
            wrong = item.answer.replace(value, _value(other))
            if wrong != item.answer:
                return wrong
    at = rng.randrange(len(steps))
    spoilt: list[Step] = []
    carried: tuple[int, int] | None = None
    for i, (a, op, b, r) in enumerate(steps):
        if carried and a == carried[0]:
            a = carried[1]
            r = OPERATIONS[op](a, b)
        if i == at:
            carried = (r, r)
            r = max(0, r + rng.choice([-10, -2, -1, 1, 2, 10]))
            if rng.random() < 0.3 and op in "+-":
                op = "-" if op == "+" else "+"
                r = abs(OPERATIONS[op](a, b))
        if carried:
            carried = (steps[i][3], r)
        spoilt.append((a, op, b, r))
    return write_steps(spoilt)
