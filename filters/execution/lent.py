"""Objects that the tests lend to the program: functions, objects and iterators of theirs, used here at its request."""

import builtins
import io
from typing import TYPE_CHECKING, Any

from filters.execution.borrowed import LENT
from filters.execution.program_process import OPERATIONS
from filters.execution.stand_ins import Remote, StandInType
from filters.execution.values import TYPES, encode, update

if TYPE_CHECKING:
    from filters.execution.tests_process import Program


class Lending:
    """The lent objects, by number."""

    def __init__(self, program: "Program") -> None:
        self._program = program
        self._lent: list[Any] = []
        self._numbers: dict[int, int] = {}

    def __getitem__(self, number: int) -> Any:
        return self._lent[number]

    def lend(self, value: Any) -> Any:
        """What the program is given for a value that cannot be sent.

        Raises:
            Unjudged: it can be nothing there.
        """
        if isinstance(value, Remote):
            return {"thing": object.__getattribute__(value, "__dict__")["_number"]}
        if type(value) is StandInType:
            return {"thing": value._remote[1]}
        if (name := getattr(value, "__name__", None)) and getattr(builtins, str(name), None) is value:
            return {"builtin": name}
        if isinstance(value, BaseException):
            kind = next(one for one in type(value).__mro__ if one in TYPES.values())
            return {"error": [{"type": kind.__name__}, [encode(item, self.lend) for item in value.args]]}
        if _is_of_tests(value):
            return {"object": self._number(value)}
        if hasattr(type(value), "__next__"):
            return {"iterator": self._number(value)}
        if not callable(value):
            raise self._program.refuse(f"a test gives the program {type(value).__name__}, which cannot be sent")
        about = [getattr(value, name, None) for name in ("__name__", "__doc__")]
        return {"function": [self._number(value), *(one if isinstance(one, str) else None for one in about)]}

    def _number(self, value: Any) -> int:
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self._lent)
            self._lent.append(value)
        return self._numbers[id(value)]

    def answer(self, request: Any) -> Any:
        """Perform an operation that the program requests on a lent object."""
        try:
            name, number, given, named = request
            positional = [self._program.decoded(item) for item in given]
            by_name = {str(key): self._program.decoded(item) for key, item in named.items()}
            result = self._done(name, number, positional, by_name)
            return {"result": encode(result, self.lend)}
        except Exception as error:
            return {"raised": encode(error, self.lend)}

    def _done(self, name: str, number: int, given: list[Any], named: dict[str, Any]) -> Any:
        if name == "input":
            return input(*given)
        lent = self._lent[number]
        if name == "next":
            return [one for _, one in zip(range(1), lent, strict=False)]
        if name == "call":
            return lent(*given, **named)
        if not _is_of_tests(lent):
            raise TypeError("this is a function of the tests")
        if name == "update" and given[0] in ("get", "item"):
            update(self._done(given[0], number, given[1:2], {}), given[2])
            return None
        if name in ("get", "set") and (
            str(given[0]).startswith("_") or (_is_mock(lent) and hasattr(type(lent), given[0]))
        ):
            raise AttributeError(given[0])  # what a mock has noted is for the tests alone
        if name == "set" and hasattr(type(lent), given[0]) and callable(getattr(type(lent), given[0])):
            raise AttributeError(f"{given[0]} is a method of the tests")
        if name == "iterate":
            return (item for item in lent)
        if name not in ("get", "set", *LENT.values()):
            raise TypeError(name)
        return OPERATIONS[name](lent, *given)


def _is_of_tests(value: Any) -> bool:
    """Whether the program may use its attributes: an object of a class of the tests, a file in memory, a mock."""
    return (
        type(value) in (io.StringIO, io.BytesIO)
        or _is_mock(value)
        or (type(value).__module__ == "__main__" and not isinstance(value, type))
    )


def _is_mock(value: Any) -> bool:
    return type(value).__module__ == "unittest.mock" and hasattr(type(value), "mock_calls")
