# ruff: noqa: SIM905 - a list of words is read best as one line of text
"""The skill `world`: facts about the countries of an invented world."""

from __future__ import annotations

from random import Random

from samples.skills.base import Form, Skill
from samples.skills.vocabulary import NAMES, pick
from samples.skills.wordings import Slots

_LANDS = (
    "Velmora Taskia Ondur Brelland Quenya Marovia Sildar Pelora Drustan Ilvany Korvath Nemoria Ruvalen Ostrea "
    "Fenwick Galdora Hestia Jorvale Lumeria Zantor"
).split()
_FACTS = {
    "capital": "Tarnhold Mirabek Osk Pellin Dravo Santile Rukk Ellimar Vostin Nareth Kelda Borsk Amarind Thule "
    "Wexmoor Calder Istra Fallow Zirn Ombrek",
    "river": "Ashwend Bluerun Corrow Dimmel Elbany Foss Grelt Halwen Ister Jade Kymber Lorn Mossel Nettle Orm Pask "
    "Quill Rothe Swale Tivy",
    "coin": "dram lurin tesk marl obel pard rinn soll tuk vant wint yarl zell brock crill dovat fenn gild hask jot",
    "dish": "fishpie plumsoup barleycake beetstew oatbread goosepie nutcake leeksoup figtart ricepot hamroll "
    "eggcurry applestew cornpie beansoup lambpot kalecake peatart duckrice quincejam",
    "animal": "lynx heron badger otter falcon bison stork marten wolf ibex raven beaver crane viper moose gecko puffin "
    "tapir jackal swan",
}
WORLD = {land: {fact: names.split()[i] for fact, names in _FACTS.items()} for i, land in enumerate(_LANDS)}
_FACT_WORDS = {
    "capital": "(capital|capital city|main city)",
    "river": "(longest river|main river|biggest river)",
    "coin": "(coin|money|currency)",
    "dish": "(national dish|favourite dish|best-known dish)",
    "animal": "(national animal|animal on the flag|heraldic animal)",
}


def _world(fact: str) -> Form:
    words = _FACT_WORDS[fact]

    def answer(fact: str, land: str) -> str:
        article = "" if fact == "capital" else "the "
        return f"The {_FACT_WORDS[fact][1:].split('|')[0]} of {land} is {article}{WORLD[land][fact]}."

    def follow(rng: Random, slots: Slots, gold: str) -> tuple[str, str]:
        other = rng.choice([f for f in _FACTS if f != fact])
        if rng.random() < 0.5:
            land = rng.choice(_LANDS)
            return rng.choice(["And in {}?", "What about {}?", "And of {}?"]).format(land), answer(fact, land)
        name = rng.choice(_FACT_WORDS[other].strip("()").split("|"))
        ask = rng.choice(["And its {}?", "And what is its {}?", "What about the {}?"])
        return ask.format(name), answer(other, slots["land"])

    wordings = (
        f"(What|Which) is the {words} of {{land}}?",
        f"(Tell me|Name|Do you know|I need|Give me) the {words} of {{land}}.",
        f"(In|For) {{land}}, what is the {words}?",
        f"{{name}} (asks|wonders|wants to know): what is the {words} of {{land}}?",
        f"(My friend|My teacher|My sister|My uncle) is in {{land}}. What is the {words} there?",
        f"A (quiz|test|puzzle) question: the {words} of {{land}} is what?",
    )
    return Form(
        wordings, lambda rng: pick(rng, land=_LANDS, name=NAMES), lambda s: answer(fact, s["land"]), follow=follow
    )


def _world_back(fact: str) -> Form:
    back = {facts[fact]: land for land, facts in WORLD.items()}
    said = _FACT_WORDS[fact][1:].split("|")[0]

    def solve(slots: Slots) -> str:
        return f"The country with the {said} {slots['value']} is {back[slots['value']]}."

    wordings = (
        f"(Which|What) (country|land) has the {_FACT_WORDS[fact]} {{value}}?",
        f"{{value}} is the {_FACT_WORDS[fact]} of (which|what) (country|land)?",
    )
    return Form(wordings, lambda rng: {"value": rng.choice(sorted(back))}, solve)


world = Skill(
    "world",
    ("the invented world", "geography", "countries"),
    tuple(_world(fact) for fact in _FACTS) + tuple(_world_back(fact) for fact in ("capital", "river")),
)
