"""Runs the tests of a program: statements, `check(candidate)`, classes of unittest's, functions of pytest's."""

import ast
import inspect
import itertools
import socket
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from filters.execution.program_process import module
from filters.execution.stand_ins import Remote, StandInType
from filters.execution.tests_process import Builtins, Program, Solution
from filters.execution.values import SOLUTION, ProgramEnded

_QUIET = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)
"""Statements that test nothing by themselves."""

_LOOKS = ("getsource", "getsourcelines", "isfunction", "iscoroutinefunction", "isgeneratorfunction")

Test = tuple[str, Callable[[], object]]


class Unusable(Exception):
    """The tests cannot judge the program."""


def judge(connection: socket.socket, request: dict[str, Any]) -> dict[str, Any]:
    """Run the tests against the program at the other end; in a process that never runs a line of the program.

    Args:
        connection: to the program's process.
        request: `setup` and `tests`, source; `entry`, what `check` is given, or None; `tested`, the builtins that are
            the program's here.

    Returns:
        `passed`; or `failed` with the reason; or `unusable`, with the reason: the tests say nothing about the program.
    """
    try:
        trees = [ast.parse(text) for text in (request["setup"], *request["tests"])]
        code = [compile(tree, "tests", "exec") for tree in trees]
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return {"unusable": f"the tests do not parse: {error}"}
    program, running = None, "its code"
    failures = _watched() if any("unittest" in text for text in (request["setup"], *request["tests"])) else []
    try:
        program = Program(connection)
        _hide(program)
        for name in SOLUTION.intersection(_modules(trees)):
            sys.modules[name] = Solution(name, program)
        names = module("__main__").__dict__
        names["__builtins__"] = Builtins(program, set(request["tested"]))
        entry = request["entry"]
        if entry and not program.defines(entry.partition(".")[0].partition("(")[0]):
            return {"failed": f"the program defines no {entry}"}
        running = "the tests' setup"
        exec(code[0], names)
        for text, part in zip(request["tests"], code[1:], strict=True):
            running = text if len(text) < 200 else "the tests"
            exec(part, names)
        running = "the tests"
        tests = [_check(names, entry)] if entry else list(_collected(names, trees))
        if not tests and all(map(_is_quiet, trees)):
            raise Unusable("the tests test nothing")
        for name, test in tests:
            running = name
            test()
    except BaseException as error:
        return _ended(error, program, running, failures)
    return _ended(None, program, running, failures)


def _hide(program: Program) -> None:
    """Make functions of `inspect` refuse objects of the program, which they cannot examine across processes."""

    def refusing(look: Callable[..., Any]) -> Callable[..., Any]:
        def refused(value: Any) -> Any:
            if isinstance(value, Remote) or type(value) is StandInType:
                raise program.refuse(f"the tests look at an object of the program by inspect.{look.__name__}")
            return look(value)

        return refused

    for name in _LOOKS:
        setattr(inspect, name, refusing(getattr(inspect, name)))


def _modules(trees: list[ast.Module]) -> set[str]:
    """The modules that the tests import."""
    nodes = [node for tree in trees for node in ast.walk(tree)]
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return imported | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


def _ended(error: BaseException | None, program: Program | None, running: str, failures: list[str]) -> dict[str, Any]:
    """The result of tests that ended in this way."""
    if program and program.fault:
        return {"failed": program.fault, "ended": True}
    if isinstance(error, ProgramEnded):
        return {"failed": str(error), "ended": True}
    if program and program.unjudged:
        return {"unusable": program.unjudged}
    theirs = program is not None and not program.raised(error)
    if isinstance(error, Unusable) or (theirs and isinstance(error, ImportError) and error.name not in SOLUTION):
        return {"unusable": str(error)}
    if error is not None and not (theirs and isinstance(error, SystemExit) and not error.code):  # as unittest ends well
        said = "" if isinstance(error, SystemExit) else str(error)[:200]
        return {"failed": f"{running}: {type(error).__name__}{': ' if said else ''}{said}"}
    if failures:
        return {"failed": failures[0]}
    return {"unusable": program.word} if program and program.word else {"passed": True}


def _check(names: dict[str, Any], entry: str) -> Test:
    if "check" not in names:
        raise Unusable("the tests define no function check")
    check, candidate = names["check"], eval(entry, names)
    return "the tests", lambda: check(candidate)


def _is_quiet(tree: ast.Module) -> bool:
    return all(
        isinstance(node, _QUIET) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in tree.body
    )


def _collected(names: dict[str, Any], trees: list[ast.Module]) -> Iterator[Test]:
    """The test functions and classes that the tests define, and do not run themselves."""
    used = {node.id for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Name) and _loads(node)}
    ran = used | {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for name, value in list(names.items()):
        if name in used or getattr(value, "__module__", None) != "__main__":
            continue
        if isinstance(value, types.FunctionType) and name.startswith("test"):
            yield from _calls(name, value)
        elif isinstance(value, type) and _is_test_case(value):
            if not {"main", "TextTestRunner"} & ran:
                yield name, lambda case=value: _unittest(case)  # type: ignore[misc]
        elif isinstance(value, type) and name.startswith("Test"):
            for method in [one for one in vars(value) if one.startswith("test")]:
                yield from _calls(f"{name}.{method}", _bound(value, method))


def _loads(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Load)


def _calls(name: str, function: Callable[..., Any]) -> Iterator[Test]:
    """A test function, once for each of its parameters (`pytest.mark.parametrize`)."""
    marks = [mark.args for mark in getattr(function, "pytestmark", []) if mark.name == "parametrize"]
    given: list[list[dict[str, Any]]] = []
    for wanted, values, *_ in marks:
        keys = [key.strip() for key in wanted.split(",")] if isinstance(wanted, str) else list(wanted)
        rows = [getattr(row, "values", row) if type(row).__name__ == "ParameterSet" else row for row in values]
        alone = isinstance(wanted, str) and len(keys) == 1
        given.append([dict(zip(keys, (row,) if alone else row, strict=True)) for row in rows])
    known = {key for rows in given for row in rows for key in row}
    wants = inspect.signature(function).parameters.values()
    for parameter in wants:
        if parameter.default is parameter.empty and parameter.name not in known and parameter.kind < 2:
            raise Unusable(f"{name} wants {parameter.name}, which is not given")
    for chosen in itertools.product(*given):
        arguments = {key: value for row in chosen for key, value in row.items()}
        yield name, lambda arguments=arguments: _called(function, arguments)  # type: ignore[misc]


def _called(function: Callable[..., Any], arguments: dict[str, Any]) -> None:
    result = function(**arguments)
    if inspect.iscoroutine(result):
        import asyncio

        asyncio.run(result)


def _bound(kind: type, method: str) -> Callable[..., Any]:
    """A method of a new instance, after what pytest calls before it."""
    made = kind()
    if hasattr(made, "setup_method"):
        before = made.setup_method
        before(*[None] * len(inspect.signature(before).parameters))
    bound: Callable[..., Any] = getattr(made, method)
    return bound


def _is_test_case(kind: type) -> bool:
    unittest = sys.modules.get("unittest")
    return unittest is not None and issubclass(kind, unittest.TestCase)


def _watched() -> list[str]:
    """What fails from now on of unittest's tests, also where the tests run them and do not look at the result."""
    import unittest

    failures: list[str] = []

    def noting(run: Callable[..., Any]) -> Callable[..., Any]:
        def noted(self: Any, *given: Any, **named: Any) -> Any:
            result = run(self, *given, **named)
            if result is not None and not result.wasSuccessful():
                failures.extend(f"{test}: {trace.strip().splitlines()[-1]}" for test, trace in _failed(result))
            return result

        return noted

    for kind in (unittest.TestCase, unittest.TestSuite):
        kind.run = noting(kind.run)  # type: ignore[method-assign]
    return failures


def _failed(result: Any) -> list[tuple[Any, str]]:
    return [*result.errors, *result.failures, *((test, "it succeeds") for test in result.unexpectedSuccesses)]


def _unittest(case: type) -> None:
    import unittest

    result = unittest.TestResult()
    result.failfast = True
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    if not result.testsRun:
        raise Unusable(f"{case.__name__} has no tests")
