"""The values exchanged between a program's process and its tests': plain data and library types, as JSON.

Either side rebuilds values of the types that are listed here, and no others, from their parts: nothing that is sent is
ever run. What is of no such type stays where it is, and is known to the other side by a number.
"""

import builtins
import json
import marshal
import os
import re
import socket
import struct
import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import chain
from typing import Any

SOLUTION = frozenset(
    ("solution", "solutions", "main", "program", "submission", "answer", "your_module", "my_module", "module")
)
"""The module name under which tests import from the program."""

LARGEST = 16 * 2**20
"""Bytes of one message."""


WATCHED = 64
"""Values that both sides have whose changes are followed, the last ones."""

FOLLOWED = 4_000
"""Items of such a value, at most: it is looked at with every call."""


class ProgramEnded(BaseException):
    """The program's process is gone, or sends invalid messages. No `except Exception` of a test takes it."""


class Wire:
    """Messages over a socket: JSON, length first. It is read and written as a file: the confined have no sockets."""

    def __init__(self, connection: socket.socket) -> None:
        self._file = connection.fileno()

    def send(self, message: Any) -> None:
        """Send one message.

        Raises:
            ProgramEnded: the other side is gone.
            ValueError: it is too long.
        """
        body = json.dumps(message).encode()
        if len(body) > LARGEST:
            raise ValueError("too much data")
        data = memoryview(struct.pack("<I", len(body)) + body)
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError as error:
            raise ProgramEnded("the program ended") from error

    def receive(self) -> Any:
        """The next message.

        Raises:
            ProgramEnded: the other side is gone, or sends what is no message.
        """
        (size,) = struct.unpack("<I", self._exactly(4))
        if size > LARGEST:
            raise ProgramEnded("the program sends too much")
        try:
            return json.loads(self._exactly(size))
        except (ValueError, RecursionError, MemoryError) as error:
            raise ProgramEnded("the program sends what is no data") from error

    def _exactly(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            try:
                part = os.read(self._file, min(size - len(parts), 2**20))
            except OSError as error:
                raise ProgramEnded("the program ended") from error
            if not part:
                raise ProgramEnded("the program ended")
            parts += part
        return bytes(parts)


Inner = Callable[[Any], Any]
"""How the items of a container are encoded, or decoded."""


def _pairs(value: dict[Any, Any], inner: Inner) -> list[Any]:
    return [[inner(key), inner(item)] for key, item in value.items()]


def _dict(parts: Any, inner: Inner) -> dict[Any, Any]:
    return {inner(key): inner(item) for key, item in parts}


def _items(value: Iterable[Any], inner: Inner) -> list[Any]:
    return [inner(item) for item in value]


def _name_of(factory: Any) -> str | None:
    return next((name for name, kind in TYPES.items() if kind is factory), None)


def _default(parts: Any, inner: Inner) -> defaultdict[Any, Any]:
    factory, pairs = parts
    factory_type = None if factory is None else TYPES[factory]
    return defaultdict(factory_type if isinstance(factory_type, type) else None, _dict(pairs, inner))


_TABLE: dict[type, tuple[Callable[[Any, Inner], Any], Callable[[Any, Inner], Any]]] = {
    int: (lambda value, _: hex(value), lambda parts, _: int(parts, 16)),
    float: (lambda value, _: value.hex(), lambda parts, _: float.fromhex(parts)),
    complex: (
        lambda value, _: [value.real.hex(), value.imag.hex()],
        lambda parts, _: complex(*map(float.fromhex, parts)),
    ),
    bytes: (lambda value, _: value.hex(), lambda parts, _: bytes.fromhex(parts)),
    bytearray: (lambda value, _: value.hex(), lambda parts, _: bytearray.fromhex(parts)),
    list: (_items, _items),
    tuple: (_items, lambda parts, inner: tuple(_items(parts, inner))),
    set: (_items, lambda parts, inner: set(_items(parts, inner))),
    frozenset: (_items, lambda parts, inner: frozenset(_items(parts, inner))),
    dict: (_pairs, _dict),
    range: (
        lambda value, _: [hex(value.start), hex(value.stop), hex(value.step)],
        lambda parts, _: range(*(int(part, 16) for part in parts)),
    ),
    slice: (
        lambda value, inner: [inner(value.start), inner(value.stop), inner(value.step)],
        lambda parts, inner: slice(*map(inner, parts)),
    ),
    Fraction: (
        lambda value, _: [hex(value.numerator), hex(value.denominator)],
        lambda parts, _: Fraction(int(parts[0], 16), int(parts[1], 16)),
    ),
    Decimal: (lambda value, _: str(value), lambda parts, _: Decimal(str(parts))),
    date: (lambda value, _: value.isoformat(), lambda parts, _: date.fromisoformat(parts)),
    datetime: (lambda value, _: value.isoformat(), lambda parts, _: datetime.fromisoformat(parts)),
    time: (lambda value, _: value.isoformat(), lambda parts, _: time.fromisoformat(parts)),
    timedelta: (
        lambda value, _: [value.days, value.seconds, value.microseconds],
        lambda parts, _: timedelta(int(parts[0]), int(parts[1]), int(parts[2])),
    ),
    deque: (
        lambda value, inner: [value.maxlen, _items(value, inner)],
        lambda parts, inner: deque(_items(parts[1], inner), parts[0]),
    ),
    Counter: (_pairs, lambda parts, inner: Counter(_dict(parts, inner))),
    OrderedDict: (_pairs, lambda parts, inner: OrderedDict(_dict(parts, inner))),
    defaultdict: (
        lambda value, inner: [_name_of(value.default_factory), _pairs(value, inner)],
        _default,
    ),
    type({}.keys()): (_items, lambda parts, inner: dict.fromkeys(_items(parts, inner)).keys()),
    type({}.values()): (_items, lambda parts, inner: dict(enumerate(_items(parts, inner))).values()),
    type({}.items()): (_items, lambda parts, inner: dict(_items(parts, inner)).items()),
    types.EllipsisType: (lambda value, _: None, lambda parts, _: ...),
    types.NotImplementedType: (lambda value, _: None, lambda parts, _: NotImplemented),
}

_BY_NAME = {kind.__name__: decoder for kind, (_, decoder) in _TABLE.items()}

_ERRORS = [kind for kind in vars(builtins).values() if isinstance(kind, type) and issubclass(kind, BaseException)]

TYPES: dict[str, type] = {kind.__name__: kind for kind in (*_TABLE, *_ERRORS, bool, str, object, type(None))}
"""The types that are the same on both sides, by name: of data, and exceptions."""

_NAMES = {kind: name for name, kind in TYPES.items()}

IMMUTABLE = (int, float, complex, str, bytes, tuple, frozenset)
MUTABLE = (list, Counter, OrderedDict, defaultdict, dict, set, bytearray, deque)


def encode(value: Any, other: Callable[[Any], Any]) -> Any:
    """A value as JSON; `other` says what becomes of what is of no type listed here, subclasses included."""
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if kind in _TABLE:
        encoder = _TABLE[kind][0]
        return {kind.__name__: encoder(value, lambda item: encode(item, other))}
    if kind is type and value in _NAMES:
        return {"type": _NAMES[value]}
    if kind.__module__ == "numpy" and (parts := _of_numpy(value, other)) is not None:
        return {"numpy": parts}
    return other(value)


def decode(value: Any, other: Callable[[str, Any], Any]) -> Any:
    """What `encode` made JSON of, as values of exactly those types; `other` takes the rest.

    Raises:
        Exception: of many kinds, where it is not what `encode` makes.
    """
    if not isinstance(value, dict):
        if value is None or isinstance(value, bool | str):
            return value
        raise ValueError("no encoded value")
    [(name, parts)] = value.items()
    if decoder := _BY_NAME.get(name):
        return decoder(parts, lambda item: decode(item, other))
    if name == "type" and parts != "SystemExit":
        return TYPES[parts]
    if name == "numpy":
        return _as_numpy(parts, other)
    return other(name, parts)


_DTYPE = re.compile(r"[<>|=]?(?:[biufcSU]\d+|[mM]8(?:\[\d*\w+\])?)")


def _of_numpy(value: Any, other: Callable[[Any], Any]) -> Any:
    """The parts of a number or an array of numpy's: type, shape (none for a number) and bytes, or items."""
    import numpy

    if type(value) is not numpy.ndarray and not isinstance(value, numpy.generic):
        return None
    shape = list(value.shape) if type(value) is numpy.ndarray else None
    if _DTYPE.fullmatch(value.dtype.str):
        return [value.dtype.str, shape, value.tobytes().hex()]
    if value.dtype == object and shape is not None:
        return ["O", shape, [encode(item, other) for item in value.ravel().tolist()]]
    return None


def _as_numpy(parts: Any, other: Callable[[str, Any], Any]) -> Any:
    import numpy

    kind, shape, content = parts
    if kind == "O":
        flat = numpy.empty(len(content), dtype=object)
        for at, item in enumerate(content):
            flat[at] = decode(item, other)
    elif _DTYPE.fullmatch(kind):
        flat = numpy.frombuffer(bytearray.fromhex(content), dtype=numpy.dtype(kind))
    else:
        raise ValueError("no type of numpy's")
    return flat[0] if shape is None else flat.reshape([int(size) for size in shape])


def plain(value: Any) -> Any:
    """The data of an instance of a subclass of a type of data, by that type's own methods; NotImplemented of others."""
    kind: Any = next((one for one in chain(IMMUTABLE, MUTABLE) if isinstance(value, one)), None)
    if kind is None:
        return NotImplemented
    if kind is str:
        return str.__str__(value)
    if kind in (int, float, complex):
        return kind.__pos__(value)
    if kind in (bytes, bytearray):
        return kind(kind.__getitem__(value, slice(None)))
    if issubclass(kind, dict):
        counts: dict[Any, Any] = dict(dict.items(value))
        return Counter(counts) if kind is Counter else counts
    return kind(kind.__iter__(value))


def is_shared(value: Any) -> bool:
    """Whether both sides see a change of it where both have it: data that can change, or a tuple of such."""
    return type(value) in MUTABLE or (type(value) is tuple and any(type(item) in MUTABLE for item in value))


def fingerprint(value: Any) -> bytes | None:
    """Bytes that tell whether plain data has changed, much faster than `encode`; None of what holds other types."""
    try:
        return marshal.dumps(value, 2)
    except ValueError:
        return None


def update(value: Any, changed: Any) -> Any:
    """Change a value in place into another, and its items, as far as they are of one kind; what it is now."""
    if type(value) is not type(changed) or value is changed:
        return changed
    if isinstance(value, tuple):
        items = tuple(update(old, new) for old, new in zip(value, changed, strict=False)) + changed[len(value) :]
        return value if all(old is new for old, new in zip(value, items, strict=False)) else items
    if isinstance(value, list):
        value[:] = [update(old, new) for old, new in zip(value, changed, strict=False)] + changed[len(value) :]
    elif isinstance(value, dict):
        after = {key: update(value[key], new) if key in value else new for key, new in changed.items()}
        value.clear()
        dict.update(value, after)
    elif isinstance(value, set | deque | bytearray):
        value.clear()
        value.update(changed) if isinstance(value, set) else value.extend(changed)
    elif type(value).__module__ == "numpy" and getattr(value, "shape", None) and value.shape == changed.shape:
        value[...] = changed
    else:
        return changed
    return value
