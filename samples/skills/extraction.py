# ruff: noqa: SIM905 - a list of words is read best as one line of text
"""The skill `json`: fields of a sentence, written as a JSON object."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from random import Random

from samples.skills.base import Form, Skill
from samples.skills.judges import same_json
from samples.skills.vocabulary import CITIES, DAYS, NAMES, THINGS, WORDS
from samples.skills.wordings import Slots

_RECORDS: dict[str, tuple[dict[str, Callable[[Random], str]], tuple[str, ...]]] = {
    "person": (
        {
            "name": lambda r: r.choice(NAMES),
            "age": lambda r: str(r.randint(5, 95)),
            "city": lambda r: r.choice(CITIES),
            "job": lambda r: r.choice("baker pilot nurse painter teacher driver farmer singer lawyer cook".split()),
        },
        (
            "{name} is a {a}-year-old {job} (from|living in|who lives in) {city}.",
            "{name}, a {job} aged {a}, (lives in|comes from|moved to) {city}.",
            "In {city} there is a {job} called {name}, who is {a} years old.",
        ),
    ),
    "order": (
        {
            "buyer": lambda r: r.choice(NAMES),
            "item": lambda r: r.choice(THINGS),
            "count": lambda r: str(r.randint(2, 60)),
            "day": lambda r: r.choice(DAYS),
        },
        (
            "{name} ordered {a} {thing} on {day}.",
            "On {day}, {a} {thing} were (bought|ordered) by {name}.",
            "An order of {a} {thing} came from {name} on {day}.",
        ),
    ),
    "book": (
        {
            "title": lambda r: f"The {r.choice(WORDS).capitalize()} {r.choice(WORDS).capitalize()}",
            "author": lambda r: r.choice(NAMES),
            "year": lambda r: str(r.randint(1900, 2020)),
        },
        (
            "{title} was (written|published) by {name} in {year}.",
            "In {year}, {name} (wrote|published) {title}.",
            "{name} is the author of {title}, which appeared in {year}.",
        ),
    ),
}
# Which slot of the sentence a field is read from.
_FIELD_SLOT = {"age": "a", "count": "a", "buyer": "name", "author": "name", "item": "thing"}


def _record(kind: str) -> Form:
    fields, sentences = _RECORDS[kind]

    def draw(rng: Random) -> Slots:
        chosen = rng.sample(sorted(fields), rng.randint(2, len(fields)))
        asked = ", ".join(chosen[:-1]) + " and " + chosen[-1]
        return {_FIELD_SLOT.get(f, f): make(rng) for f, make in fields.items()} | {"fields": asked}

    def value(slots: Slots, field: str) -> str | int:
        if field not in fields:
            raise KeyError(field)
        text = slots[_FIELD_SLOT.get(field, field)]
        return int(text) if text.isdigit() else text

    def solve(slots: Slots) -> str:
        return json.dumps({f: value(slots, f) for f in re.split(", | and ", slots["fields"])})

    def follow(rng: Random, slots: Slots, gold: str) -> tuple[str, str]:
        field = rng.choice(sorted(fields))
        ask = rng.choice(["Now only the {}.", "And just the {}?"])
        return ask.format(field), json.dumps({field: value(slots, field)})

    wordings = tuple(
        wording.format(s=s)
        for s in sentences
        for wording in (
            "(Extract|Give me|Pull out|Return) the {{fields}} as JSON: {s}",
            "{s} (Write|Put|Give) the {{fields}} as JSON.",
            "(Turn this into|Make) JSON with {{fields}}: {s}",
        )
    )
    return Form(wordings, draw, solve, same_json, follow)


json_fields = Skill("json", ("JSON", "data extraction"), tuple(_record(kind) for kind in _RECORDS))
