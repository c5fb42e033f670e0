# ruff: noqa: E501 - a wording is read best as one line of text
"""The skill `arithmetic`: one addition, subtraction, multiplication or division, plain or in a story."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from samples.skills.base import Form, Skill
from samples.skills.judges import same_number
from samples.skills.vocabulary import CITIES, DAYS, PACKS, PLACES, THINGS, two_names
from samples.skills.wordings import Slots
from samples.skills.working import change_total, work_out


def _numbers(kind: str) -> Callable[[Random], tuple[int, int]]:
    def draw(rng: Random) -> tuple[int, int]:
        if kind == "+":
            return rng.randint(3, 99), rng.randint(2, 60)
        if kind == "-":
            a = rng.randint(12, 120)
            return a, rng.randint(2, min(a - 1, 70))
        b = rng.randint(2, 12)
        times = rng.randint(2, 12)
        return (b * times, b) if kind == "/" else (times, b)

    return draw


def _sum(kind: str, *wordings: str) -> Form:
    numbers = _numbers(kind)

    def draw(rng: Random) -> Slots:
        a, b = numbers(rng)
        places = {"place": rng.choice(PLACES), "thing": rng.choice(THINGS), "city": rng.choice(CITIES)}
        places["packs"] = rng.choice(PACKS)
        return {"a": str(a), "b": str(b), **places, **two_names(rng), "day": rng.choice(DAYS)}

    def solve(slots: Slots) -> str:
        return work_out(int(slots["a"]), (kind, int(slots["b"])))

    return Form(wordings, draw, solve, same_number, change_total)


arithmetic = Skill(
    "arithmetic",
    ("arithmetic", "sums", "word problems"),
    (
        _sum(
            "+",
            "{name} has {a} {thing} and (buys|finds|gets|is given) {b} more. How many {thing} does {name} have (now|in all|altogether)?",
            "There are {a} {thing} in a {place} and {b} (in another one|on the table|on the floor). How many {thing} are there (in all|altogether|in total)?",
            "On {day} {name} sold {a} {thing}, and {other} sold {b}. How many {thing} did they sell (together|in total)?",
            "{name} (drove|cycled|walked) {a} km to {city} and then {b} km more. How many km is that (in all|in total)?",
            "(What is|Work out|Calculate|How much is) {a} + {b}?",
            "{name} is {a} years old. How old will {name} be in {b} years?",
        ),
        _sum(
            "-",
            "{name} has {a} {thing} and (gives away|loses|sells|uses) {b}. How many {thing} (are left|does {name} have left|remain)?",
            "There are {a} {thing} in a {place}. {name} takes out {b}. How many {thing} (are left|remain|stay in it)?",
            "{name} has {a} {thing} and {other} has {b}. How many more {thing} does {name} have than {other}?",
            "A trip to {city} is {a} km long. {name} has done {b} km. How many km (are left|remain)?",
            "(What is|Work out|Calculate|How much is) {a} - {b}?",
            "{name} needs {a} {thing} and already has {b}. How many {thing} are (missing|still needed)?",
        ),
        _sum(
            "*",
            "{name} has {a} (full|big|small) {packs} with {b} {thing} in each. How many {thing} (is that|are there) in all?",
            "One of the {thing} costs {b} coins. What do {a} {thing} cost?",
            "{name} reads {b} pages a day. How many pages does {name} read in {a} days?",
            "(What is|Work out|Calculate|How much is) {a} * {b}?",
            "{a} (friends|children|people) each bring {b} {thing}. How many {thing} do they bring (in all|altogether)?",
        ),
        _sum(
            "/",
            "{name} shares {a} {thing} equally among {b} (friends|children|people). How many {thing} does each (get|one get)?",
            "{a} {thing} are packed into {b} equal (rows|groups|packs). How many {thing} are in each?",
            "(What is|Work out|Calculate|How much is) {a} / {b}?",
            "{b} {thing} cost {a} coins. What does one cost?",
        ),
    ),
)
