"""A program in one process, its tests in another: calls and data go between them, nothing else does.

A program that shares an interpreter with its tests can always forge success: it can walk frames, patch builtins, return
an object that equals everything, print what success looks like. Here the tests' process (`Program`) never runs a line
of the program. The names it tests are stand-ins; calling one sends the arguments to the program's process
(`filters.execution.program_process`), which sends the result back, rebuilt here from plain parts
(`filters.execution.values`). What is none of the types that can be rebuilt stays there and is known by a number
(`Thing`).

What such an object says of itself is the program's claim. Between two of them it is accepted; compared with data
of the tests' own (`f(2) == 4`, `abs(f(2) - 4) < 0.1`) it is no evidence: what passes by it is not judged.
"""

import builtins
import contextlib
import importlib
import socket
import sys
import threading
import types
from collections import deque
from collections.abc import Generator
from typing import Any

from filters.execution.lent import Lending
from filters.execution.stand_ins import BASES, Raised, Remote, StandInType, Thing, Unjudged, derived
from filters.execution.values import (
    FOLLOWED,
    IMMUTABLE,
    MUTABLE,
    WATCHED,
    ProgramEnded,
    Wire,
    decode,
    encode,
    fingerprint,
    is_shared,
    update,
)

_MODULES = """
    bisect cmath collections copy datetime decimal fractions functools heapq itertools json math numpy operator random
    re statistics string sys time
"""
"""Modules that are the tests' own, where they take them from the program's imports."""

_RAISING = "asyncio binascii concurrent configparser csv dataclasses decimal json queue re statistics"
"""Modules whose exceptions are the same here."""


class Exit(SystemExit):
    """The program's `SystemExit`: no end of the tests, whoever raises it."""


Exit.__name__ = Exit.__qualname__ = SystemExit.__name__

_ENDINGS = {StopIteration: ("next", "send"), StopAsyncIteration: ("step",)}
"""What ends an iteration, and the operations by which the tests iterate over what is the program's."""


class Builtins(dict[str, Any]):
    """The builtins of the tests: behind the real ones, what the program defines, as it is at the moment."""

    def __init__(self, program: "Program", tested: set[str]) -> None:
        """`tested`: the builtins that are the program's here, if it defines them."""
        real = vars(builtins).items()
        super().__init__((name, value) for name, value in real if name not in tested or not program.defines(name))
        self._program = program

    def __missing__(self, name: str) -> Any:
        value, fixed = self._program.named(name)
        if fixed:
            self[name] = value
        return value


class Program:
    """The tests' view of a program."""

    def __init__(self, connection: socket.socket) -> None:
        """Wait for the program to be loaded.

        Raises:
            ProgramEnded: it ended, or sends no data.
            BaseException: what it raised.
        """
        self._wire = Wire(connection)
        self._turn = threading.RLock()
        self._kinds: dict[int, StandInType] = {}
        self._things: dict[int, Any] = {}
        self._lending = Lending(self)
        self.fault: str | None = None
        """Set once the program's process has gone: no test passes after that."""
        self.unjudged: str | None = None
        """Set once the tests asked for what cannot be done."""
        self.word: str | None = None
        """Set once the program's word was taken for data: no test passes after that, but may fail."""
        self._missing: list[BaseException] = []
        self._kept: dict[int, Any] = {}  # values that the program has, too
        self._known: dict[int, tuple[bytes | None, Any]] = {}  # as they are there
        self._watched: deque[int] = deque(maxlen=WATCHED)  # the last of these
        self._handed: dict[int, int] = {}  # their numbers, by identity
        loaded = self._receive()
        self._raise(loaded)
        self._names: dict[str, Any] = dict(loaded.get("names", {}))

    def raised(self, error: BaseException | None) -> bool:
        """Whether it is the program's: that it exits, or imports what is not there."""
        return isinstance(error, Exit) or any(error is one for one in self._missing)

    def defines(self, name: str) -> bool:
        """Whether the program defines a name."""
        return name in self._names

    def names(self) -> list[str]:
        """What the program defines."""
        return list(self._names)

    def named(self, name: str) -> tuple[Any, bool]:
        """What a name stands for in the program now, and whether it may be kept.

        Raises:
            KeyError: there is no such name.
        """
        known = self._names[name]
        if known is None:
            return self.ask("get", 0, (name,), {}), False
        if (
            isinstance(known, dict)
            and "module" in known
            and str(known["module"][1]).partition(".")[0] in _MODULES.split()
        ):
            return importlib.import_module(str(known["module"][1])), True
        return self.decoded(known), True

    def ask(self, name: str, number: int, given: tuple[Any, ...], named: dict[str, Any], mixed: bool = False) -> Any:
        """Have an operation done on one of the program's things. Arguments that it changes are changed here, too."""
        with self._turn:  # the tests may have threads
            self._write_back()
            result = self._asked(name, number, given, named)
        return self.taken_for(result, "it rests on what an object of the program says of itself") if mixed else result

    def _write_back(self) -> None:
        """Change there what the tests have changed here of what both have."""
        for number in list(self._watched):
            value, (mark, known) = self._kept[number], self._known[number]
            if len(value) > FOLLOWED or (mark and mark == fingerprint(value)):
                continue
            if (after := encode(value, self._lending.lend)) != known:
                self._known[number] = fingerprint(value), after
                self._asked("refresh", 0, (number, value), {})

    def _asked(self, name: str, number: int, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        whole = name == "refresh"
        positional = [encode(item, self._lending.lend) if whole else self._given(item) for item in given]
        by_name = {key: self._given(item) for key, item in named.items()}
        try:
            self._wire.send([name, number, positional, by_name])
        except ValueError as error:
            raise self.refuse("a test gives the program too much data") from error
        except ProgramEnded as error:
            self.fault = str(error)
            raise
        reply = self._receive()
        while "back" in reply:
            self._wire.send(self._lending.answer(reply["back"]))
            reply = self._receive()
        arguments = [*given, *named.values()]
        try:
            self._change(reply, arguments)
        except Exception as error:
            self.fault = "the program sends what is no reply"
            raise ProgramEnded(self.fault) from error
        self._raise(reply, name)
        if (same := reply.get("same")) is not None and type(arguments[same]) in MUTABLE:
            return arguments[same]
        result = self.decoded(reply.get("result"))
        if (held := reply.get("held")) is not None and is_shared(result):
            self._handed_over(int(held), result)
        return result

    def _change(self, reply: dict[str, Any], arguments: list[Any]) -> None:
        """Change here what the program has changed there: arguments, and what it has kept of earlier ones."""
        for number, after in dict(reply.get("later", {})).items():
            value = self._kept[int(number)]
            update(value, self.decoded(after))
            self._handed_over(int(number), value)
        for at, after in dict(reply.get("changed", {})).items():
            update(arguments[int(at)], self.decoded(after))
        for at, number in dict(reply.get("kept", {})).items():
            if not is_shared(arguments[int(at)]):
                raise ValueError("no argument that can be changed")
            self._handed_over(int(number), arguments[int(at)])

    def _given(self, item: Any) -> Any:
        """An argument: what the program has kept of earlier ones by its number, others by what they hold."""
        return {"kept": self._handed[id(item)]} if id(item) in self._handed else encode(item, self._lending.lend)

    def _handed_over(self, number: int, value: Any) -> None:
        """Remember a value that the program has, too, as it is now."""
        if number not in self._kept:
            self._watched.append(number)
        self._kept[number] = value
        self._known[number] = fingerprint(value), encode(value, self._lending.lend)
        self._handed[id(value)] = number

    def taken_for(self, result: Any, reason: str) -> Any:
        """Note that something was the program's word where data was wanted; or that what it leads to will be."""
        if isinstance(result, Remote) and not isinstance(result, IMMUTABLE):
            object.__getattribute__(result, "__dict__")["_mixed"] = True
        else:
            self.word = reason
        return result

    def _receive(self) -> dict[str, Any]:
        try:
            message = self._wire.receive()
        except ProgramEnded as error:
            self.fault = str(error)
            raise
        if not isinstance(message, dict):
            self.fault = "the program sends what is no reply"
            raise ProgramEnded(self.fault)
        if text := message.get("printed"):
            sys.stdout.write(str(text))
        return message

    def _raise(self, reply: dict[str, Any], name: str = "") -> None:
        if "raised" not in reply:
            return
        error = self.decoded(reply["raised"])
        ends = any(isinstance(error, kind) and name not in steps for kind, steps in _ENDINGS.items())
        if ends or not isinstance(error, BaseException):
            error = RuntimeError(f"the program raised {type(error).__name__}")  # that would end a loop of the tests
        raise error

    def refuse(self, reason: str) -> Unjudged:
        """What to raise where the tests ask for what cannot be done."""
        self.unjudged = reason
        return Unjudged(reason)

    def decoded(self, value: Any) -> Any:
        """A value that the program has sent."""
        try:
            return decode(value, self._stand_in)
        except Exception as error:
            self.fault = "the program sends what is no data"
            raise ProgramEnded(self.fault) from error

    # What comes from the program.

    def _stand_in(self, name: str, parts: Any) -> Any:
        if name == "thing":
            return self._thing(*parts)
        if name == "class":
            return self._kind(*parts)
        if name == "error":
            error = self._error(*parts)
            if isinstance(error, ImportError):
                self._missing.append(error)
            return error
        if name == "module":
            return self._thing(parts[0], None, None)
        if name == "type":
            return {"SystemExit": Exit}[parts]
        if name == "coroutine":
            return self._coroutine(int(parts))
        if name == "generator":
            return self._generator(int(parts))
        if name == "object":
            return self._lending[int(parts)]
        if name == "kept":
            return self._kept[int(parts)]
        raise ValueError(name)

    def _thing(self, number: int, kind: Any, data: Any) -> Any:
        if (number := int(number)) in self._things:
            return self._things[number]
        kind_of = Thing if kind is None else decode(kind, self._stand_in)
        if not issubclass(kind_of, Remote):
            kind_of = Thing
        if data is not None:
            base: Any = next(one for one in IMMUTABLE if issubclass(kind_of, one))
            made = base.__new__(kind_of, decode(data, self._stand_in))
        else:
            base = next((one for one in MUTABLE if issubclass(kind_of, one)), object)
            made = base.__new__(kind_of)
        object.__getattribute__(made, "__dict__").update(_program=self, _number=number)
        self._things[number] = made
        return made

    def _kind(self, number: int, name: str, bases: Any, home: Any, doc: str | None) -> type:
        if (number := int(number)) in self._kinds:
            return self._kinds[number]
        if home and str(home[0]).partition(".")[0] in _RAISING.split():
            real = getattr(importlib.import_module(str(home[0])), str(home[1]), None)
            if isinstance(real, type) and issubclass(real, BaseException):
                return real
        given = [decode(base, self._stand_in) for base in bases]
        ours = [base for base in given if isinstance(base, StandInType)]
        data = [base for base in given if base in BASES or base is Exit]
        space = {"_remote": (self, number), "__module__": "program", "__doc__": doc}
        try:
            made = StandInType(str(name), tuple(dict.fromkeys(derived(ours, data))), space)
        except TypeError:  # its layout cannot be had here
            made = StandInType(str(name), (Thing,), space)
        self._kinds[number] = made
        return made

    def _error(self, kind: Any, given: Any, text: Any, number: int | None) -> BaseException:
        error_type: type[BaseException] = decode(kind, self._stand_in)
        arguments = [decode(item, self._stand_in) for item in given]
        if not issubclass(error_type, BaseException):
            raise ValueError("no exception")
        if issubclass(error_type, Raised):
            made = error_type.__new__(error_type, *arguments)
            own = {"_program": self, "_number": int(number or 0), "_text": str(text)}
            object.__getattribute__(made, "__dict__").update(own)
            base = next(one for one in error_type.__mro__ if type(one) is type)
            with contextlib.suppress(TypeError):
                base.__init__(made, *arguments)  # type: ignore[misc]  # for `code` of SystemExit, `errno` of OSError
            return made
        try:
            return error_type(*arguments)
        except TypeError:  # some want more than they keep
            error = error_type.__new__(error_type, str(text))
            error.args = tuple(arguments)
            return error

    async def _coroutine(self, number: int) -> Any:
        """Awaits a coroutine of the program: it runs there, beside others that were begun."""
        import asyncio

        task = self.ask("start", number, (), {})
        try:
            while not (step := task._do("step")):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            task._do("cancel")
            raise
        return step[0]

    def _generator(self, number: int) -> Generator[Any, Any, Any]:
        sent = None
        while True:
            try:
                result = self.ask("send", number, (sent,), {})
            except StopIteration as stop:
                return stop.value
            sent = yield result


class Solution(types.ModuleType):
    """What tests import the program's names from, where they take it for a module."""

    def __init__(self, name: str, program: Program) -> None:
        super().__init__(name)
        vars(self).update(_program=program, __all__=program.names())

    def __getattr__(self, name: str) -> Any:
        try:
            return vars(self)["_program"].named(name)[0]
        except KeyError:
            raise AttributeError(f"the program defines no {name}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        raise vars(self)["_program"].refuse("the tests change a name of the program")
