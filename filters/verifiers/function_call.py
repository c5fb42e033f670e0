"""`function-call`: the functions called, with their arguments, are among the possible ones.

Calls are read, never run, in the forms that models write them: Python (`f(a=1)`, a list of calls), JSON ({"name": …,
"arguments"|"parameters": …}, a list of these, OpenAI's `tool_calls`), each also fenced or inside `<tool_call>` tags.

The possible calls (column `ground_truth`, or the reference) have the form of the Berkeley Function-Calling Leaderboard:
[{name: {parameter: [value that will do, …]}}], where "" among the values says that the parameter may be left out. As
there, dots in names may be underscores; texts are compared without case, white space and punctuation; a whole number
will do for a float. Several calls may come in any order. Without a possible call, but with functions on offer (column
`function` or `tools`), as in its irrelevance data, it is right to call none.
"""

import ast
import json
import re
from typing import Any

from filters.response.code_blocks import fenced_blocks
from filters.response.extract import tail
from filters.verdict import RIGHT, UNSCORABLE, WRONG, Check, Task, Verdict, VerifierSettings

Call = tuple[str, dict[str, Any]]

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
        f"{name}({', '.join(f'{key}={_first(values)!r}' for key, values in parameters.items() if '' not in values)})"
        for name, parameters in possible
    ]
    return f"[{', '.join(calls)}]" if calls else ""


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
    fault = None
    left = list(calls)
    for wanted in possible:
        faults = [_fault(call, wanted) for call in left]
        if None not in faults:
            fault = next(problem for problem in faults if problem is not None)
            break
        left.pop(faults.index(None))
    return Verdict(WRONG, _shown(calls), fault) if fault else Verdict(RIGHT, _shown(calls))


def _possible(task: Task) -> list[tuple[str, dict[str, list[Any]]]] | None:
    """The possible calls; empty where it is right to call none; None where nothing is known."""
    given = task.columns.get("ground_truth") or task.reference
    if isinstance(given, str):
        try:
            given = json.loads(given) if given.strip() else None
        except ValueError:
            return None
    if not given:
        offered = task.columns.get("function") or task.columns.get("tools")
        return [] if offered else None
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
    if isinstance(value, dict):
        return {key: _first(inner) for key, inner in value.items() if isinstance(inner, list) and "" not in inner}
    if isinstance(value, list):
        return [_first([inner]) if isinstance(inner, dict) else inner for inner in value]
    return value


def calls_in(response: str) -> list[Call]:
    """The calls a response makes; empty where it makes none."""
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


def _fault(call: Call, wanted: tuple[str, dict[str, list[Any]]]) -> str | None:
    """Why a call is not the wanted one, or None."""
    (name, arguments), (right, parameters) = call, wanted
    if name.replace(".", "_") != right.replace(".", "_"):
        return f"calls {name}, not {right}"
    if unknown := arguments.keys() - parameters.keys():
        return f"{right} is not to be given {', '.join(sorted(unknown))}"
    for key, values in parameters.items():
        if key not in arguments:
            if "" not in values:
                return f"{key} is missing"
        elif not any(_same(arguments[key], value) for value in values):
            return f"{key} is {arguments[key]!r}"
    return None


def _same(given: Any, possible: Any) -> bool:
    """Whether an argument is a possible value; inside an object the possible values are listed by key."""
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
