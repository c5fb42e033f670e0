"""Stand-ins, in the tests' process, for objects and classes of the program. See `filters.execution.tests_process`."""

import dataclasses
import inspect
import types
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from filters.execution.program_process import OPERATIONS
from filters.execution.values import IMMUTABLE, MUTABLE, TYPES

if TYPE_CHECKING:
    from filters.execution.tests_process import Program

_HIDDEN = ("__code__", "__closure__")
"""Attributes that `inspect` reads, and cannot see across processes."""


_HANDS_OVER = frozenset(
    ("__array_function__", "__array_ufunc__", "__array_wrap__", "__array_namespace__", "__torch_function__")
)
"""Attributes by which libraries have an object do what they were asked: it would judge itself."""


class Unjudged(BaseException):
    """The tests ask for something impossible across processes; the program is not judged."""


class StandInType(type):
    """Stands for a class of the program; its instances here stand for those there, or hold their data."""

    _remote: "tuple[Program, int]"

    def __call__(cls, *given: Any, **named: Any) -> Any:
        """Make an instance, in the program's process."""
        if "_remote" not in vars(cls):
            raise cls._remote[0].refuse("the tests derive a class from one of the program")
        return cls._ask("call", *given, **named)

    def _ask(cls, name: str, *given: Any, **named: Any) -> Any:
        program, number = cls._remote
        return program.ask(name, number, given, named)

    def __getattr__(cls, name: str) -> Any:
        if name in _HANDS_OVER:
            raise AttributeError(name)
        if name == "__signature__":
            return _signature(cls._remote[0], cls._ask("signature"))
        value = cls._ask("get", name)
        if name == "__dataclass_fields__":  # for `dataclasses.asdict`, which wants real ones
            return vars(dataclasses.make_dataclass(cls.__name__, list(value)))[name]
        return value

    def __setattr__(cls, name: str, value: Any) -> None:
        cls._ask("set", name, value)

    def __getitem__(cls, key: Any) -> Any:
        return cls._ask("item", key)

    def __iter__(cls) -> Iterator[Any]:
        return iter(list(_items(cls._ask("iterate"))))

    def __len__(cls) -> int:
        return int(cls._ask("length"))

    def __contains__(cls, item: Any) -> bool:
        return any(one is item or one == item for one in cls)

    def __bool__(cls) -> bool:
        return True


class Remote(metaclass=StandInType):
    """What stands for an object of the program: what is not known of it here is asked there."""

    _program: "Program"
    _number: int
    _mixed: bool

    def _do(self, name: str, *given: Any, **named: Any) -> Any:
        own = object.__getattribute__(self, "__dict__")
        program: Program = own["_program"]
        return program.ask(name, own["_number"], given, named, own.get("_mixed", False))

    def __getattr__(self, name: str) -> Any:
        if name in _HANDS_OVER:
            raise AttributeError(name)
        if name in _HIDDEN:
            program: Program = object.__getattribute__(self, "__dict__")["_program"]
            raise program.refuse(f"the tests look at {name} of an object of the program")
        if name == "__signature__":
            return _signature(object.__getattribute__(self, "__dict__")["_program"], self._do("signature"))
        return getattr(type(self), name) if name == "__dataclass_fields__" else self._do("get", name)

    def __copy__(self) -> Any:
        return self._do("copy")

    def __deepcopy__(self, memo: Any) -> Any:
        return self._do("deepcopy")

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("__"):  # an exception's traceback and its like
            object.__setattr__(self, name, value)
        else:
            self._do("set", name, value)

    def __delattr__(self, name: str) -> None:
        self._do("delete", name)

    def __str__(self) -> str:
        return str(self._do("text"))

    def __repr__(self) -> str:
        return str(self._do("repr"))

    def __format__(self, how: str) -> str:
        return str(self._do("format", how))


def _signature(program: "Program", described: Any) -> inspect.Signature:
    """What the program says of how something of it is called."""
    rows, returns = described
    kinds = {int(kind): kind for kind in inspect._ParameterKind}
    parameters = [
        inspect.Parameter(
            name,
            kinds[kind],
            default=default[0] if default else inspect.Parameter.empty,
            annotation=annotation[0] if annotation else inspect.Parameter.empty,
        )
        for name, kind, default, annotation in rows
    ]
    if any(isinstance(one, Remote) for one in (*returns, *(one.annotation for one in parameters))):
        raise program.refuse("the tests look at annotations of the program that are no plain types")
    return inspect.Signature(parameters, return_annotation=returns[0] if returns else inspect.Signature.empty)


class Raised(Remote):
    """Stands for an exception of one of the program's classes."""

    _text: str

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._text!r})"


def _items(values: Any) -> Iterator[Any]:
    """What an iterator of the program gives."""
    while True:
        try:
            value = next(values)
        except StopIteration:
            return
        yield value


class _Operators:
    """What `Thing` has for every operator."""


def _operator(name: str) -> Callable[..., Any]:
    return lambda self, other: _word(self, name, other)


def _conversion(name: str) -> Callable[..., Any]:
    return lambda self, *given: self._do(name, *given)


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor"):
    setattr(_Operators, f"__{_name}__", _operator(_name))
    setattr(_Operators, f"__r{_name}__", _operator(f"r{_name}"))
for _name in ("lt", "le", "gt", "ge"):
    setattr(_Operators, f"__{_name}__", _operator(_name))
for _name in ("abs", "neg", "pos", "invert", "round", "int", "float", "index"):
    setattr(_Operators, f"__{_name}__", _conversion(_name))


class Thing(_Operators, Remote):
    """Stands for an object of the program that is not rebuilt here. See this file's head for what is believed of it."""

    __doc__ = property(lambda self: self._do("get", "__doc__"))

    def __call__(self, *given: Any, **named: Any) -> Any:
        """Call it in the program's process."""
        return self._do("call", *given, **named)

    def __getitem__(self, key: Any) -> Any:
        return self._do("item", key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._do("set_item", key, value)

    def __delitem__(self, key: Any) -> None:
        self._do("delete_item", key)

    def __contains__(self, item: Any) -> bool:
        try:
            return any(one is item or one == item for one in self)  # compared here: the program might say yes to all
        except TypeError:
            return _word(self, "contains", item) is True

    def __len__(self) -> int:
        return int(self._do("length"))

    def __iter__(self) -> Iterator[Any]:
        return _items(self._do("iterate"))

    def __reversed__(self) -> Iterator[Any]:
        return _items(self._do("reversed"))

    def __next__(self) -> Any:
        return self._do("next")

    def __bool__(self) -> bool:
        return bool(self._do("truth"))

    def __hash__(self) -> int:
        return int(self._do("hash"))

    def __eq__(self, other: object) -> Any:
        return _word(self, "eq", other)

    def __ne__(self, other: object) -> Any:
        equal = self == other
        return equal if isinstance(equal, Remote) else not equal

    def __enter__(self) -> Any:
        return self.__getattr__("__enter__")()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> Any:
        return self.__getattr__("__exit__")(kind, error, None)

    def __await__(self) -> Any:
        return self._do("awaited").__await__()

    async def __aenter__(self) -> Any:
        return await self.__getattr__("__aenter__")()

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> Any:
        return await self.__getattr__("__aexit__")(kind, error, None)

    def __aiter__(self) -> AsyncIterator[Any]:
        iterator: AsyncIterator[Any] = self.__getattr__("__aiter__")()
        return iterator

    async def __anext__(self) -> Any:
        return await self.__getattr__("__anext__")()


class _Held(Thing):
    """Stands for an instance of a subclass of a list or its like, which may change: nothing of it is kept here."""

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_"):
            return super().__getattribute__(name)
        return self._do("get", name)


_COMPARISONS = ("eq", "lt", "le", "gt", "ge")


def _word(thing: Thing, name: str, other: Any) -> Any:
    """An operator between an object of the program and something else; NotImplemented where it says nothing of worth.

    Data of a subclass is compared and reckoned with here. An object that answers to nonsense as it does to data lies.
    """
    own = object.__getattribute__(thing, "__dict__")
    program: Program = own["_program"]
    if isinstance(other, Remote) and not isinstance(other, IMMUTABLE):
        return program.ask(name, own["_number"], (other,), {}) if name in _COMPARISONS else thing._do(name, other)
    if (
        isinstance(thing, MUTABLE)
        and (data := thing._do("data")) is not NotImplemented
        and not isinstance(data, Remote)
    ):
        return OPERATIONS[name](data, other)
    result = thing._do(name, other)
    if result is NotImplemented or (result is False and name == "eq"):
        return result  # not to be equal is no merit; but `if f(2) > 4: raise` passes where an order is denied
    with suppress(Exception):
        if (answer := thing._do(name, types.SimpleNamespace)) is not False and answer is not NotImplemented:
            return NotImplemented
    return program.taken_for(result, f"it rests on what an object of the program says of itself ({name})")


BASES = frozenset((*IMMUTABLE, *MUTABLE, *(one for one in TYPES.values() if issubclass(one, BaseException))))


def derived(ours: list[StandInType], data: list[type]) -> list[type]:
    """What a stand-in for a class derives from, whose bases are some of the program, and types of data or exceptions.

    Data that cannot change is held here, with its own operators.
    """
    if any(issubclass(one, IMMUTABLE) for one in data):
        return [*data, *ours] if ours else [Remote, *data]
    holds = Raised if any(issubclass(one, BaseException) for one in data) else _Held if data else Thing
    return (
        [*ours, *data] if any(issubclass(one, holds) for one in ours) or (ours and not data) else [holds, *ours, *data]
    )
