"""What the hybrid model thinks before it answers: short work that leads to the answer, in the same few ways each time.

Numbers are worked out in small steps, what is to be looked at is copied out and numbered, what is to be filled in is
listed: a model of this size gets further if it need not do two things at once.
"""

from __future__ import annotations

import json
from itertools import accumulate, pairwise

from samples.skills.base import Item
from samples.skills.refusals import is_refusal
from samples.skills.working import Step, steps_of


def thoughts_for(item: Item) -> str:
    """The thoughts before the answer to a question."""
    slots, answer = item.slots, item.answer
    if item.skill == "totals":
        numbers = [int(number) for number in slots["numbers"].split(", ")]
        sums = pairwise(accumulate(numbers))
        return " ".join(f"{a} + {b} = {r}." for (a, r), b in zip(sums, numbers[1:], strict=True))
    if item.skill == "lists":
        return _numbered(slots["numbers"].split(", "))
    if item.skill == "strings":
        return _numbered(slots["words"].split())
    if item.skill == "json":
        return _listed(json.loads(answer))
    if item.skill == "tools":
        call = json.loads(answer)
        return f"{call['name']} with {_listed(call['arguments'])}"
    if item.skill == "world":
        return f"{slots.get('land') or slots['value']}: {answer.rsplit(' is ', 1)[1]}"
    if item.skill == "code":
        return f"It {answer.rsplit('    ', 1)[1].replace('return', 'returns', 1)}."
    if item.skill == "safety":
        return answer.split(". ", 1)[1] + " I must not help." if is_refusal(answer) else "This is harmless."
    return later_thoughts(answer)


def later_thoughts(answer: str) -> str:
    """The thoughts before an answer of which only its text is known, such as that to a second question."""
    return " ".join(map(_in_parts, steps_of(answer))) or "This goes on from before."


def _in_parts(step: Step) -> str:
    """An equation; sums and differences first with the tens, then with the ones."""
    a, op, b, r = step
    tens = b // 10 * 10
    if op not in "+-" or tens in (0, b):
        return f"{a} {op} {b} = {r}."
    between = a + tens if op == "+" else a - tens
    return f"{a} {op} {b}: {a} {op} {tens} = {between}, {between} {op} {b - tens} = {r}."


def _numbered(things: list[str]) -> str:
    return " ".join(f"{number}: {thing}." for number, thing in enumerate(things, 1))


def _listed(value: dict[str, object]) -> str:
    """The fields of a JSON object, one after the other."""
    return ", ".join(f"{key}: {inner}" for key, inner in value.items()) + "."
