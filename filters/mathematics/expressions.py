r"""Whether two single expressions are equal: math-verify parses them into sympy, and their values are compared.

Expressions without symbols are equal if a thousand digits of them agree, relative to their size (an absolute bound
takes 1/2^98 for 1/2^99); those with symbols if they agree at points. For the rest (relations, sets, what has no value)
math-verify's own rules decide.
"""

import re
from functools import lru_cache
from typing import Any

from filters.mathematics.notation import number, significant

DIGITS = 60
"""To which values are computed at first."""

SURE = 1_000
"""To which values that agree are computed once more: e^1000 and e^1000 + 1 agree in 434."""

AT_POINTS = 200
"""The same of values at points, where a gamma function takes long."""

SPARE = 15
"""Last digits in which equal values may differ."""

LEAST = 6
"""Significant digits that make a decimal fraction stand for a value that is none, such as 3.14159 for pi."""

LONGEST = 600
"""Characters of a single expression."""

DEEPEST = 40
"""Brackets in brackets of a single expression."""


_TOWER = re.compile(
    r"\^\s*(?:[{(]*\s*-?\d{5,}|[{(][^{}]*\d\s*[\^!]|\d+\s*\^)|\d{6,}[})]*\s*!|!\s*[})]*\s*!|binom\{\d{6,}"
)
"""Powers, factorials and binomials that take for ever, or all memory, to evaluate."""

_NESTED = re.compile(r"[\^!][^^]*[)}]\s*\^|!\s*\^")
_GROWS = re.compile(r"\^[{(]*-?(\d+)|(\d+)[})]*\s*!")


def equal_expressions(expected: str, found: str) -> bool | None:
    """Whether two tidy expressions are equal; None where the expected one cannot be parsed."""
    gold, said = _parsed(_exact(expected)), _parsed(_exact(found))
    if not gold:
        return None
    if not said:
        return False
    left, right = _imaginary(gold[0]), _imaginary(said[0])
    if _is_scalar(left) and _is_scalar(right):
        constant = not left.free_symbols and not right.free_symbols
        verdict = _same_value(left, right) if constant else _agree(left, right)
        if verdict is False and constant:
            return _stands_for(expected, left, right) or _stands_for(found, right, left)
        if verdict is not None:
            return verdict
    from math_verify import verify

    return bool(verify(list(gold), list(said), timeout_seconds=None, allow_set_relation_comp=True))


def _exact(text: str) -> str:
    r"""With decimal fractions as `\frac{…}{…}`: sympy would make them binary."""
    value = number(text)
    if value is not None:
        return f"\\frac{{{value.numerator}}}{{{value.denominator}}}" if value.denominator > 1 else str(value)
    text = re.sub(r"([\d.]+)\s*\^\s*\{?\\circ\s*\}?", r"(\1\\cdot\\frac{\\pi}{180})", text)

    def fraction(found: re.Match[str]) -> str:
        whole, _, part = found[0].partition(".")
        value = f"\\frac{{{int(whole + part or '0')}}}{{{10 ** len(part)}}}"
        return f"({value})" if text[found.end() :].lstrip().startswith("^") else value

    return re.sub(r"\d*\.\d+", fraction, text)


def _is_huge(text: str) -> bool:
    """Whether a value has too many digits to be computed, also by powers of powers, or too many brackets."""
    if _TOWER.search(text):
        return True
    depth = deepest = 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        deepest = max(deepest, depth)
    if deepest > DEEPEST:
        return True
    growth = 1
    for power, factorial in _GROWS.findall(text) if _NESTED.search(text) else ():
        growth *= max(1, int(power or factorial))
    return growth > 100_000


@lru_cache(4096)
def _parsed(text: str) -> tuple[Any, ...]:
    """math-verify's readings of an expression. It keeps no time limit of its own here: its worker has one."""
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse

    if len(text) > LONGEST or _is_huge(text):  # 9^{9^9}: evaluating it takes for ever
        return ()
    reading = NormalizationConfig(basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="all")
    return tuple(
        parse(
            f"${text}$",
            [LatexExtractionConfig(normalization_config=reading), ExprExtractionConfig()],
            parsing_timeout=None,
        )
    )


def _is_scalar(value: Any) -> bool:
    from sympy import Expr, Integral, Limit, Product, Sum, Symbol
    from sympy.core.function import AppliedUndef

    return (
        isinstance(value, Expr)
        and not isinstance(value, Symbol)
        and not value.has(AppliedUndef, Sum, Product, Integral, Limit)
        and not getattr(value, "is_Matrix", False)
    )


def _imaginary(value: Any) -> Any:
    """With the imaginary unit where the parser took `i` for a name."""
    from sympy import I

    named = [symbol for symbol in getattr(value, "free_symbols", ()) if symbol.name == "i"] if _is_scalar(value) else []
    return value.subs({symbol: I for symbol in named}) if named else value


def _same_value(left: Any, right: Any) -> bool | None:
    """Whether two expressions without symbols have one value; None where that cannot be computed."""
    one, other = left.doit(), right.doit()
    if one.is_Rational and other.is_Rational:
        return bool(one == other)
    return _close(one, other, SURE)


def _close(left: Any, right: Any, sure: int) -> bool | None:
    """Whether the values of two expressions agree in all digits but the last; None where they have none."""
    for digits in (DIGITS, sure):  # few tell most apart
        verdict = _close_at(left, right, digits)
        if not verdict:
            return verdict
    return True


def _close_at(left: Any, right: Any, digits: int) -> bool | None:
    from sympy import N

    try:
        one, other = N(left, digits), N(right, digits)
        if not (one.is_number and other.is_number and one.is_finite and other.is_finite):
            return None
        size, apart = max(abs(one), abs(other)), abs(one - other)
    except (TypeError, ValueError, ArithmeticError, AttributeError, RecursionError):
        return None
    if size == 0:
        return True
    if one.is_zero or other.is_zero:  # what is computed of a zero is noise: sqrt(2)sqrt(3) - sqrt(6)
        return None if size < 1e-30 else False
    return bool(apart < size / 10 ** (digits - SPARE))


def _agree(left: Any, right: Any) -> bool | None:
    """Whether two expressions agree at points, some of them negative; None where that does not tell."""
    from sympy import Rational

    symbols = sorted(left.free_symbols | right.free_symbols, key=str)
    verdicts = []
    for sign in (1, -1):
        for start in (7, 11):
            point = {
                symbol: Rational(start * (3 * number + 5) + 2, 13 + 4 * number) * (sign if number % 2 == 0 else 1)
                for number, symbol in enumerate(symbols)
            }
            verdicts.append(_close(left.subs(point), right.subs(point), AT_POINTS))
    if verdicts[0] is False and verdicts[1] is False:
        return False
    if all(verdicts):
        return True
    return False if False in verdicts and _one_branch(left, right) else None


def _one_branch(left: Any, right: Any) -> bool:
    """Whether neither has a root or logarithm, whose branches may differ where the expressions are equal."""
    from sympy import Pow, log

    return not any(one.has(log) or any(not power.exp.is_integer for power in one.atoms(Pow)) for one in (left, right))


def _stands_for(text: str, decimal: Any, value: Any) -> bool:
    """Whether a decimal fraction stands for a value: six significant digits or more, and all of them right."""
    if significant(text) < LEAST or value.is_Rational:
        return False
    places = len(text.rpartition(".")[2])
    from sympy import N

    try:
        return is_rounding(N(decimal, DIGITS), N(value, DIGITS), places)
    except TypeError:  # a complex value
        return False


def is_rounding(decimal: Any, value: Any, places: int) -> bool:
    """Whether a decimal fraction of that many places is a value rounded, or cut off."""
    missing = (value - decimal) * 10**places * (1 if value > 0 else -1)
    return bool(-1 <= 2 * missing <= 2)


def union(parts: list[str]) -> Any:
    """The set of numbers that inequalities, or sets, leave together; None where the parts overlap or are none."""
    from sympy import EmptySet, Interval, Set, Union

    found: Any = EmptySet
    for part in parts:
        parsed = _parsed(_exact(part))
        try:
            one = parsed[0] if parsed and isinstance(parsed[0], Set) else parsed[0].as_set()
            if not isinstance(one, Interval | Union) or found.intersect(one) != EmptySet:
                return None
        except (AttributeError, IndexError, NotImplementedError, TypeError, ValueError):
            return None
        found = found.union(one)
    return found
