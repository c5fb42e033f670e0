"""Values as chat templates and models write them inside tool calls: JSON, Python, or with quotes of a template's own.

JSON proper is read by `json` (`read_json`, strict). `read_literal` reads its relatives: Python's quotes and words
(`'a'`, `True`, `None`), keys without quotes, and strings between two signs that a template uses as quotes.
"""

import ast
import json
import re
from typing import Any

DEEPEST = 100
"""Levels of objects and arrays in one another."""

Quotes = tuple[str, str]

_WORDS = {"true": True, "True": True, "false": False, "False": False, "null": None, "None": None}
_WORD = re.compile(r"true|True|false|False|null|None")
_NUMBER = re.compile(r"-?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.])")
_STRING = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'", re.DOTALL)
_BARE_KEY = re.compile(r"[^\s:{}\[\],\"'<][^:{}\[\],\"'<\n]*")
_SPACE = re.compile(r"\s*")


def _refuse_constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON value")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)


def read_json(text: str, at: int) -> tuple[Any, int]:
    """The JSON value that begins at `at`, and where it ends.

    Raises:
        ValueError: none begins there, or it is broken or nested too deep.
    """
    try:
        return _decoder.raw_decode(text, at)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at {_near(text, error.pos)}") from error


def read_members(text: str, at: int) -> tuple[dict[str, tuple[int, int]], int]:
    """Where the values of the JSON object that begins at `at` stand, by key, and where the object ends.

    Raises:
        ValueError: no object begins there, or it is broken, or has a key twice.
    """
    value, end = read_json(text, at)
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    members: dict[str, tuple[int, int]] = {}
    place = _skip(text, at + 1)
    while text[place] != "}":  # the object is known to be whole
        key, place = _decoder.raw_decode(text, place)
        if key in members:
            raise ValueError(f"it has {key!r} twice")
        begin = _skip(text, _skip(text, place) + 1)
        _, place = _decoder.raw_decode(text, begin)
        members[key] = begin, place
        place = _skip(text, place)
        place = _skip(text, place + 1) if text[place] == "," else place
    return members, end


def read_literal(text: str, at: int, quotes: Quotes | None = None, depth: int = 0) -> tuple[Any, int]:
    """The value that begins at `at`, and where it ends; `quotes` are signs around strings beside `'` and `"`.

    Raises:
        ValueError: none begins there, or it is broken or nested too deep.
    """
    if depth > DEEPEST:
        raise ValueError("nested too deep")
    if quotes is not None and text.startswith(quotes[0], at):
        begin = at + len(quotes[0])
        end = text.find(quotes[1], begin)
        if end < 0:
            raise ValueError(f"a string without its closing {quotes[1]}")
        return text[begin:end], end + len(quotes[1])
    if string := _STRING.match(text, at):
        return _unquoted(string.group()), string.end()
    if text.startswith("{", at):
        return _read_object(text, at + 1, quotes, depth)
    if text.startswith("[", at):
        return _read_array(text, at + 1, quotes, depth)
    if number := _NUMBER.match(text, at):
        digits = number.group()
        try:
            return (int(digits) if digits.lstrip("-").isdigit() else float(digits)), number.end()
        except ValueError as error:  # more digits than Python converts
            raise ValueError("a number that is too long") from error
    if word := _WORD.match(text, at):
        return _WORDS[word.group()], word.end()
    raise ValueError(f"no value at {_near(text, at)}")


def _read_object(text: str, at: int, quotes: Quotes | None, depth: int) -> tuple[dict[str, Any], int]:
    value: dict[str, Any] = {}
    at = _skip(text, at)
    while not text.startswith("}", at):
        bare = _BARE_KEY.match(text, at) if quotes is None or not text.startswith(quotes[0], at) else None
        key, at = (bare.group(), bare.end()) if bare else read_literal(text, at, quotes, depth + 1)
        at = _expect(text, at, ":")
        value[str(key)], at = read_literal(text, at, quotes, depth + 1)
        at = _expect(text, at, ",", "}")
    return value, at + 1


def _read_array(text: str, at: int, quotes: Quotes | None, depth: int) -> tuple[list[Any], int]:
    value: list[Any] = []
    at = _skip(text, at)
    while not text.startswith("]", at):
        item, at = read_literal(text, at, quotes, depth + 1)
        value.append(item)
        at = _expect(text, at, ",", "]")
    return value, at + 1


def _expect(text: str, at: int, sign: str, closing: str = "") -> int:
    """Where what follows `sign` begins; `closing` is left to stand."""
    at = _skip(text, at)
    if closing and text.startswith(closing, at):
        return at
    if not text.startswith(sign, at):
        raise ValueError(f"{sign!r} is missing at {_near(text, at)}")
    return _skip(text, at + 1)


def _unquoted(string: str) -> str:
    try:
        return str(json.loads(string, strict=False))
    except ValueError:  # Python's quotes, or its escapes
        try:
            return str(ast.literal_eval(string.replace("\n", "\\n").replace("\r", "\\r")))
        except SyntaxError as error:
            raise ValueError(f"a broken string {string[:20]!r}") from error


def _skip(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at


def _near(text: str, at: int) -> str:
    return repr(text[at : at + 20]) if text[at:].strip() else "the end"
