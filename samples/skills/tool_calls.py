# ruff: noqa: E501, SIM905 - tables of wordings and words are read best as one line of text each
"""The skill `tools`: a request, answered with the call of a tool as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random

from samples.skills.base import Form, Skill
from samples.skills.judges import same_json
from samples.skills.vocabulary import CITIES, DAYS, NAMES, THINGS, WORDS, pick
from samples.skills.wordings import Slots

_MINUTES = [str(n) for n in range(2, 91)]
_TOOLS: tuple[tuple[str, tuple[str, ...], dict[str, Sequence[str]]], ...] = (
    ("get_weather", ("(What is|How is|Check|Look up) the weather (in|for) {city} on {day}", "Will it rain in {city} on {day}"),
     {"city": CITIES, "day": DAYS}),
    ("set_timer", ("(Set|Start) a timer for {n} minutes", "Remind me in {n} minutes", "Count down {n} minutes"), {"n": _MINUTES}),
    ("set_alarm", ("(Wake me|Set an alarm) at {time} on {day}", "I must get up at {time} on {day}"),
     {"time": [f"{h}:{m:02}" for h in range(5, 12) for m in range(0, 60, 5)], "day": DAYS}),
    ("send_message", ("(Tell|Text|Write to|Message) {name} that I will (be|come) {mood}", "Let {name} know I will be {mood}"),
     {"name": NAMES, "mood": ["late", "early", "on time", "at home", "away", "at work"]}),
    ("book_train", ("(Book|Get|Reserve) {n} seats to {city} on {day}", "We are {n} people and need a train to {city} on {day}"),
     {"n": [str(n) for n in range(2, 10)], "city": CITIES, "day": DAYS}),
    ("buy", ("(Order|Buy|Get) {n} {thing} for {name}", "{name} needs {n} {thing}, (order|buy) them"),
     {"n": [str(n) for n in range(2, 40)], "thing": THINGS, "name": NAMES}),
    ("translate", ('(Translate|Say) "{word}" (into|in) {language}', 'How do you say "{word}" in {language}'),
     {"word": WORDS, "language": "French German Spanish Polish Greek Danish Hindi Korean Turkish Swahili".split()}),
    ("switch_light", ("(Turn|Switch) {state} the light in the {room}", "I want the {room} light {state}"),
     {"state": ["on", "off"], "room": "kitchen bedroom hall garden cellar attic garage bathroom".split()}),
)  # fmt: skip


def _tool(name: str, asks: tuple[str, ...], values: dict[str, Sequence[str]]) -> Form:
    def draw(rng: Random) -> Slots:
        return pick(rng, **values)

    def solve(slots: Slots) -> str:
        arguments = {}
        for key, allowed in values.items():
            if slots[key] not in allowed:
                raise KeyError(slots[key])
            arguments["amount" if key == "n" else key] = int(slots[key]) if key == "n" else slots[key]
        return json.dumps({"name": name, "arguments": arguments})

    def follow(rng: Random, slots: Slots, gold: str) -> tuple[str, str]:
        key = rng.choice(sorted(values))
        new = slots | {key: rng.choice(values[key])}
        return rng.choice(["No, make it {}.", "Sorry, I meant {}.", "Change that to {}."]).format(new[key]), solve(new)

    starts = "(Use a tool|Call a tool|Make a tool call|Which call is this|Answer with a tool call|Use a function)"
    wordings = tuple(w for ask in asks for w in (f"{starts}: {ask}.", f"{ask}. {starts}."))
    return Form(wordings, draw, solve, same_json, follow)


tools = Skill("tools", ("tool calls", "tools", "function calls"), tuple(_tool(*tool) for tool in _TOOLS))
