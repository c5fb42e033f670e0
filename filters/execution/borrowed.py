"""Objects that the tests lend, as the program has them: what it does with one is done there, at its request."""

from collections.abc import Callable
from typing import Any

from filters.execution.values import FOLLOWED, MUTABLE, WATCHED, encode, fingerprint, update


class Borrowing:
    """Asks the tests, and gives back what the program has changed of parts of their objects."""

    def __init__(self, ask: Callable[..., Any], keep: Callable[[Any], Any]) -> None:
        """`ask`: has something done there; `keep`: what becomes of a value that cannot be sent."""
        self._ask = ask
        self._keep = keep
        self._parts: dict[tuple[int, str, Any], tuple[Any, bytes | None, Any]] = {}  # with what is known of them there

    def ask(self, name: str, number: int, *given: Any, **named: Any) -> Any:
        """Have something done with an object. A part of it that can change is the same object each time."""
        self.give_back()
        result = self._ask(name, number, *given, **named)
        if name not in ("get", "item") or type(result) not in MUTABLE or not isinstance(given[0], str | int):
            return result
        part = (number, name, given[0])
        if part in self._parts:
            result = update(self._parts.pop(part)[0], result)
        self._parts[part] = result, fingerprint(result), encode(result, self._keep)
        if len(self._parts) > WATCHED:
            del self._parts[next(iter(self._parts))]
        return result

    def give_back(self) -> None:
        """Change there what the program has changed here."""
        for part, (value, mark, known) in list(self._parts.items()):
            if len(value) > FOLLOWED or (mark and mark == fingerprint(value)):
                continue
            if (after := encode(value, self._keep)) != known:
                self._parts[part] = value, fingerprint(value), after
                number, how, key = part
                self._ask("update", number, how, key, value)


class Lent:
    """Stands for an object of the tests."""

    def __init__(self, back: Callable[..., Any], number: int) -> None:
        object.__setattr__(self, "_back", back)
        object.__setattr__(self, "_lent", number)

    def __getattr__(self, name: str) -> Any:
        return self._back("get", self._lent, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._back("set", self._lent, name, value)


def _lent(name: str) -> Callable[..., Any]:
    def method(self: Lent, *given: Any) -> Any:
        return self._back(name, self._lent, *given)

    return method


LENT = {
    "__call__": "call", "__getitem__": "item", "__setitem__": "set_item", "__len__": "length", "__iter__": "iterate",
    "__contains__": "contains", "__str__": "text", "__repr__": "repr", "__bool__": "truth", "__hash__": "hash",
    "__eq__": "eq", "__lt__": "lt", "__gt__": "gt", "__le__": "le", "__ge__": "ge", "__add__": "add", "__sub__": "sub",
    "__mul__": "mul", "__truediv__": "truediv", "__neg__": "neg", "__enter__": "enter", "__exit__": "exit",
}  # fmt: skip
"""What a program may do with an object of the tests beside reading and setting its attributes."""

for _method, _operation in LENT.items():
    setattr(Lent, _method, _lent(_operation))
