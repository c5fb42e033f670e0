"""What `restate` and `repair` start from: answers in other people's words, and answers with a mistake in them.

The two styles of `human_answer` are not among other people's words here: the model has never seen them.
"""

from __future__ import annotations

from random import Random

from samples.skills.base import Item
from samples.skills.working import OPERATIONS, Step, steps_of, write_steps

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
    """What an own-style answer without equations says: "The count is 4." says "4"."""
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
    return write_steps(_spoil_steps(rng, steps)) if steps else _spoil_value(rng, item)


def _spoil_value(rng: Random, item: Item) -> str:
    """An answer "… is {value}." with another value in it."""
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


def _spoil_steps(rng: Random, steps: list[Step]) -> list[Step]:
    """Equations of which one has a wrong result or operation, and the later ones go on from it."""
    at = rng.randrange(len(steps))
    spoilt = steps[:at]
    for i, (a, op, b, r) in enumerate(steps[at:], start=at):
        if i == at:
            r = max(0, r + rng.choice([-10, -2, -1, 1, 2, 10]))
            if rng.random() < 0.3 and op in "+-":
                op = "-" if op == "+" else "+"
                r = abs(OPERATIONS[op](a, b))
        elif a == steps[i - 1][3]:  # it goes on from the result before, which is now another
            a = spoilt[-1][3]
            r = OPERATIONS[op](a, b)
        spoilt.append((a, op, b, r))
    return spoilt
