"""Wordings: texts that are read in both directions.

Wordings use two marks:

    {slot}      a drawn value
    (a|b|c)     any one of the alternatives, of which one may be empty

Forwards a wording writes a question, backwards (as a regular expression) it reads the values out of a question
that the *model* asked, so that any question a skill could have asked can be solved and its answer checked, not
only the ones a generator has just made.
"""

from __future__ import annotations

import functools
import re
from random import Random

Slots = dict[str, str]

_SLOT = re.compile(r"\{(\w+)\}")
_CHOICE = re.compile(r"\(([^()]*\|[^()]*)\)")
_WORD = r"[A-Za-z][A-Za-z' -]*?"
_PATTERNS = {  # what a slot may hold where it is not plain words
    "a": r"\d+", "b": r"\d+", "c": r"\d+", "n": r"\d+", "year": r"\d+",
    "numbers": r"\d+(?:, \d+)+", "words": r"[a-z]+(?: [a-z]+)+", "word": r"[a-z]+",
    "fields": r"[a-z, ]+?", "fn": r"[a-z_]+", "arg": r"[a-z]+", "sep": r"\S", "time": r"\d+:\d\d", "letter": r"[a-z]",
}  # fmt: skip


def write(wording: str, slots: Slots, rng: Random) -> str:
    """Pick one of each of a wording's alternatives, then fill its slots."""
    chosen = _CHOICE.sub(lambda m: rng.choice(m[1].split("|")), wording)
    return _SLOT.sub(lambda m: slots[m[1]], chosen)


@functools.cache
def _reader(wording: str) -> re.Pattern[str]:
    """The regular expression that reads back what `write` makes of a wording."""
    seen: set[str] = set()

    def slot(m: re.Match[str]) -> str:
        name = m[1]
        if name in seen:
            return f"(?P={name})"
        seen.add(name)
        return f"(?P<{name}>{_PATTERNS.get(name, _WORD)})"

    def plain(text: str) -> str:
        return _SLOT.sub(slot, re.escape(text).replace(r"\{", "{").replace(r"\}", "}"))

    parts, end = [], 0
    for m in _CHOICE.finditer(wording):
        parts.append(plain(wording[end : m.start()]))
        options = sorted(set(m[1].split("|")), key=len, reverse=True)  # the longest that fits
        parts.append(f"(?:{'|'.join(map(plain, options))})")
        end = m.end()
    return re.compile("".join(parts) + plain(wording[end:]))


def read(wording: str, text: str) -> Slots | None:
    """Slots of a text that this wording could have written, else None."""
    m = _reader(wording).fullmatch(text)
    return m.groupdict() if m else None
