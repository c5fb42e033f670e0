"""`function-call`: the functions called, with their arguments, are among the possible ones.

Calls are read, never run: a turn's `tool_calls`, and text in the forms that models write calls in: Python (`f(a=1)`, a
list of calls), JSON ({"name": …, "arguments"|"parameters": …}, a list of these, OpenAI's `tool_calls`), each also
fenced or inside `<tool_call>` tags.

The possible calls (column `ground_truth`, or the reference) have the form of the Berkeley Function-Calling Leaderboard:
[{name: {parameter: [value that will do, …]}}], where "" among the values says that the parameter may be left out; or
they are calls, whose arguments are the only ones that will do. As in the leaderboard, dots in names may be underscores;
texts are compared without case, white space and punctuation; a whole number will do for a float. Several calls may come
in any order. Where the functions on offer are known (column `function` or `tools`), arguments are of the types that
their schemas name, and one that equals its default may be left out. With functions on offer but no call in the
reference, it is right to call none; so it is without any reference where functions are in the column `function`, as in
the leaderboard's irrelevance data.
"""

import ast
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from filters.functions import Functions, read_functions
from filters.response.calls import only_calls
from filters.response.code_blocks import fenced_blocks
from filters.response.extract import tail
from filters.verdict import RIGHT, UNSCORABLE, WRONG, Check, Task, Verdict, VerifierSettings

Call = tuple[str, dict[str, Any]]
Possible = tuple[str, dict[str, list[Any]]]
"""A function's name, and by parameter the values that will do."""

LONGEST = 20_000
"""Characters of what is parsed as calls."""

_TAGGED = re.compile(r"<(tool_call|function_call|tool_calls)>(.*?)</\1>", re.DOTALL)
_NOISE = re.compile(r"[\s,./\-_*^()]+")


def checker(settings: VerifierSettings) -> Check:
    """The check."""
    return _check


def gold(task: Task) -> str | None:
    """The calls with the first value that will do for each parameter; an empty response where no call is right."""
    possible = _possible(task)
    if possible is None:
        return None
    calls = [
        {"name": name, "arguments": {key: _first(values) for key, values in given.items() if not _optional(values)}}
        for name, given in possible
    ]
    return json.dumps(calls, ensure_ascii=False) if calls else ""


def _check(response: str, task: Task) -> Verdict:
    possible = _possible(task)
    if possible is None:
        return Verdict(
            UNSCORABLE, None, "no possible calls in ground_truth or the reference, and no functions on offer"
        )
    calls = calls_in(response)
    if not possible:
        return Verdict(WRONG, _shown(calls), "called where no function fits") if calls else Verdict(RIGHT, "no call")
    if not calls:
        return Verdict(WRONG, None, "no call found")
    if len(calls) != len(possible):
        return Verdict(WRONG, _shown(calls), f"{len(calls)} calls instead of {len(possible)}")
    fault = _mismatch(calls, possible) or _wrong_type(calls, _functions(task))
    return Verdict(WRONG, _shown(calls), fault) if fault else Verdict(RIGHT, _shown(calls))


def _mismatch(calls: Sequence[Call], possible: Sequence[Possible]) -> str | None:
    """Why calls are not the possible ones in some order, or None."""
    faults = [[_fault(call, wanted) for call in calls] for wanted in possible]
    taken: dict[int, int] = {}  # by call: which of the possible ones it is

    def place(wanted: int, tried: set[int]) -> bool:
        for call in range(len(calls)):
            if faults[wanted][call] is None and call not in tried:
                tried.add(call)
                if call not in taken or place(taken[call], tried):
                    taken[call] = wanted
                    return True
        return False

    for wanted in range(len(possible)):
        if not place(wanted, set()):
            free = [fault for call, fault in enumerate(faults[wanted]) if call not in taken and fault is not None]
            return next(iter(free), f"{possible[wanted][0]} is not called as often as it should be")
    return None


def _wrong_type(calls: Sequence[Call], functions: Functions | None) -> str | None:
    """Why arguments are not of the types that the functions on offer take, or None."""
    if functions is None:
        return None
    names = {name.replace(".", "_"): name for name in functions.names}
    faults = (
        functions.fault(names[name.replace(".", "_")], arguments, whole=False)
        for name, arguments in calls
        if name.replace(".", "_") in names
    )
    return next((fault for fault in faults if fault), None)


def _functions(task: Task) -> Functions | None:
    """The functions on offer, where their schemas can be read."""
    offered = task.columns.get("function") or task.columns.get("tools")
    try:
        return read_functions(offered) if offered else None
    except ValueError:
        return None


def _possible(task: Task) -> list[Possible] | None:
    """The possible calls; empty where it is right to call none; None where nothing is known."""
    given = task.columns.get("ground_truth") or task.reference
    if not given or (isinstance(given, str) and not given.strip()):
        return [] if task.columns.get("function") else None
    listed = _listed_values(given)
    if listed is not None:
        return listed
    calls = calls_in(given if isinstance(given, str) else json.dumps(given, default=str))
    if calls:
        functions = _functions(task)
        return [(name, _only(name, arguments, functions)) for name, arguments in calls]
    offered = task.columns.get("function") or task.columns.get("tools")
    return [] if offered and isinstance(given, str) else None


def _listed_values(given: Any) -> list[Possible] | None:
    """Possible calls in the leaderboard's form, or None."""
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except (ValueError, RecursionError):
            return None
    possible = []
    for item in given if isinstance(given, list) else [given]:
        item = _object(item)
        if item is None or len(item) != 1:
            return None
        [(name, inner)] = item.items()
        parameters = _object(inner)
        if parameters is None or not all(isinstance(values, list) for values in parameters.values()):
            return None
        possible.append((name, parameters))
    return possible


def _only(name: str, arguments: dict[str, Any], functions: Functions | None) -> dict[str, list[Any]]:
    """The values that will do where a reference makes the call: its own, and what the schema says goes without."""
    offers = functions.offers if functions else ()
    found = [
        offer["function"] for offer in offers if offer["function"]["name"].replace(".", "_") == name.replace(".", "_")
    ]
    properties = found[0]["parameters"].get("properties", {}) if found else {}
    defaults = {
        key: inner["default"] for key, inner in properties.items() if isinstance(inner, dict) and "default" in inner
    }
    values: dict[str, list[Any]] = {key: [_Exactly(value)] for key, value in arguments.items()}
    for key, default in defaults.items():
        if key not in values or _equal(arguments[key], default):
            values[key] = [_Exactly(default), ""]
    return values


def _object(value: Any) -> dict[str, Any] | None:
    """An object as a column holds it: as JSON text where rows have no one type, or with keys that other rows have."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return {key: inner for key, inner in value.items() if inner is not None} if isinstance(value, dict) else None


def _first(values: list[Any]) -> Any:
    """The first value that will do; for an object, of each of its entries."""
    value = values[0]
    if isinstance(value, _Exactly):
        return value.value
    if isinstance(value, dict):
        return {key: _first(inner) for key, inner in value.items() if isinstance(inner, list) and "" not in inner}
    if isinstance(value, list):
        return [_first([inner]) if isinstance(inner, dict) else inner for inner in value]
    return value


def calls_in(response: str) -> list[Call]:
    """The calls a response makes; empty where it makes none."""
    if turn := only_calls(response):
        return _of_json(turn["tool_calls"])
    text = tail(response)
    tagged = [tag[2] for tag in _TAGGED.finditer(text)]
    fenced = [code for _, code in fenced_blocks(text)]
    for pieces in (tagged, fenced, [text]):
        calls = [call for piece in pieces for call in _parse(piece.strip())]
        if calls:
            return calls
    return []


def _parse(text: str) -> list[Call]:
    if not text or len(text) > LONGEST:
        return []
    try:
        return _of_json(json.loads(text))
    except (ValueError, RecursionError):
        pass
    try:
        return _of_python(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return [call for line in text.splitlines() if "(" in line or "{" in line for call in _parse_line(line.strip())]


def _parse_line(line: str) -> list[Call]:
    """A call on a line of its own, among prose."""
    try:
        return _of_json(json.loads(line))
    except (ValueError, RecursionError):
        pass
    try:
        return _of_python(ast.parse(line.strip("`"), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def _of_json(value: Any) -> list[Call]:
    if isinstance(value, list):
        return [call for item in value for call in _of_json(item)]
    if not isinstance(value, dict):
        return []
    if isinstance(value.get("tool_calls"), list):
        return _of_json(value["tool_calls"])
    if isinstance(value.get("function"), dict):
        return _of_json(value["function"])
    name = value.get("name")
    arguments = value.get("arguments", value.get("parameters", value.get("args")))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return []
    if isinstance(name, str):
        return [(name, arguments or {})] if arguments is None or isinstance(arguments, dict) else []
    return [(name, inner) for name, inner in value.items() if isinstance(inner, dict)] if len(value) == 1 else []


def _of_python(node: ast.expr) -> list[Call]:
    if isinstance(node, ast.List | ast.Tuple):
        return [call for item in node.elts for call in _of_python(item)]
    if not isinstance(node, ast.Call) or node.args:  # without names nothing says which parameter is meant
        return []
    arguments = {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.keywords if keyword.arg}
    return [(ast.unparse(node.func), arguments)]


def _shown(calls: list[Call]) -> str:
    return "; ".join(
        f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})" for name, arguments in calls
    )


def _fault(call: Call, wanted: Possible) -> str | None:
    """Why a call is not the wanted one, or None."""
    (name, arguments), (right, parameters) = call, wanted
    if name.replace(".", "_") != right.replace(".", "_"):
        return f"calls {name}, not {right}"
    if unknown := arguments.keys() - parameters.keys():
        return f"{right} is not to be given {', '.join(sorted(unknown))}"
    for key, values in parameters.items():
        if key not in arguments:
            if not _optional(values):
                return f"{key} is missing"
        elif not any(_same(arguments[key], value) for value in values):
            return f"{key} is {arguments[key]!r}"
    return None


def _same(given: Any, possible: Any) -> bool:
    """Whether an argument is a possible value; inside an object the possible values are listed by key."""
    if isinstance(possible, _Exactly):
        return _equal(given, possible.value)
    if isinstance(possible, str) and isinstance(given, str):
        return _NOISE.sub("", given).casefold() == _NOISE.sub("", possible).casefold()
    if isinstance(possible, bool) or isinstance(given, bool):
        return given is possible
    if isinstance(possible, int | float) and isinstance(given, int | float):
        return given == possible
    if isinstance(possible, list) and isinstance(given, list | tuple):
        return len(given) == len(possible) and all(map(_same, given, possible))
    if isinstance(possible, dict) and isinstance(given, dict):
        if given.keys() - possible.keys():
            return False
        return all(
            any(_same(given[key], value) for value in _listed(values)) if key in given else "" in _listed(values)
            for key, values in possible.items()
        )
    return bool(given == possible)


def _listed(values: Any) -> list[Any]:
    return values if isinstance(values, list) else [values]


@dataclass(frozen=True, slots=True)
class _Exactly:
    """A value of a reference's own call: lists inside it are lists, and not values that will do."""

    value: Any


def _equal(given: Any, wanted: Any) -> bool:
    """Whether two arguments are the same, as the leaderboard compares texts and numbers."""
    if isinstance(wanted, dict) and isinstance(given, dict):
        return given.keys() == wanted.keys() and all(_equal(given[key], value) for key, value in wanted.items())
    if isinstance(wanted, list) and isinstance(given, list | tuple):
        return len(given) == len(wanted) and all(map(_equal, given, wanted))
    return _same(given, wanted)


def _optional(values: Sequence[Any]) -> bool:
    """Whether a parameter may be left out."""
    return any(isinstance(value, str) and not value for value in values)
