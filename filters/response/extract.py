"""Finds the final answer or the last number in a response, in linear time."""

import re
from collections import deque
from fractions import Fraction

from filters.mathematics.notation import characters
from filters.response.thoughts import after_thoughts, unwrapped

LONGEST = 200_000
"""Characters of a response that are looked at, its last ones: answers come last."""

_HASHES = re.compile(
    r"####(?=[ \t]*[-−+$€£¥]*\d[\d.,]*[ \t%]*(?:\n|\Z))"  # GSM8K's mark, and no heading: a number alone on its line,
    r"|####(?=[^\n#]*\s*\Z)"  # or the last line
)

_MARK = re.compile(
    r"(?<![A-Za-z0-9])(?<!\bno )(?<!wrong )(?<!incorrect )(?:(?:final|correct) )?answer(?![A-Za-z0-9])"
    r"[\s*_]*(?:is|:|=)[\s:*_]*"
    r"|\b(?:correct|right|best) (?:option|choice)[\s*_]*(?:is|:)[\s:*_]*",
    re.IGNORECASE,
)

_MARK_ELSEWHERE = re.compile(
    r"故选[:：\s]*|(?:答案|答え|正解|정답|답)\s*(?:应该|應該)?\s*(?:是|为|為|は|은|는|[:：=])[\s:：*_]*"
    r"|\b(?:r[ée]ponse|respuesta|risposta|resposta|Antwort|antwoord|svaret|odpowied[źz]|ответ|відповідь|cevap|jawaban\w*)"
    r"\b(?: \w+)?[\s*_]*(?:est|es|è|é|ist|lautet|is|är|to|adalah|:|=|—|–)[\s:*_]*"
    r"|đáp án\s*(?:là|:)[\s:*_]*|(?:الجواب|الإجابة)\s*(?:هو|هي|:)[\s:*_]*|उत्तर\s*(?:है|:)[\s:*_]*",
    re.IGNORECASE,
)
"""The same in other languages."""

_ELSEWHERE = (
    *("ponse", "respuesta", "risposta", "resposta", "antwort", "antwoord", "svaret", "odpowied", "ответ", "відповідь"),
    *("cevap", "jawaban", "đáp án", "الجواب", "الإجابة", "उत्तर", "故选", "答", "正解", "정답", "답"),
)
"""Words of which such a mark has one, in lower case."""

_MARKS = ((_HASHES, ("####",)), (_MARK, ("answer", "option", "choice")), (_MARK_ELSEWHERE, _ELSEWHERE))
"""The marks, and words of which a text with one has one, which are looked for first: that is faster."""

_NUMBER = re.compile(
    r"(?<![A-Za-z0-9_.])[-−+]?(?:"
    r"\d+ \d+/\d+(?!\w)"  # 1 1/2
    r"|(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d{1,4})?(?:/\d+)?"  # 1,234.5 or 2e3 or 3/4
    r"|\.\d+(?:[eE][-+]?\d{1,4})?"
    r")"
)

_THOUSANDS = re.compile(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?")


def tail(text: str) -> str:
    """The last `LONGEST` characters."""
    return text[-LONGEST:]


def conclusion(text: str) -> str:
    """The last `LONGEST` characters of what is said after thinking aloud, without the tags of an answer."""
    return tail(unwrapped(after_thoughts(text)))


def last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """The last place where a pattern is found."""
    return next(iter(deque(pattern.finditer(text), 1)), None)


def last_boxed(text: str) -> str | None:
    r"""What the last `\boxed{…}` (or `\fbox{…}`) holds, braces balanced; None without one."""
    start = max(text.rfind("\\boxed{"), text.rfind("\\fbox{"))
    if start < 0:
        return None
    begin = text.index("{", start)
    depth = 0
    for at in range(begin, len(text)):
        if text[at] == "{":
            depth += 1
        elif text[at] == "}":
            depth -= 1
            if depth == 0:
                return text[begin + 1 : at]
    return None


def after_mark(text: str) -> int | None:
    """Where the answer begins: after the last `####`, "the answer is", "Answer:", "答案是"; None without one."""
    lower = text.casefold()
    marks = [mark for mark, words in _MARKS if any(word in lower for word in words)]
    return max((match.end() for mark in marks if (match := last_match(mark, text))), default=None)


def marked_answer(text: str) -> str | None:
    """What follows the last mark of an answer on its line, without decoration; None without one."""
    begin = after_mark(text)
    if begin is None:
        return None
    line, _, _ = text[begin:].partition("\n")
    return plain(line) or None


def plain(text: str) -> str:
    """A short text without what surrounds an answer: emphasis, dollar signs, a full stop at the end."""
    text = _undecorated(text)
    for left, right in (("\\(", "\\)"), ("\\[", "\\]"), ("$$", "$$"), ("$", "$")):
        if len(text) > len(left) + len(right) and text.startswith(left) and text.rstrip(".").endswith(right):
            text = text.rstrip(".").removeprefix(left).removesuffix(right).strip()
            break
    return _undecorated(text)


def _undecorated(text: str) -> str:
    """Without emphasis and full stops at the end, in any order."""
    return text.strip().rstrip("*_`.。 \t\n").lstrip("*_` \t\n")


def last_number(text: str) -> str | None:
    """The last number in the text, as written; None without one."""
    match = last_match(_NUMBER, text)
    return match[0] if match else None


def first_number(text: str) -> str | None:
    """The first number in the text, as written; None without one."""
    match = _NUMBER.search(text)
    return match[0] if match else None


def number_of(text: str) -> Fraction | None:
    """The exact value of a number as people write it: `1,234.50`, `3/4`, `2e3`; None if it is none, or too large."""
    clean = text.strip().lstrip("$€£¥ ").replace("−", "-").rstrip(".")
    if "," in clean:
        if not _THOUSANDS.fullmatch(clean):  # 1,2,3 is a list
            return None
        clean = clean.replace(",", "")
    if len(clean) > 400 or not clean.isascii():
        return None
    if exponent := re.search(r"[eE]([-+]?\d+)$", clean):
        if abs(int(exponent[1])) > 400:
            return None
    elif mixed := re.fullmatch(r"(-?)(\d+)\s+(\d+/\d+)", clean):
        part = number_of(mixed[3])
        return None if part is None else (int(mixed[2]) + part) * (-1 if mixed[1] else 1)
    try:
        return Fraction(clean)
    except (ValueError, ZeroDivisionError):
        return None


def final_answer(text: str) -> str | None:
    """What a response gives as its answer: boxed, marked, or else the last number."""
    text = characters(conclusion(text))
    return last_boxed(text) or marked_answer(text) or last_number(text)
