"""How an answer is compared with the right one: each judge takes the slots, the right answer and the text."""

from __future__ import annotations

import json
import re

from samples.skills.wordings import Slots


def exact(slots: Slots, gold: str, text: str) -> bool:
    """The very same text, but for space around it."""
    return text.strip() == gold


def final_number(text: str) -> str | None:
    """The number an answer comes to: after "answer is", else the last number that stands alone."""
    said = re.findall(r"answer is (-?\d+)", text)
    return said[-1] if said else next(iter(re.findall(r"(?<!\w)-?\d+(?!\w)", text)[::-1]), None)


def same_number(slots: Slots, gold: str, text: str) -> bool:
    """Any text that comes to the same number."""
    return final_number(text) == final_number(gold)


def same_json(slots: Slots, gold: str, text: str) -> bool:
    """JSON of the same value: neither the order of the keys nor space matters."""
    try:
        return bool(json.loads(text) == json.loads(gold))
    except ValueError:
        return False
