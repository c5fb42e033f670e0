r"""Whether two answers are equal, as mathematics: like is compared with like, exactly where that can be done.

Words are compared as words, dates as dates, numbers as fractions; matrices, tuples, lists and sets entry by entry;
an equation `x = 5` by its value. What is left are single expressions, which math-verify parses into sympy. Those
without symbols are equal if a thousand digits of them agree, relative to their size (an absolute bound takes 1/2^98 for
1/2^99); those in the same symbols if they agree at points; for the rest math-verify's own rules decide.

A rounded decimal fraction is another number, with one exception, as graders of the field have it: six significant
digits or more, every one of them right, rounded or cut off, stand for a value that no decimal fraction is. 0.333333 is
1/3 (33.3333% is, too), and 3.14159 is pi; 0.33333 and 0.333334 are not 1/3, and 0.142858 is not 1/7. Math-Verify rounds
both sides to six decimal places; here digits are counted from the first that is not zero: 0.000001 is not 1/999999. A
value that is a decimal fraction itself (1/1024) is never rounded.
"""

import re
from collections.abc import Callable
from fractions import Fraction

from filters.mathematics.expressions import LEAST, equal_expressions, is_rounding, union
from filters.mathematics.notation import key, magnitude, number, significant, tidy
from filters.mathematics.structure import (
    Listed,
    clock,
    date,
    is_words,
    labelled,
    listed,
    matrix,
    meaning,
    pieces,
    plainly,
    ratio,
    relation_sides,
    symbols_of,
)
from filters.mathematics.units import conversion, split_unit, total

DEPTH = 6
"""Lists in lists that are looked into."""

_INEQUALITY = re.compile(r"[<>]|\\(?:le|ge)(?![A-Za-z])")
_BOUND = re.compile(
    r"([A-Za-z]?)\s*(<|>|\\le(?![A-Za-z])|\\ge(?![A-Za-z])|\\neq)\s*((?:(?!\\(?:le|ge|neq)(?![A-Za-z]))[^<>,=])+)"
)
_DECIMAL_COMMA = re.compile(r"-?\d+,\d{1,2}|-?\d{4,},\d+|-?0,\d+|-?[1-9]\d{0,2}(?:[. ]\d{3})+,\d+")
"""3,14 for 3.14, and 1.234,5 for 1234.5, where the other is one number, and so no list."""
_CHOICE = re.compile(r"(?:\\text\{)?\s*\(?([A-J])[).:](?:\s*\}|(?=\s))\s*(?P<content>\S.*)")
_LETTER = re.compile(r"(?:\\text\{)?\s*\(?([A-J])[).:]?\s*\}?")
_LETTERS = re.compile("[A-J]{2,}")
_LETTERS_APART = re.compile(r"[A-J](?:, [A-J])+")
_DOMAIN = re.compile(
    r"(?<=\S)\s*(?:,|\(|\\text\{[^{}]*\b(?:where|for|with|any|all|some)\b[^{}]*\}|\b(?:where|for|with)\b)\s*"
    r"[A-Za-z](?:_\{?\w\}?)?\s*\\in\s*\\mathbb\{[A-Z]\}(?:[\^_]\{?[+*\d]\}?)?\)?"
)
"""What a letter of an answer ranges over."""
_POINT = re.compile(r"[A-Z]'?\s*(\(.*,.*\))")
_BASE = re.compile(r"(\w+)_\{?(\d+)\}?")


def equal_answers(expected: str, found: str) -> bool | None:
    """Whether two answers are equal; None where the expected one cannot be parsed."""
    return _equal(_without_rounding(tidy(expected)), _without_rounding(tidy(found)), 0)


def _without_rounding(text: str) -> str:
    r"""Of `x = \frac{1}{3} \approx 0.33` the exact value; of `x \approx 0.33` the equation."""
    exact, sign, rounded = (part.strip() for part in text.partition("\\approx"))
    if not sign or not rounded or not exact:
        return rounded or text
    return f"{exact} = {rounded}" if symbols_of(exact) is not None else exact


def _equal(expected: str, found: str, depth: int) -> bool | None:
    if key(expected) == key(found):
        return True
    if (verdict := _pieces(expected, found, depth)) is not None:
        return verdict
    expected, found = plainly(expected), plainly(found)
    if key(expected) == key(found):
        return True
    if depth > DEPTH or not expected or not found:
        return False
    for judge in _JUDGES:
        verdict = judge(expected, found, depth)
        if verdict is not None:
            return verdict
    return equal_expressions(expected, found)


def _numbers(expected: str, found: str, depth: int) -> bool | None:
    left, right = number(expected), number(found)
    if left is None or right is None:
        for one, other in ((expected, found), (found, expected)):
            if (large := magnitude(one)) is not None and number(split_unit(other)[0]) == large:
                return True
            value, unit = split_unit(one) if "," in one else ("", "")
            if _DECIMAL_COMMA.fullmatch(value) and number(split_unit(other)[0]) is not None:
                point = f"{re.sub('[. ]', '', value).replace(',', '.')} {unit}".strip()
                return _equal(*((point, other) if one == expected else (other, point)), depth + 1)
        return None
    return left == right or _rounded(expected, left, found, right)


def _rounded(expected: str, left: Fraction, found: str, right: Fraction) -> bool:
    """Whether one is a decimal fraction for the other, which has none that ends."""
    for text, value, other_text, other in ((expected, left, found, right), (found, right, expected, left)):
        if significant(text) >= LEAST and "." not in other_text and not _ends(other):
            return is_rounding(value, other, len(text.rpartition(".")[2]))
    return False


def _ends(value: Fraction) -> bool:
    """Whether it is a decimal fraction with an end."""
    below = value.denominator
    for prime in (2, 5):
        while below % prime == 0:
            below //= prime
    return below == 1


def _percentages(expected: str, found: str, depth: int) -> bool | None:
    """50% is 50% or one half, and the bare number where the unit was left out."""
    left, right = expected.endswith("%"), found.endswith("%")
    if not left and not right:
        return None
    one, other = expected.removesuffix("%").strip(), found.removesuffix("%").strip()
    if _equal(one, other, depth + 1):
        return True
    if left and right:
        return False
    percent, bare = (one, other) if left else (other, one)
    value, whole = number(percent), number(bare)
    if value is None or whole is None:
        return False
    return value / 100 == whole or _rounded(percent, value, bare.partition(".")[0], whole * 100)


def _times(expected: str, found: str, depth: int) -> bool | None:
    """Times of day and dates; a time without AM or PM is that of either."""
    left, right = date(expected), date(found)
    if left or right:
        return left == right if left and right else False
    one, other = clock(expected), clock(found)
    if not one or not other:
        return None
    if one[1] == other[1] or (one[1] and other[1]):
        return one == other
    (time, half), (bare, _) = (one, other) if one[1] else (other, one)
    return bare in (time, (time[0] % 12 + (12 if half == "p" else 0), *time[1:]))


def _ratios(expected: str, found: str, depth: int) -> bool | None:
    left, right = ratio(expected), ratio(found)
    if left and right:
        if len(left) != len(right):
            return False
        values = [number(part) for part in left], [number(part) for part in right]
        if None in values[0] or None in values[1]:
            return _all(left, right, depth)
        ours, theirs = ([value for value in side if value is not None] for side in values)
        if clock(expected) and clock(found):
            return ours == theirs
        return all(ours[0] * two == theirs[0] * one for one, two in zip(ours, theirs, strict=True))
    for parts, other in ((left, found), (right, expected)):
        if parts and len(parts) == 2 and "=" not in other:
            return _equal(f"\\frac{{{parts[0]}}}{{{parts[1]}}}", other, depth + 1)
    return False if left or right else None


def _units(expected: str, found: str, depth: int) -> bool | None:
    (one, unit), (other, second) = split_unit(expected), split_unit(found)
    if not unit and not second:
        return None
    if "\\circ" in unit + second and not (unit and second) and "\\pi" in one + other:
        return None  # in degrees and in radians
    factor = conversion(unit, second)
    if factor is None or factor == 1:
        return factor == 1 and _equal(one, other, depth + 1)
    left, right = number(one), number(other)
    return left is not None and right is not None and left * factor == right


def _sums(expected: str, found: str, depth: int) -> bool | None:
    """`2 hours, 30 minutes` is `150 minutes`, and 150 or 2.5 where a number stands alone."""
    left, right = total(expected), total(found)
    if left and right:
        return (left.kind, left.whole) == (right.kind, right.whole)
    for several, alone in ((left, found), (right, expected)):
        if several and several.units and (value := number(alone)) is not None:
            return any(value * unit == several.whole for unit in several.units)
    return None


def _words(expected: str, found: str, depth: int) -> bool | None:
    """Words are no products of letters: `listen` is not `silent`."""
    left, right = is_words(expected), is_words(found)
    if not left and not right:
        return None
    return meaning(expected) == meaning(found)


def _choices(expected: str, found: str, depth: int) -> bool | None:
    """`(B) 12` is `B`, or 12; where both have a letter, both are compared whole. Of several choices `AC` is `A, C`."""
    for several, letters in ((expected, found), (found, expected)):
        if _LETTERS.fullmatch(letters) and _LETTERS_APART.fullmatch(several) and sorted(set(letters)) == [*letters]:
            return re.sub("[^A-J]", "", several) == letters
    left, right = _CHOICE.fullmatch(expected), _CHOICE.fullmatch(found)
    if (left is None) == (right is None):
        return None
    choice, other = (left, found) if left else (right, expected)
    assert choice is not None
    if letter := _LETTER.fullmatch(other):
        return choice[1] == letter[1]
    content = choice["content"]
    return _equal(content, found, depth + 1) if left else _equal(expected, content, depth + 1)


def _points(expected: str, found: str, depth: int) -> bool | None:
    """`P(2, 3)` is the point (2, 3)."""
    left, right = _POINT.fullmatch(expected), _POINT.fullmatch(found)
    if left and found.startswith("("):
        return _equal(left[1], found, depth + 1)
    return _equal(expected, right[1], depth + 1) if right and expected.startswith("(") else None


def _bases(expected: str, found: str, depth: int) -> bool | None:
    left, right = _BASE.fullmatch(expected), _BASE.fullmatch(found)
    if left and right and left[1].isalnum() and left[1][0].isdigit() and right[1][0].isdigit():
        return left[1] == right[1] and left[2] == right[2]
    for one, other in ((left, found), (right, expected)):
        if one and one[1][0].isdigit() and number(other) is not None:
            return one[1] == other.replace(" ", "")
    return None


def _matrices(expected: str, found: str, depth: int) -> bool | None:
    left, right = matrix(expected), matrix(found)
    if left is None or right is None:
        columns, other = (left, found) if left else (right, expected)
        entries = listed(other)
        if not columns or entries.kind != "()" or (len(columns) > 1 and any(len(row) > 1 for row in columns)):
            return None
        vector = [entry for row in columns for entry in row]
        return len(vector) == len(entries.parts) and _all(vector, entries.parts, depth)
    if [len(row) for row in left] != [len(row) for row in right]:
        return False
    return all(_all(one, other, depth) for one, other in zip(left, right, strict=True))


def _pieces(expected: str, found: str, depth: int) -> bool | None:
    """Functions by cases, in whatever order these are."""
    left, right = pieces(expected), pieces(found)
    if left is None or right is None:
        return False if left or right else None
    rest = list(right)
    for value, condition in left:
        same = (at for at, one in enumerate(rest) if _equal(condition, one[1], depth + 1))
        if (at := next(same, None)) is None or not _equal(value, rest.pop(at)[0], depth + 1):
            return False
    return not rest


def _domains(expected: str, found: str, depth: int) -> bool | None:
    r"""`f(x) = kx, k \in \mathbb{R}` is `f(x) = kx`; where both say what k is, both are compared whole."""
    left, right = (
        (text[: said.start()] if (said := _DOMAIN.search(text)) and said.end() == len(text) else "")
        for text in (expected, found)
    )
    return _equal(left or expected, right or found, depth + 1) if bool(left) != bool(right) else None


def _labels(expected: str, found: str, depth: int) -> bool | None:
    """The parts of an answer, in their order: `(a) 3, (b) 4`."""
    left, right = labelled(expected), labelled(found)
    if left is None and right is None:
        return None
    left, right = left or listed(expected).parts, right or listed(found).parts
    return len(left) == len(right) and _all(left, right, depth)


def _lists(expected: str, found: str, depth: int) -> bool | None:
    left, right = listed(expected), listed(found)
    if len(left.parts) == len(right.parts) == 1:
        if left.kind or right.kind:  # (5), {5}
            inner = left.parts[0] if left.kind else expected, right.parts[0] if right.kind else found
            return _equal(*inner, depth + 1)
        return None
    if len(left.parts) != len(right.parts) or _has_forms(left, right) or _has_forms(right, left):
        for several, one in ((left, found), (right, expected)):  # one value in several forms
            if several.kind == "" and len(several.parts) > 1 and _all(several.parts[:-1], several.parts[1:], depth):
                return _equal(*((several.parts[0], one) if several is left else (one, several.parts[0])), depth + 1)
        several = left if len(left.parts) > 1 else right
        return (
            None if several.kind[:1] in ("(", "[") and len(several.parts) == 2 and _may_be_set(left, right) else False
        )
    if (left.kind == right.kind and left.kind not in ("", "{}")) or {left.kind, right.kind} == {"", "()"}:
        return _all(left.parts, right.parts, depth)
    if left.kind not in ("", "{}") or right.kind not in ("", "{}"):
        return False
    if "\\ldots" in (*left.parts, *right.parts) or _by_name(left, right):
        return _all(left.parts, right.parts, depth)
    return _same_set(left.parts, right.parts, depth)


def _has_forms(several: Listed, one: Listed) -> bool:
    r"""Whether a list can be one interval in several forms: `-2 < x < 7, x \in (-2, 7)`."""
    return several.kind == "" and one.kind[:1] in ("(", "[") and any(map(_INEQUALITY.search, several.parts))


def _unions(expected: str, found: str, depth: int) -> bool | None:
    r"""Inequalities that are joined by "or", and a union of intervals: `x < 1 or x > 3`."""
    texts = (expected, found)
    if not any("\\cup" in text for text in texts) or not any(_INEQUALITY.search(text) for text in texts):
        return None
    left, right = (union(listed(text).parts) for text in texts)
    if left is None or right is None:
        return None
    return bool(left == right)


def _may_be_set(left: Listed, right: Listed) -> bool:
    """Whether the single one of the two can be an interval in other words, as `1 < x < 2` is."""
    single = (left if len(left.parts) == 1 else right).parts[0]
    return bool(re.search(r"[<>|]|\\(?:le|ge|in|cup|cap|mathbb|infty)(?![A-Za-z])", single))


def _by_name(left: Listed, right: Listed) -> bool:
    """Whether one list names its entries (`x = 1, y = 2`) and the other gives them in that order."""
    names = [{sides[0] for part in one.parts if len(sides := relation_sides(part)) > 1} for one in (left, right)]
    return min(map(len, names)) == 0 and max(map(len, names)) > 1


def _all(expected: list[str], found: list[str], depth: int) -> bool:
    return all(_equal(one, other, depth + 1) for one, other in zip(expected, found, strict=True))


def _same_set(expected: list[str], found: list[str], depth: int) -> bool:
    """Whether each entry has its like among the others."""
    left = list(found)
    for one in expected:
        match = next((other for other in left if _equal(one, other, depth + 1)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _equations(expected: str, found: str, depth: int) -> bool | None:
    """`x = 5` and `5`; `y = 2x + 1` and `y = 1 + 2x`; of `2 + 2 = 4`, 4. Other equations are expressions."""
    left, right = (relation_sides(text) if len(listed(text).parts) == 1 else [text] for text in (expected, found))
    if len(left) > 1 and len(right) > 1:
        return _equal(left[-1], right[-1], depth + 1) if key(left[0]) == key(right[0]) else None
    if len(right) > 1:
        return _equal(expected, right[-1], depth + 1)
    if len(left) > 1:
        return any(symbols_of(side) is not None for side in left[:-1]) and _equal(left[-1], found, depth + 1)
    return None


def _bounds(expected: str, found: str, depth: int) -> bool | None:
    """`x < 5` and `x < 5.0`; `> 5` says the same of a value without a name, and is not 5."""
    left, right = _BOUND.fullmatch(expected), _BOUND.fullmatch(found)
    if left and right and (left[1].strip() == right[1].strip() or not left[1] or not right[1]):
        if left[2] == right[2]:
            return _equal(left[3], right[3], depth + 1)
        return False
    return False if (left and not left[1]) or (right and not right[1]) else None


def _unlike(expected: str, found: str, depth: int) -> bool | None:
    """What no parser reads rightly: words within an expression, sequences that go on."""
    for text in (expected, found):
        if "\\begin" in text:
            continue
        if "\\ldots" in text or re.search(r"(?<![\\A-Za-z])(?:[A-Za-z]{4,})|\\text\{[^{}]*[A-Za-z]{3}", text):
            return False
    return None


_JUDGES: tuple[Callable[[str, str, int], bool | None], ...] = (
    _numbers,
    _labels,
    _domains,
    _choices,
    _points,
    _sums,
    _times,
    _matrices,
    _words,
    _bounds,
    _equations,
    _unions,
    _lists,
    _percentages,
    _ratios,
    _bases,
    _units,
    _unlike,
)
"""In this order, each asked whether it can tell; the first that can decides."""
