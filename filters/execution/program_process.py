"""The program's side of the two processes: it runs the program, then answers what its tests ask.

The program may have taken over all of this process, so nothing in it is trusted.
"""

import builtins
import contextlib
import copy
import io
import operator
import socket
import sys
import types
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from filters.execution.borrowed import Borrowing, Lent
from filters.execution.values import (
    FOLLOWED,
    IMMUTABLE,
    TYPES,
    WATCHED,
    ProgramEnded,
    Wire,
    decode,
    encode,
    fingerprint,
    is_shared,
    plain,
    update,
)

CHANGEABLE = {"list", "tuple", "dict", "set", "bytearray", "deque", "Counter", "OrderedDict", "defaultdict", "numpy"}
"""Arguments of these types may be changed in place, or what is in them."""

PRINTED = 2**20
"""Characters of output that a call may write; more is thrown away."""

OPERATIONS: dict[str, Callable[..., Any]] = {
    "call": lambda thing, *given, **named: thing(*given, **named),
    "get": getattr,
    "set": setattr,
    "delete": delattr,
    "item": operator.getitem,
    "set_item": operator.setitem,
    "delete_item": operator.delitem,
    "length": len,
    "iterate": iter,
    "reversed": reversed,
    "next": next,
    "send": lambda generator, value: generator.send(value),
    "text": str,
    "repr": repr,
    "format": format,
    "hash": hash,
    "truth": bool,
    "data": plain,
    "contains": operator.contains,
    "is_instance": lambda kind, value: isinstance(value, kind),
    "enter": lambda thing: thing.__enter__(),
    "exit": lambda thing, *given: thing.__exit__(*given),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "index": operator.index,
    "int": int,
    "float": float,
    "round": round,
    "abs": abs,
    "neg": operator.neg,
    "pos": operator.pos,
    "invert": operator.invert,
    **{name: getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
}


def _signature(thing: Any) -> list[Any]:
    """The parameters of something that can be called, and what it returns: of each what there is, in a list."""
    import inspect

    def given(value: Any) -> list[Any]:
        return [] if value is inspect.Parameter.empty else [value]

    signature = inspect.signature(thing)
    rows = [
        [one.name, int(one.kind), given(one.default), given(one.annotation)] for one in signature.parameters.values()
    ]
    return [rows, given(signature.return_annotation)]


OPERATIONS["signature"] = _signature


def _reflected(operation: Callable[..., Any]) -> Callable[..., Any]:
    return lambda thing, other: operation(other, thing)


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_", "xor"):
    OPERATIONS[_name.strip("_")] = getattr(operator, _name)
    OPERATIONS[f"r{_name.strip('_')}"] = _reflected(getattr(operator, _name))


def module(name: str) -> types.ModuleType:
    """A new module that can be found by its name; dataclasses and their like look there."""
    sys.modules[name] = made = types.ModuleType(name)
    return made


def serve(source: str, connection: socket.socket) -> None:
    """Run a program, then answer for it until the other side is gone."""
    wire = Wire(connection)
    space = module("program")
    program = _Program(wire, space)
    sys.stdout = program.printed
    try:
        exec(compile(source, "program", "exec"), space.__dict__)
    except (EOFError, SystemExit):
        pass  # it reads what nobody gives, or ends as scripts do: what it has defined by then may be what is tested
    except BaseException as error:
        wire.send(program.raised(error))
        return
    program.printed.fetch()
    builtins.input = program.input
    with contextlib.suppress(ProgramEnded):
        wire.send({"names": program.names()})
        while True:
            wire.send(program.answer(wire.receive()))


class _Printed(io.StringIO):
    """What the program writes, until it is fetched."""

    def write(self, text: str) -> int:
        return super().write(text) if self.tell() < PRINTED else len(text)

    def fetch(self) -> str:
        text = self.getvalue()[: 2 * PRINTED]
        if text:
            self.seek(0)
            self.truncate()
        return text


class _Program:
    """The program's names and things, as the other side asks for them."""

    def __init__(self, wire: Wire, space: types.ModuleType) -> None:
        self._wire = wire
        self._things: list[Any] = [space]
        self._numbers: dict[int, int] = {}
        self._lent: dict[int, Lent] = {}
        self._loop: Any = None
        self._kept: list[Any] = []
        self._watched: deque[int] = deque(maxlen=WATCHED)  # the last of these, as places there
        self._known: dict[int, tuple[bytes | None, Any]] = {}  # what the other side knows of them
        self._borrowed = Borrowing(self._call_back, self.keep)
        self.printed = _Printed()

    def names(self) -> dict[str, Any]:
        """What the program defines; None where it may be another value later."""
        fixed = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType)
        return {
            name: encode(value, self.keep) if isinstance(value, fixed) else None
            for name, value in list(vars(self._things[0]).items())
            if isinstance(name, str) and not name.startswith("__")
        }

    def keep(self, value: Any) -> Any:
        """What becomes of a value that cannot be sent: it is known by a number from now on."""
        if type(value) is Lent:
            return {"object": object.__getattribute__(value, "_lent")}
        if isinstance(value, type):
            return self._kind(value)
        if isinstance(value, types.ModuleType):
            return {"module": [self._number(value), value.__name__]}
        if isinstance(value, BaseException):
            return self._error(value)
        if isinstance(value, types.CoroutineType):
            return {"coroutine": self._number(value)}
        if isinstance(value, types.GeneratorType):
            return {"generator": self._number(value)}
        if isinstance(value, types.FunctionType | types.BuiltinFunctionType | types.MethodType):
            return {"thing": [self._number(value), None, None]}
        data = encode(plain(value), self.keep) if isinstance(value, IMMUTABLE) else None
        return {"thing": [self._number(value), self._kind(type(value)), data]}

    def _number(self, value: Any) -> int:
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self._things)
            self._things.append(value)
        return self._numbers[id(value)]

    def _kind(self, kind: type) -> Any:
        """A class: its number and name, those of its bases that the other side knows or can make, and its home."""
        if kind in TYPES.values():
            return {"type": kind.__name__}
        bases: list[Any] = []
        for base in kind.__bases__:
            if base.__module__ in ("program", "__main__"):
                bases.append(self._kind(base))
            else:
                bases += [{"type": one.__name__} for one in base.__mro__ if one in TYPES.values()][:1]
        doc = vars(kind).get("__doc__")
        return {"class": [self._number(kind), kind.__name__, bases, _home(kind), doc if isinstance(doc, str) else None]}

    def _error(self, error: BaseException) -> Any:
        kind = self._kind(type(error))
        number = None if "type" in kind else self._number(error)
        try:
            text, given = str(error)[:1000], [encode(item, self.keep) for item in error.args]
        except Exception:
            text, given = "", []
        return {"error": [kind, given, text, number]}

    def raised(self, error: BaseException) -> dict[str, Any]:
        """The reply that says what was raised."""
        return {"raised": self._error(error), "printed": self.printed.fetch()}

    def _find(self, name: str, inner: Any) -> Any:
        if name == "thing":
            return self._things[inner]
        if name in ("builtin", "type"):
            return getattr(builtins, inner)
        if name == "error":
            return decode(inner[0], self._find)(*(decode(item, self._find) for item in inner[1]))
        if name == "iterator":
            return self._iterate(inner)
        if name == "kept":
            return self._kept[inner]
        if name == "object":
            return self._lent.setdefault(inner, Lent(self._borrowed.ask, inner))
        return self._function(*inner)

    def _function(self, number: int, name: str | None, doc: str | None) -> Callable[..., Any]:
        """A function of the tests."""

        def function(*given: Any, **named: Any) -> Any:
            return self._borrowed.ask("call", number, *given, **named)

        function.__name__ = function.__qualname__ = name or "function"
        function.__doc__ = doc
        return function

    def _iterate(self, number: int) -> Iterator[Any]:
        while step := self._borrowed.ask("next", number):
            yield step[0]

    def _call_back(self, name: str, number: int, *given: Any, **named: Any) -> Any:
        positional = [encode(item, self.keep) for item in given]
        by_name = {key: encode(item, self.keep) for key, item in named.items()}
        self._wire.send({"back": [name, number, positional, by_name], "printed": self.printed.fetch()})
        reply = self._wire.receive()
        if "raised" in reply:
            raise decode(reply["raised"], self._find)
        return decode(reply["result"], self._find)

    def input(self, prompt: object = "") -> Any:
        """The tests' `input`, which they may have replaced."""
        return self._borrowed.ask("input", 0, str(prompt))

    def answer(self, request: Any) -> Any:
        """Do what is asked: an operation on a thing. What was changed in place comes back, too."""
        name, number, positional, named = request
        try:
            given = [decode(item, self._find) for item in positional]
            by_name = {key: decode(item, self._find) for key, item in named.items()}
            do = getattr(self, f"_{name}") if name in _OWN else OPERATIONS[name]
            result = do(self._things[number], *given, **by_name)
            self._borrowed.give_back()
            reply = {"result": self._sent(result)}
            changed, kept = {}, {}
            arguments = [*given, *by_name.values()]
            del given, by_name
            for at, before in enumerate([*positional, *named.values()]):
                if isinstance(before, dict) and not CHANGEABLE.isdisjoint(before):
                    if result is arguments[at]:
                        reply["same"] = at
                    after = encode(arguments[at], self.keep)
                    if after != before:
                        changed[str(at)] = after
                    references = 2 + (result is arguments[at])  # by `arguments`, and by who counts
                    if is_shared(arguments[at]) and sys.getrefcount(arguments[at]) > references:
                        kept[str(at)] = self._follow(arguments[at], after)
            reply |= {"changed": changed, "kept": kept}
            new = is_shared(result) and "same" not in reply and "kept" not in reply["result"]
            if new and sys.getrefcount(result) > 2:  # by `result`, and by who counts: the program has it, too
                reply["held"] = self._follow(result, reply["result"])
        except ProgramEnded:
            raise
        except BaseException as error:
            with contextlib.suppress(Exception):
                self._borrowed.give_back()
            return self.raised(error) | {"later": self._later()}
        return reply | {"later": self._later(), "printed": self.printed.fetch()}

    def _sent(self, value: Any) -> Any:
        """A result: what was handed in earlier, and is kept, by its number."""
        number = next((number for number in self._watched if self._kept[number] is value), None)
        return encode(value, self.keep) if number is None else {"kept": number}

    def _follow(self, value: Any, known: Any) -> int:
        """Remember a value that the other side has, and the program keeps: it may change it later. Its number."""
        self._kept.append(value)
        number = len(self._kept) - 1
        self._watched.append(number)
        self._known[number] = fingerprint(value), known
        return number

    def _later(self) -> dict[str, Any]:
        """What the program has, as the other side does, and changed since."""
        changed = {}
        for number in self._watched:
            value, (mark, known) = self._kept[number], self._known[number]
            if len(value) > FOLLOWED or (mark and mark == fingerprint(value)):
                continue
            if (after := encode(value, self.keep)) != known:
                changed[str(number)] = after
                self._known[number] = fingerprint(value), after
        return changed

    def _refresh(self, thing: Any, number: int, value: Any) -> None:
        """Change what the program has kept as the tests have changed it."""
        update(self._kept[number], value)
        self._known[number] = fingerprint(self._kept[number]), encode(self._kept[number], self.keep)

    def _start(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Begin to run a coroutine beside others."""
        import asyncio

        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        return self._loop.create_task(coroutine)

    def _step(self, task: Any) -> Any:
        """Run what was begun for a moment; its result in a list, once it has one."""
        import asyncio

        self._loop.run_until_complete(asyncio.wait([task], timeout=0.005))
        return [task.result()] if task.done() else []

    def _cancel(self, task: Any) -> None:
        task.cancel()

    def _awaited(self, awaitable: Any) -> Any:
        """Whatever can be awaited, as a coroutine."""

        async def wait() -> Any:
            return await awaitable

        return wait()


_OWN = ("start", "step", "cancel", "awaited", "refresh")
"""What is asked of `_Program` itself."""


def _home(value: type) -> list[str] | None:
    """The module that a class can be imported from, and its name there."""
    name = getattr(value, "__qualname__", "")
    home = getattr(value, "__module__", None)
    known = getattr(sys.modules.get(str(home)), str(name), None)
    return [str(home), str(name)] if known is value and home not in ("program", "__main__") else None
