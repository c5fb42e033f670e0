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

from filters.extract import final_answer, first_number, last_boxed, last_match, marked_answer, number_of, plain, tail
from filters.verdict import RIGHT, UNSCORABLE, WRONG, Check, Settings, Task, Verdict

LONGEST = 1_000
"""Characters of an answer: what is longer is prose, and no answer."""

_FORMULA = re.compile(
    r"\$\$([^$]+)\$\$"
    r"|\$(?!\s)([^$\n]*[^$\s])\$(?!\d)"  # "it costs $5, not $3" has no formula
    r"|\\\(([^\\]*(?:\\(?!\))[^\\]*)*)\\\)"
    r"|\\\[([^\\]*(?:\\(?!\])[^\\]*)*)\\\]"
)
_WORDS = re.compile(r"(?<!\\)\b[A-Za-z]{3,}")
_SPACE = re.compile(r"\\[ ,;!]|\s|\\left|\\right")
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
    text = tail(response)
    found = last_boxed(text) or _within(marked_answer(text)) or _last_formula(text) or _bare(text) or final_answer(text)
    return found if found is not None and len(found) <= LONGEST else None


def reference_answer(reference: str) -> str | None:
    """The answer of a reference: as for a response, or all of it where it is one short line without such a mark."""
    text = tail(reference)
    found = last_boxed(text) or marked_answer(text)
    if found is None:
        line = plain(text)
        found = line if line and "\n" not in line and len(line) <= 100 else answer_of(text)
    return found if found and len(found) <= LONGEST else None


def _within(marked: str | None) -> str | None:
    """Of what follows "the answer is": its formula ("$x = 3$, as claimed"), or its number ("98 - 30 = 68 rolls")."""
    if marked is None or not any(map(str.isalnum, marked)):  # the formula stands on lines of its own
        return None
    if formula := _last_formula(marked):
        return formula
    if _WORDS.search(marked) or _UNIT.fullmatch(marked):
        return first_number(marked.rpartition("=")[2]) or marked
    return marked


def _bare(text: str) -> str | None:
    """A response that is nothing but an answer, such as `x^2 + 1`."""
    line = text.strip()
    return line if line and "\n" not in line and len(line) <= 100 and not _WORDS.search(line) else None


def _last_formula(text: str) -> str | None:
    found = last_match(_FORMULA, text)
    return next(filter(None, found.groups())).strip() if found else None


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
