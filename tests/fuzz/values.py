"""Odd values, and JSON that is right but for one to three places."""

import copy
import json
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

DEEP = 300
"""Levels of a nested value: more than people write, less than makes JSON itself fail."""


def nested(depth: int) -> Any:
    """A list in a list in a list …"""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


ODD: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    7,
    1.5,
    float("nan"),
    float("inf"),
    1e308,
    2**31,
    2**53 + 1,
    2**63,
    10**30,
    "",
    " ",
    "x",
    "0",
    "null",
    "../../etc/passwd",
    "a\0b",
    "\ud800",
    "\u202eright to left\u2066",
    "\x1b[31mred\x07",
    "é" * 3,
    "\\boxed{",
    "<|im_end|>",
    "word " * 5_000,
    "y" * 100_000,
    [],
    {},
    [None],
    [[]],
    [1, "two", None],
    {"a": 1},
    {"": None},
    {"role": "user"},
    {"role": "user", "content": None},
    [{"role": "assistant", "content": [{"type": "text", "text": "part"}]}],
    [{"from": "human", "value": 5}],
    nested(40),
    nested(DEEP),
)
NAMES = ["text", "messages", "ID", "", "labels", "reason", "a\0b", "é"]
odd = st.sampled_from(ODD).map(copy.deepcopy)


def places(value: Any, at: tuple[Any, ...] = (), most: int = 400) -> list[tuple[Any, ...]]:
    """The ways to every value within a JSON value."""
    found = [at]
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    else:
        return found
    for key, one in inner:
        if len(found) >= most:
            break
        found += places(one, (*at, key), most - len(found))
    return found


@st.composite
def damaged(draw: DrawFn, value: Any, least: int = 0) -> Any:
    """A copy of a JSON value with some places changed, removed, renamed or doubled."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(least, 3))):
        *way, last = draw(st.sampled_from(places(value)[1:] or [(None,)]))
        if last is None:
            return draw(odd)
        parent = value
        for step in way:
            parent = parent[step]
        action = draw(st.sampled_from(["change", "change", "change", "remove", "rename", "double"]))
        if action == "change":
            parent[last] = draw(odd)
        elif isinstance(parent, list):
            if action == "remove":
                del parent[last]
            else:
                parent.insert(last, copy.deepcopy(parent[last]))
        elif action == "remove":
            del parent[last]
        else:
            parent[draw(st.sampled_from(NAMES))] = parent[last]
            if action == "rename":
                del parent[last]
    return value


@st.composite
def bytes_of(draw: DrawFn, content: bytes) -> bytes:
    """The bytes of a file, or these cut short, with bits turned, a piece doubled or rubbish in between."""
    action = draw(st.sampled_from(["whole", "cut", "turn", "turn", "double", "rubbish", "empty"]))
    if action == "empty":
        return b""
    if action == "whole" or not content:
        return content
    place = draw(st.integers(0, len(content) - 1))
    if action == "cut":
        return content[:place]
    if action == "turn":
        changed = bytearray(content)
        for _ in range(draw(st.integers(1, 4))):
            changed[draw(st.integers(0, len(content) - 1))] ^= 1 << draw(st.integers(0, 7))
        return bytes(changed)
    if action == "double":
        return content[:place] + content[place // 2 :]
    return content[:place] + draw(st.binary(min_size=1, max_size=40)) + content[place:]


def as_json(value: Any, *, ascii_only: bool = True, indent: int | None = None) -> bytes:
    """JSON as many tools write it, lone surrogates and NaN included."""
    return json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
