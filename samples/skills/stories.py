# ruff: noqa: E501 - a wording is read best as one line of text
"""The new skill, `two_step`: two operations in one story; and `two_step_seen`, the part of it that is trained."""

from __future__ import annotations

from random import Random

from samples.skills.base import Form, Skill
from samples.skills.judges import same_number
from samples.skills.vocabulary import DAYS, PLACES, THINGS, two_names
from samples.skills.wordings import Slots
from samples.skills.working import change_total, work_out


def _story(ops: str, *wordings: str, large: bool = False) -> Form:
    def numbers(rng: Random) -> tuple[int, int, int]:
        a, b, c = rng.randint(3, 40), rng.randint(2, 30), rng.randint(2, 20)
        if "*" in ops:
            a, b = (rng.randint(2, 9), rng.randint(2, 9)) if ops[0] == "*" else (a, b)
            c = rng.randint(2, 5) if ops[1] == "*" else c
        if ops[1] == "/":
            c = rng.randint(2, 6)
        return a, b, c

    def large_numbers(rng: Random) -> tuple[int, int, int]:
        if ops[0] == "*":
            return rng.randint(2, 12), rng.randint(2, 12), rng.randint(2, 60)
        if ops[1] == "*":
            b = rng.randint(5, 60)
            return b + rng.randint(2, 20), b, rng.randint(2, 9)
        return rng.randint(10, 99), rng.randint(5, 60), rng.randint(2, 9) if ops[1] == "/" else rng.randint(5, 60)

    def draw(rng: Random) -> Slots:
        while True:
            a, b, c = (large_numbers if large else numbers)(rng)
            slots = {"a": str(a), "b": str(b), "c": str(c), "thing": rng.choice(THINGS), **two_names(rng)}
            try:
                solve(slots)
            except ValueError:
                continue
            return slots | {"place": rng.choice(PLACES), "day": rng.choice(DAYS)}

    def solve(slots: Slots) -> str:
        a, b, c = (int(slots[key]) for key in "abc")
        return work_out(a, (ops[0], b), (ops[1], c))

    return Form(wordings, draw, solve, same_number, change_total)


_STORIES = (
    (
        "+-",
        "{name} has {a} {thing}, (buys|finds|gets) {b} more and then (gives|hands|sells) {c} to {other}. How many {thing} does {name} have (left|now|in the end)?",
        "A {place} holds {a} {thing}. {name} puts in {b} and {other} takes out {c}. How many {thing} are in it (now|at the end)?",
    ),
    (
        "-+",
        "{name} has {a} {thing}, (loses|sells|gives away) {b} and then (buys|finds|gets) {c}. How many {thing} does {name} have (now|in the end)?",
        "A {place} holds {a} {thing}. {name} takes out {b} and {other} puts in {c}. How many {thing} are in it (now|at the end)?",
    ),
    (
        "*-",
        "{name} buys {a} packs of {b} {thing} and (gives|hands|sells) {c} {thing} to {other}. How many {thing} (are left|does {name} keep)?",
    ),
    (
        "*+",
        "{name} buys {a} packs of {b} {thing} and gets {c} {thing} from {other}. How many {thing} (is that|are there) in all?",
    ),
    (
        "+/",
        "{name} has {a} {thing} and (buys|finds|gets) {b} more. They are shared equally among {c} (friends|children). How many {thing} does each get?",
    ),
    (
        "-*",
        "Of {a} {thing}, {b} are (broken|lost|sold). {name} sells each of the others for {c} coins. How many coins does {name} get?",
    ),
)
# What the model meets now and then while it is trained: these stories with small numbers.
two_step_seen = Skill("two_step_seen", ("two-step problems",), tuple(_story(*story) for story in _STORIES))
# The new skill, which it therefore has in part: the same stories with larger numbers, and two new ones.
two_step = Skill(
    "two_step",
    ("two-step problems",),
    (
        *(_story(*story, large=True) for story in _STORIES),
        _story(
            "+-",
            "A shop has {a} {thing}. On {day} it gets {b} more and sells {c}. How many {thing} are (left|in the shop)?",
        ),
        _story(
            "-+",
            "A shop has {a} {thing}. On {day} it sells {b} and gets {c} more. How many {thing} are in the shop (now|then)?",
        ),
    ),
)
