"""Numbers in words: English ones (`forty-two`, `two thirds`), Chinese ones (`三十五`)."""

import re
import unicodedata

_SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_VALUES = {
    **{word: value for value, word in enumerate(_SMALL)},
    **{word: 10 * value for value, word in enumerate(_TENS, 2)},
}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PARTS = {
    word + plural: size
    for size, word in enumerate(
        ("half", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth"), 2
    )
    for plural in ("", "s")
} | {"halves": 2}
_WORD = "|".join((*_VALUES, *_SCALES, "hundred"))

SPELT = rf"(?:{_WORD})(?:(?:\s+and\s+|[\s-]+)(?:{_WORD}))*(?:[\s-](?:{'|'.join(_PARTS)})|\s+and\s+a\s+half)?(?![\w-])"
"""A number in words, as a pattern: what it finds may still be none, such as `one two`."""

_LEADING = re.compile(
    rf"(?P<text>\\text\{{\s*)?(?P<number>{SPELT})(?P<counted>(?:\s(?!and\b|or\b)[a-z]+){{0,3}}\s*%?)(?P<end>\}}?)",
    re.IGNORECASE,
)

CHINESE = "[零〇一二两三四五六七八九十百千万亿]+"
"""A Chinese numeral, as a pattern."""

MEASURE = "[个個元年月天人米次种種岁歲只隻本]"
"""What stands between a Chinese numeral and what is counted, as a pattern."""

COUNTED = re.compile(rf"({CHINESE}{MEASURE})\W*\Z")
"""A Chinese numeral with its measure at the end of a clause."""


def in_digits(answer: str) -> str:
    r"""An answer that begins with a number in words with that in digits: `seven ways` is `7 ways`.

    What is counted is written small: the Seven Samurai are no number.
    """
    found = _LEADING.fullmatch(answer)
    if not found or found["counted"] != found["counted"].lower() or bool(found["text"]) != bool(found["end"]):
        return answer
    digits = english(found["number"])
    if digits is None:
        return answer
    return f"{digits}\\text{{{found['counted']}}}" if found["text"] else f"{digits}{found['counted']}"


def english(numeral: str) -> str | None:
    """An English numeral in digits: `120`, `2/3`, `2 1/2`; None where its words make no number."""
    words = numeral.casefold().replace("-", " ").split()
    below = _PARTS.get(words[-1])
    half = words[-3:] == ["and", "a", "half"]
    value = _whole([word for word in words[: -3 if half else -1 if below else None] if word != "and"])
    if value is None:
        return None
    return f"{value} 1/2" if half else f"{value}/{below}" if below else str(value)


def _whole(words: list[str]) -> int | None:
    whole = part = 0
    room, largest = 10**15, 10**15
    """What the next word must be below, within its thousand; and the next scale."""
    for word in words:
        if word in _SCALES:
            scale = _SCALES[word]
            if not part or scale >= largest:
                return None
            whole, part, room, largest = whole + part * scale, 0, 10**15, scale
        elif word == "hundred":
            if not 0 < part < 100:
                return None
            part, room = part * 100, 100
        else:
            value = _VALUES[word]
            if value >= room or (value == 0 and len(words) > 1):
                return None
            part += value
            room = 10 if value >= 20 else 0
    return whole + part if words else None


def chinese(numeral: str) -> int:
    """The value of a Chinese numeral: 三十五 is 35, 一百零二 is 102, 二〇二四 is 2024."""
    values = [2 if char == "两" else int(unicodedata.numeric(char)) for char in numeral]
    if all(value < 10 for value in values):
        return int("".join(map(str, values)))
    whole = part = digit = 0
    for value in values:
        if value < 10:
            digit = value
        elif value < 10_000:
            part += (digit or 1) * value
            digit = 0
        else:
            whole = (whole + part + digit or 1) * value
            part = digit = 0
    return whole + part + digit
