"""Finds the answer of a text without formulas: quantities in prose, and sentences that state it in words."""

import re
from collections import deque

from filters.mathematics.units import is_known

NEAR = 20_000
"""Characters at the end of a text in which formulas are looked for."""

LAST = 400
"""Characters at the end of a text in which its last sentence is looked for."""

VERB = (
    r"(?:is|are|was|were|equals?|be|becomes?|have|has|get|gets|giv(?:es?|ing)|mak(?:es?|ing)|left|leav(?:es?|ing)|costs?"
    r"|needs?|takes?|totals?|totall?ing|yield(?:s|ing)?|attains?|reach(?:es)?|earns?|pays?|spends?|saves?|obtain|find"
    r"|(?:amounts?|comes?|adds up|sums?) to|(?:in|de)creases?(?:d)? by)"
)
_VALUE = r"(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?: \d{3})+(?!\d)|\d+,\d{1,2}(?![\d,])|\d+)(?:\.\d+)?|\.\d+"
QUANTITY = re.compile(
    rf"(?<![A-Za-z0-9_.^{{\\-])(?:[-+]\s?)?[$€£¥]?-?(?:\d+(?:\s?:\s?\d+)+(?:\s?[AaPp]\.?[Mm]\b\.?)?"
    rf"|\d+ \d+/\d+(?!\w)|\d{{4}}-\d{{2}}-\d{{2}}|\d*\.\d*?(?P<cycle>\d{{1,6}}?)(?P=cycle){{2,}}\\ldots"
    rf"|(?:\d+\s?)?\\frac\{{\d+\}}\{{\d+\}}|\d*\\sqrt\{{[^{{}}]*\}}"
    rf"|(?:{_VALUE})(?:/(?:{_VALUE}))?(?:[eE][-+]?\d{{1,4}}|\s*(?:\\times|\\cdot|[x*])\s*10\s?\^\s?\{{?-?\d+\}}?|\s?\\pi(?![a-z])"
    r"|\s(?:hundred|thousand|million|billion|trillion)\b)?)"
    r"(?:\s*(?:\\?%|percent\b|per cent\b))?"
)
_UNIT = re.compile(
    r"\s?(?!in\s+\w)(?:(?:square|cubic) )?[A-Za-z]+\.?(?:[Mm]\.)?(?:\s?(?:/|per )\s?[A-Za-z]+)?(?:\^\{?\d\}?)?"
)
_DENIES = re.compile(
    r"(?:\b(?:not|never|cannot be|rather than|instead of|other than)|n['’]t(?: be)?)\s+(?:\w+\s+)?[$\\(\[*]*\Z"
    r"|(?:不是|并非|並非|不为)\s*[$\\(]*\Z",
    re.IGNORECASE,
)
_MONTH = r"(?:Jan|Febr)uary|March|April|May|June|July|August|(?:Septem|Octo|Novem|Decem)ber"
_DATE = re.compile(
    rf"\b(?:(?:{_MONTH}) \d{{1,2}}(?:st|nd|rd|th)?(?:,? \d{{4}})?"
    rf"|\d{{1,2}}(?:st|nd|rd|th)?(?: of)? (?:{_MONTH})(?: \d{{4}})?)\b"
)
_NOTHING = re.compile(
    r"\b(no (?:real |integer |positive |such )*(?:solutions?|roots?|zeros)|infinitely many(?: \w+)?)"
    r"(?: exists?)?(?: (?:to|for|of) (?:this|the) \w+)?[\s.*]*\Z",
    re.IGNORECASE,
)
_ITEM = re.compile(r"-?\d+(?:\.\d+)?(?:/\d+)?(?![\w.]*\d)")
_ITEMS = r"(?:\w{1,3}\s?=\s?)?-?\d+(?:\.\d+)?(?:/\d+)?"
_ENUMERATED = re.compile(
    r"\b(?:solutions?|roots?|values?|zeros|numbers?|integers|primes|factors|divisors)\b[^.\n:]{0,60}?\b(?:are|include)\b"
    rf"[\s:*]*({_ITEMS}(?:,\s?{_ITEMS})*,?\s(?:and|or)\s{_ITEMS})[\s.*]*\Z"
)
_PAID = re.compile(
    rf"\b(?:{VERB}|(?:needs? to|must|will|would|can) \w+)\s((?:{QUANTITY.pattern})(?:\s[A-Za-z]+){{0,3}}?),?\s"
    r"(?:for|with|in|at|by|over|after|on|from|to)\b(?![^.!?\n]*(?:[=+*/×]|\b(?:so|or|and|total|cost|makes?|equals?|leaving|is|are)\b))"
    r"[^.!?\n]*\d[^.!?\n]*[.!?]?\s*\Z"
)


def nothing(text: str) -> str | None:
    """Where the last sentence says that there is no solution, or no end of them, just that."""
    said = _NOTHING.search(text[-LAST:])
    return said[1] if said else None


def enumerated(text: str) -> str | None:
    """The numbers that the last sentence lists: "The solutions are x = 2 and x = 5."."""
    said = _ENUMERATED.search(text[-LAST:])
    return ", ".join(_ITEM.findall(said[1])) if said else None


def paid(text: str) -> str | None:
    """The quantity of a last sentence that goes on with another of its own: "She pays $64 for the 16 glasses."."""
    said = _PAID.search(text[-LAST:])
    return quantity_at(said[1], 0) if said else None


def is_denied(text: str, at: int) -> bool:
    """Whether the words before a place say that it is not so."""
    return _DENIES.search(text, max(0, at - 40), at) is not None


def quantity(text: str) -> str | None:
    """The last quantity in a text, with its unit; "2 hours and 30 minutes" is one."""
    places = (found.start() for found in QUANTITY.finditer(text))
    last = deque((place for place in places if not is_denied(text, place)), 2)
    if not last:
        return None
    for said in _DATE.finditer(text, max(0, last[-1] - 20)):
        if said.start() <= last[-1] < said.end():
            return said[0]
    whole, part = quantity_at(text, last[0]), quantity_at(text, last[-1])
    return whole if whole.endswith(f" {part}") else part


def quantity_at(text: str, at: int) -> str:
    """The quantity at a place, with a known unit after it."""
    found = QUANTITY.match(text, at) or QUANTITY.search(text, at)
    assert found is not None
    unit = _UNIT.match(text, found.end())
    if not unit or not is_known(unit[0]):
        return found[0].strip()
    said = found[0].strip() + unit[0].rstrip(".")
    also = re.compile(r"(?:,? and |, | )(?=\d)").match(text, unit.end())  # 2 hours and 30 minutes
    following = quantity_at(text, also.end()) if also and QUANTITY.match(text, also.end()) else ""
    return f"{said} {following}" if following[-1:].isalpha() else said
