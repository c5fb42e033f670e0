"""Finds the answer of a text without formulas: quantities in prose, and sentences that state it in words."""

import math
import re
from collections import deque

from filters.mathematics.expressions import is_rounding
from filters.mathematics.numerals import COUNTED, SPELT, english
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
    rf"(?<![A-Za-z0-9_.^{{\\-])(?:[-+]\s?)?(?P<money>[$€£¥])?-?(?:\d+(?:\s?:\s?\d+)+(?:\s?[AaPp]\.?[Mm]\b\.?)?"
    rf"|\d+ \d+/\d+(?!\w)|\d{{4}}-\d{{2}}-\d{{2}}"
    rf"|\d*\.\d*?(?:(?P<cycle>\d{{2,6}}?)(?P=cycle)+|(?P<digit>\d)(?P=digit){{2,}})\\ldots"
    rf"|(?:\d+\s?)?\\frac\{{\d+\}}\{{\d+\}}|\d*\\sqrt\{{[^{{}}]*\}}"
    rf"|(?:{_VALUE})(?:/(?:{_VALUE}))?(?:[eE][-+]?\d{{1,4}}|\s*(?:\\times|\\cdot|[x*])\s*10\s?\^\s?\{{?-?\d+\}}?|\s?\\pi(?![a-z])"
    r"|\s(?:hundred|thousand|million|billion|trillion|dozens?)\b|(?(money)[KkMmBb]|[KkMB])(?![\w$]))?)"
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

_SPELT = re.compile(
    rf"\b{VERB}\s(?:(?:exactly|only|just|about|precisely|now)\s|a\stotal\sof\s)*"
    rf"(?P<said>(?P<number>{SPELT})(?:\s(?P<counted>percent|[a-z]{{3,}}))?)(?!\s(?:of|more|less|fewer|or|and|than)\b)[^.!?]*[.!?*]*\s*\Z",
    re.IGNORECASE,
)
_NAMED_BEFORE = re.compile("(?:solution|root|zero|value|answer|case|possibilit|equation|step|part|intersection|point)")
"""What a last sentence may count although the question is what they are."""
_BEFORE_LAST = re.compile(r"[.!?]\s|[:\n]")
_CHOSEN = re.compile(
    r"\b(?:choose|select|pick|(?:go|going) with|is|be)\s(?:option|choice)\s\(?([A-J])\)?[^A-Za-z]*\Z"
    r"|\b(?:option|choice)\s\(?([A-J])\)?\s(?:is|must be|has to be)\s(?:the\s)?(?:correct|right|best|answer)\b"
    r"[^.!?]*[.!?*]*\s*\Z",
    re.IGNORECASE,
)
_ROUGHLY = r"(?:about|approximately|approx\.?|roughly|around|nearly|~|\\approx)\s*"
_EXACT = (
    r"(?:(?P<whole>\d{1,15})\s)?(?P<above>\d{1,15})/(?P<below>\d{1,15}(?!\d))"
    r"|\\frac\{(?P<top>\d{1,15})\}\{(?P<bottom>\d{1,15})\}"
    r"|(?P<times>\d{0,15}(?:\.\d{1,15})?)\s?(?P<constant>\\pi(?![a-z])|\\sqrt\{\d{1,15}\})"
)
_AGAIN = (" or ", "about", "approx", "rough", "around", "nearly", "(", "~", "i.e.", " is ")
"""Words of which a text that says it again has one: that is faster."""
_EXACT_AND_ROUNDED = re.compile(
    rf"(?P<exact>(?<![\w.^/])(?:{_EXACT})\s?(?:\$|\\\))?(?:\s(?!or\b|about\b)[a-z]+)?)"
    rf"(?:,?\s*(?:\\text\{{\s*)?(?:or|i\.e\.,?|which is|that is)\s+|\s*\((?:or\s+)?|,?\s*(?={_ROUGHLY}))"
    rf"(?P<roughly>{_ROUGHLY})?"
    r"\}?\s*[$]?(?P<rounded>\d*\.?\d+)(?:\s?(?P<percent>\\?%|percent\b))?(?:\s[a-z]+(?:\^\{?\d\}?)?)?\s?\)?"
)


def exactly(text: str) -> str:
    """A text without the decimal fractions at its end that say once more, rounded, what stands exactly before them.

    "1/6, or about 16.67%": 1/6. What is no rounding of it stays: "1/3 or 0.34".
    """
    end = text[-LAST:]
    if ("/" not in end and "\\" not in end) or not any(word in end for word in _AGAIN):
        return text
    return text[:-LAST] + _EXACT_AND_ROUNDED.sub(_exact_alone, end)


def _exact_alone(said: re.Match[str]) -> str:
    if said["constant"]:
        constant = math.pi if said["constant"] == "\\pi" else math.sqrt(int(said["constant"][6:-1]))
        exact = float(said["times"] or 1) * constant
    else:
        below = int(said["below"] or said["bottom"])
        exact = int(said["whole"] or 0) + int(said["above"] or said["top"]) / below if below else math.nan
    exact *= 100 if said["percent"] else 1
    places = len(said["rounded"].partition(".")[2])
    sure = said["roughly"] or ((places or said["percent"]) and 2 * abs(exact - float(said["rounded"])) <= 10**-places)
    return said["exact"] if sure and is_rounding(float(said["rounded"]), exact, places) else said[0]


def spelt(text: str) -> str | None:
    """The number in words that the last sentence states: "Therefore there are seven ways to sit."."""
    sentence = _BEFORE_LAST.split(text[-LAST:].rstrip(" .!?*_\n"))[-1]
    if re.search(r"[\d\\$]", sentence):
        return None
    if counted := COUNTED.search(sentence):
        return counted[1]
    said = _SPELT.search(sentence)
    if not said or is_denied(sentence, said.start("said")) or english(said["number"]) is None:
        return None
    counts = said["number"].lower() in ("one", "zero") or _NAMED_BEFORE.match(said["counted"] or "")
    return None if counts and any(map(str.isdigit, text)) else said["said"]


def chosen(text: str) -> str | None:
    """The option that the last sentence takes: "I'd go with option B."."""
    said = _CHOSEN.search(text[-LAST:])
    return None if said is None or is_denied(text[-LAST:], said.start()) else said[1] or said[2]


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
