"""A program in one process, its tests in another: calls and plain data go between them, nothing else does.

A program that shares an interpreter with its tests can always forge success: it can walk frames, patch builtins, return
an object that equals everything, print what success looks like. Here the tests' process (`Tests`) never runs a line of
the program. The names it tests are stand-ins; calling one sends the arguments to the program's process (`serve`), which
sends the result back as plain data, rebuilt from JSON. What is no plain data stays there and is known by a number
(`Thing`).
"""

import builtins
import contextlib
import json
import operator
import os
import socket
import struct
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

LARGEST = 16 * 2**20
"""Bytes of one message."""


class ProgramEnded(BaseException):
    """The program's process is gone, or says what makes no sense. No `except Exception` of a test takes it."""


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
            part = os.read(self._file, min(size - len(parts), 2**20))
            if not part:
                raise ProgramEnded("the program ended")
            parts += part
        return bytes(parts)


def encode(value: Any, other: Callable[[Any], Any]) -> Any:
    """A value as JSON; `other` says what becomes of what is no plain data. Subclasses become their plain base."""
    if value is None or isinstance(value, bool | str):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, int):
        return {"int": hex(int(value))}
    if isinstance(value, float):
        return {"float": float(value).hex()}
    if isinstance(value, complex):
        return {"complex": [float(value.real).hex(), float(value.imag).hex()]}
    if isinstance(value, bytes | bytearray):
        return {type(value).__name__ if type(value) in (bytes, bytearray) else "bytes": bytes(value).hex()}
    for kind, name in ((list, "list"), (tuple, "tuple"), (set, "set"), (frozenset, "frozenset")):
        if isinstance(value, kind):
            return {name: [encode(item, other) for item in value]}
    if isinstance(value, range):
        return {"range": [hex(value.start), hex(value.stop), hex(value.step)]}
    if isinstance(value, dict):
        return {"dict": [[encode(key, other), encode(inner, other)] for key, inner in value.items()]}
    return other(value)


def decode(value: Any, other: Callable[[str, Any], Any]) -> Any:
    """What `encode` made JSON of, as plain data of exactly the builtin types; `other` takes the rest."""
    if not isinstance(value, dict):
        return value
    [(name, inner)] = value.items()
    if name == "int":
        return int(inner, 16)
    if name == "float":
        return float.fromhex(inner)
    if name == "complex":
        return complex(*map(float.fromhex, inner))
    if name in ("bytes", "bytearray"):
        return (bytes if name == "bytes" else bytearray).fromhex(inner)
    if name in ("list", "tuple", "set", "frozenset"):
        return getattr(builtins, name)([decode(item, other) for item in inner])
    if name == "range":
        return range(*(int(item, 16) for item in inner))
    if name == "dict":
        return {decode(key, other): decode(item, other) for key, item in inner}
    return other(name, inner)


# ---------------------------------------------------------------------------------------------------------------------
# The program's side. All of it may have been taken over by the program.

_OPERATIONS: dict[str, Callable[..., Any]] = {
    "call": lambda thing, *given, **named: thing(*given, **named),
    "get": getattr,
    "set": setattr,
    "item": operator.getitem,
    "set_item": operator.setitem,
    "length": len,
    "iterate": iter,
    "next": next,
    "text": str,
    "repr": repr,
    "hash": hash,
    "truth": bool,
    "eq": operator.eq,
    "lt": operator.lt,
    "gt": operator.gt,
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "truediv": operator.truediv,
    "neg": operator.neg,
}


class _Program:
    """The program's names and things, as the other side asks for them."""

    def __init__(self, wire: Wire, namespace: dict[str, Any]) -> None:
        self._wire = wire
        self._things: list[Any] = [namespace]

    def _keep(self, value: Any) -> Any:
        self._things.append(value)
        return {"thing": [len(self._things) - 1, isinstance(value, type), callable(value)]}

    def _find(self, name: str, inner: Any) -> Any:
        if name == "thing":
            return self._things[inner]
        if name == "builtin":
            return getattr(builtins, inner)
        return lambda *given: self._call_back(inner, given)  # a function of the tests

    def _call_back(self, number: int, given: tuple[Any, ...]) -> Any:
        self._wire.send({"back": [number, [encode(item, self._keep) for item in given]]})
        reply = decode(self._wire.receive(), self._find)
        if isinstance(reply, tuple) and len(reply) == 2 and reply[0] == "raised":
            raise RuntimeError(reply[1])
        return reply[1]

    def answer(self, request: Any) -> Any:
        """Do what is asked: an operation on a thing. Arguments that were changed in place come back too."""
        name, number, positional, named = request
        given = [decode(item, self._find) for item in positional]
        by_name = {key: decode(item, self._find) for key, item in named.items()}
        try:
            result = _OPERATIONS[name](self._things[number], *given, **by_name)
            reply = {"result": encode(result, self._keep)}
        except BaseException as error:
            kinds = [kind.__name__ for kind in type(error).__mro__]
            return {"raised": [kinds, str(error)[:1000]]}
        changed = {}
        for index, (item, before) in enumerate(zip(given, positional, strict=True)):
            if isinstance(item, list | dict | set | bytearray):
                after = encode(item, self._keep)
                if after != before:
                    changed[str(index)] = after
        return reply | {"changed": changed}


def module(name: str) -> dict[str, Any]:
    """The namespace of a new module that can be found by its name; dataclasses and their like look there."""
    sys.modules[name] = made = types.ModuleType(name)
    return made.__dict__


def serve(source: str, connection: socket.socket) -> None:
    """Run a program, then answer for it until the other side is gone."""
    wire = Wire(connection)
    namespace = module("program")
    try:
        exec(compile(source, "program", "exec"), namespace)
    except BaseException as error:
        wire.send({"raised": [[kind.__name__ for kind in type(error).__mro__], str(error)[:1000]]})
        return
    program = _Program(wire, namespace)
    names = {name: encode(value, program._keep) for name, value in namespace.items() if not name.startswith("__")}
    wire.send({"names": names})
    with contextlib.suppress(ProgramEnded):
        while True:
            wire.send(program.answer(wire.receive()))


# ---------------------------------------------------------------------------------------------------------------------
# The tests' side.


class Thing:
    """Stands for a value of the program that is no plain data.

    It never equals plain data, nor is anything found in it but by looking at its items, nor does it reckon with plain
    data (`abs(f(x) - 1) < 0.1`): whatever it says of itself is the program's word.
    """

    def __init__(self, ask: Callable[..., Any], number: int) -> None:
        object.__setattr__(self, "_ask", ask)
        object.__setattr__(self, "_number", number)

    def _do(self, name: str, *given: Any, **named: Any) -> Any:
        return object.__getattribute__(self, "_ask")(name, self, given, named)

    def __call__(self, *given: Any, **named: Any) -> Any:
        """Call it in the program's process."""
        return self._do("call", *given, **named)

    def __getattr__(self, name: str) -> Any:
        return self._do("get", name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._do("set", name, value)

    def __getitem__(self, key: Any) -> Any:
        return self._do("item", key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._do("set_item", key, value)

    def __contains__(self, item: Any) -> bool:
        return any(one == item for one in self)  # compared here: the program might say yes to everything

    def __len__(self) -> int:
        return int(self._do("length"))

    def __iter__(self) -> Iterator[Any]:
        values = self._do("iterate")
        while True:
            try:
                yield values._do("next")
            except StopIteration:
                return

    def __next__(self) -> Any:
        return self._do("next")

    def __str__(self) -> str:
        return str(self._do("text"))

    def __repr__(self) -> str:
        return str(self._do("repr"))

    def __bool__(self) -> bool:
        return bool(self._do("truth"))

    def __hash__(self) -> int:
        return int(self._do("hash"))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Thing) and bool(self._do("eq", other))

    def __add__(self, other: Any) -> Any:
        return self._do("add", other) if isinstance(other, Thing) else NotImplemented

    def __sub__(self, other: Any) -> Any:
        return self._do("sub", other) if isinstance(other, Thing) else NotImplemented

    def __mul__(self, other: Any) -> Any:
        return self._do("mul", other) if isinstance(other, Thing) else NotImplemented

    def __truediv__(self, other: Any) -> Any:
        return self._do("truediv", other) if isinstance(other, Thing) else NotImplemented

    def __neg__(self) -> Any:
        return self._do("neg")

    def __lt__(self, other: Any) -> bool:
        return isinstance(other, Thing) and bool(self._do("lt", other))

    def __gt__(self, other: Any) -> bool:
        return isinstance(other, Thing) and bool(self._do("gt", other))


class Tests:
    """The tests' view of a program: `names` are what it defines, as data and as stand-ins."""

    def __init__(self, connection: socket.socket) -> None:
        """Wait for the program to be loaded.

        Raises:
            ProgramEnded: it ended, or sends no data.
            Exception: what it raised.
        """
        self._wire = Wire(connection)
        self._functions: list[Callable[..., Any]] = []
        self.fault: str | None = None
        """Set once the program's process has gone: no test passes after that."""
        loaded = self._receive()
        self._raise(loaded)
        self.names: dict[str, Any] = {
            str(name): self._decoded(value)
            for name, value in loaded.get("names", {}).items()
            if str(name).isidentifier()
        }

    def _receive(self) -> dict[str, Any]:
        try:
            message = self._wire.receive()
        except ProgramEnded as error:
            self.fault = str(error)
            raise
        if not isinstance(message, dict):
            self.fault = "the program sends what is no reply"
            raise ProgramEnded(self.fault)
        return message

    def _ask(self, name: str, thing: Thing, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        number = object.__getattribute__(thing, "_number")
        positional = [encode(item, self._lend) for item in given]
        by_name = {key: encode(item, self._lend) for key, item in named.items()}
        self._wire.send([name, number, positional, by_name])
        reply = self._receive()
        while "back" in reply:
            self._wire.send(self._answer(reply["back"]))
            reply = self._receive()
        self._raise(reply)
        for index, value in dict(reply.get("changed", {})).items():
            _update(given[int(index)], self._decoded(value))
        return self._decoded(reply.get("result"))

    def _answer(self, request: Any) -> Any:
        """Call a function of the tests that was lent to the program."""
        try:
            number, given = request
            result = ("returned", self._functions[number](*(self._decoded(item) for item in given)))
        except Exception as error:
            result = ("raised", f"{type(error).__name__}: {error}")
        return encode(result, self._lend)

    def _lend(self, value: Any) -> Any:
        if isinstance(value, Thing):
            return {"thing": object.__getattribute__(value, "_number")}
        if (name := getattr(value, "__name__", None)) and getattr(builtins, name, None) is value:
            return {"builtin": name}
        if not callable(value):
            raise TypeError(f"a test gives the program {type(value).__name__}, which cannot be sent")
        self._functions.append(value)
        return {"function": len(self._functions) - 1}

    def _decoded(self, value: Any) -> Any:
        try:
            return decode(value, self._stand_in)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            self.fault = "the program sends what is no data"
            raise ProgramEnded(self.fault) from error

    def _stand_in(self, name: str, inner: Any) -> Thing:
        if name != "thing":
            raise ValueError(name)
        return Thing(self._ask, int(inner[0]))

    def _raise(self, reply: dict[str, Any]) -> None:
        """Raise what the program raised, as the nearest builtin exception."""
        if "raised" not in reply:
            return
        kinds, message = reply["raised"]
        for name in kinds:
            kind = getattr(builtins, str(name), None)
            if isinstance(kind, type) and issubclass(kind, Exception):
                try:
                    error = kind(str(message))
                except TypeError:  # UnicodeDecodeError and its like want more
                    continue
                raise error
        raise RuntimeError(f"{kinds[0]}: {message}")


def _update(value: Any, changed: Any) -> None:
    """Change an argument in place, as the program did with its copy."""
    if isinstance(value, list | bytearray) and isinstance(changed, list | bytearray):
        value[:] = changed
    elif isinstance(value, dict | set) and isinstance(changed, dict | set):
        value.clear()
        value.update(changed)
