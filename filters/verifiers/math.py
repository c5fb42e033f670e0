r"""`math`: whether the final answer equals the reference's, as mathematics.

The answer of a response is what its last `\boxed{}` holds, what follows `####` or "the answer is", or else the last
formula or number. math-verify (a parser of LaTeX into sympy, and rules for when two results agree) decides whether two
answers are equal: fractions, decimals, percentages, units, intervals, sets, tuples, matrices, equations. Where both are
plain whole numbers, or the same text, that is told without it.
"""

import logging
import re
from functools import lru_cache
from typing import Any

from filters.extract import (
    conclusion,
    final_answer,
    first_number,
    last_boxed,
    last_match,
    marked_answer,
    number_of,
    plain,
)
from filters.verdict import RIGHT, UNSCORABLE, WRONG, Check, Settings, Task, Verdict

LONGEST = 1_000
"""Characters of an answer: what is longer is prose, and no answer."""

SENTENCE = 3
"""Words that make a line of a reference a sentence."""

_DOLLARS = re.compile(r"\$\$([^$]+)\$\$|\$(?!\s)([^$\n]*[^$\s])\$(?!\d)")  # "it costs $5, not $3" has no formula
_WORDS = re.compile(r"(?<!\\)\b[A-Za-z]{3,}")
_SAID = re.compile(r"(?<!\\)\b(?:[A-Za-z]{3,}|is|it|so|we|be)\b", re.IGNORECASE)
"""Words of a sentence, however short: "It is 7." is more than its answer."""
_ASIDE = re.compile(r"\s\((?=[A-Za-z])|\b(?:because|since|where|which|so|as|for)\b")
_SEVERAL = re.compile(r"\d\W{0,3}(?:[A-Za-z]+\W{1,2})?\b(?:or|and)\s+(?:[A-Za-z]+\s+)?[-$(]*\d")
_SPACE = re.compile(r"\\[ ,;!]|(?<!\d)\s|\s(?!\d)|\\left|\\right")
_BASE = re.compile(r"_\{?(\d+)\}?$")
_TOWER = re.compile(r"(?:\^|\*\*)\s*(?:[{(]?\s*\d{5,}|[{(][^{}]*\d\s*(?:\^|\*\*)|\d+\s*(?:\^|\*\*))")
_UNIT = re.compile(r"([^\sA-Za-z\\]+)\s+[A-Za-z][A-Za-z/²³]*")


def checker(settings: Settings) -> Check:
    """The check, with math-verify loaded: that takes longer than most checks."""
    import math_verify

    assert math_verify
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)  # it warns that its own time limits are off
    return _check


def _check(response: str, task: Task) -> Verdict:
    if task.reference is None:
        return Verdict(UNSCORABLE, None, "no reference")
    expected = reference_answer(task.reference)
    if expected is None:
        return Verdict(UNSCORABLE, None, "the reference holds no answer")
    found = answer_of(response)
    if found is None:
        return Verdict(WRONG, None, "no answer found")
    equal = equal_answers(expected, found)
    if equal is None:
        return Verdict(UNSCORABLE, found, f"the reference's answer {expected!r} does not parse")
    return Verdict(RIGHT, found) if equal else Verdict(WRONG, found, f"not {expected}")


def answer_of(response: str) -> str | None:
    """The final answer of a response, as written; None if it gives none."""
    text = conclusion(response)
    found = last_boxed(text) or _within(marked_answer(text)) or _last_formula(text) or _bare(text) or final_answer(text)
    return found if found is not None and len(found) <= LONGEST else None


def reference_answer(reference: str) -> str | None:
    """The answer of a reference: as for a response, or all of it where it is one short line that is no sentence."""
    text = conclusion(reference)
    found = last_boxed(text) or marked_answer(text)
    if found is None:
        line = plain(text)
        short = line and "\n" not in line and len(line) <= 100 and len(_WORDS.findall(line)) < SENTENCE
        found = line if short else answer_of(text)
    return found if found and len(found) <= LONGEST else None


def _within(marked: str | None) -> str | None:
    """The answer in what follows "the answer is", which may go on as a sentence.

    "$x = 3$, as claimed": x = 3. "98 - 30 = 68 rolls, since …": 68. "Paris": Paris. "5 or maybe 6": all of it, which
    equals neither.
    """
    if marked is None or not any(map(str.isalnum, marked)):  # the formula stands on lines of its own
        return None
    if formula := _last_formula(marked):
        return formula
    clause = _ASIDE.split(marked, maxsplit=1)[0].rpartition("=")[2].strip() or marked
    word = _WORDS.search(clause)
    if _SEVERAL.search(clause) or not (word or _UNIT.fullmatch(clause)):
        return clause if word else marked
    before = clause[: word.start()].strip(" ,;:(") if word else ""
    return before if _structured(before) else first_number(clause) or marked


def _structured(text: str) -> bool:
    """Whether it is more than a number and less than words: a tuple, a polynomial."""
    return any(map(str.isdigit, text)) and number_of(text) is None and not re.search(r"(?<!\\)[A-Za-z]{2}", text)


def _bare(text: str) -> str | None:
    """A response that is nothing but an answer, such as `x^2 + 1`."""
    line = text.strip()
    return line if line and "\n" not in line and len(line) <= 100 and not _SAID.search(line) else None


def _last_formula(text: str) -> str | None:
    r"""What is between the last pair of `$`, `$$`, `\(`…`\)` or `\[`…`\]`."""
    ends = []
    if dollars := last_match(_DOLLARS, text):
        ends.append((dollars.end(), dollars[1] or dollars[2]))
    for left, right in (("\\(", "\\)"), ("\\[", "\\]")):
        end = text.rfind(right)
        start = text.rfind(left, 0, max(end, 0))
        if start >= 0:
            ends.append((end, text[start + 2 : end]))
    return max(ends)[1].strip() if ends else None


def equal_answers(expected: str, found: str) -> bool | None:
    """Whether two answers are equal; None where the expected one cannot be parsed."""
    expected, found = plain(expected), plain(found)
    if _normal(expected) == _normal(found):
        return True
    left, right = number_of(expected), number_of(found)
    if left is not None and right is not None:
        if left == right:
            return True
        if left.denominator == right.denominator == 1:
            return False
    bases = _BASE.search(expected), _BASE.search(found)
    if bases[0] and bases[1] and bases[0][1] != bases[1][1]:  # math-verify reads 12_5 and 12_6 as 12
        return False
    from math_verify import verify

    gold = _parsed(_without_mixed(expected))
    if not gold:
        return None
    return bool(verify(list(gold), list(_parsed(_without_mixed(found))), timeout_seconds=None))


def _without_mixed(answer: str) -> str:
    """A mixed number such as `3 1/2`, which math-verify takes for a product, as a fraction; others as they are."""
    value = number_of(answer) if " " in answer else None
    return answer if value is None else str(value)


def _normal(answer: str) -> str:
    r"""An answer without what makes no difference: white space, `\left`, `\text{}`, thin spaces, dollar signs, case."""
    text = re.sub(r"\\(?:text|mathrm|textbf|mathbf)\{([^{}]*)\}", r"\1", answer)
    text = text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac").replace("\\$", "").replace("$", "")
    return _SPACE.sub("", text).casefold()


@lru_cache(4096)
def _parsed(answer: str) -> tuple[Any, ...]:
    """math-verify's readings of an answer. It keeps no time limit of its own here: its worker has one."""
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse

    if _TOWER.search(answer):  # 9^{9^9}: evaluating it takes for ever
        return ()
    return tuple(parse(f"${answer}$", [LatexExtractionConfig(), ExprExtractionConfig()], parsing_timeout=None))
