"""`code`: the program in the response passes the row's tests, in a sandbox.

Tests are found in the row's columns, in this order:

    test_list (test_setup_code, test_imports)    assert statements, as in MBPP
    test, entry_point (prompt)                   a function `check(candidate)`, as in HumanEval
    tests, or test without `check`               a list or one text: asserts, unittest (BigCodeBench) or pytest
    inputs, outputs, or input_output             what the program reads and writes, as JSON or lists; with fn_name, what
                                                 that function is called with and returns, as in APPS

The program is made of the blocks of the response that define what the tests call, and what these need: see
`filters.response.program`. Where it does not define the entry point it is taken for the rest of the prompt. The
program and its tests run in separate processes: see `filters.execution.tests_process`.
"""

import ast
import builtins
import json
import math
import re
from decimal import Decimal
from itertools import filterfalse
from typing import Any

from filters.execution.sandbox import PythonSandbox
from filters.execution.values import SOLUTION
from filters.response.extract import conclusion
from filters.response.program import (
    OFFERED,
    asserts,
    code_given,
    completed,
    defined_in,
    names_imported,
    names_used,
    own_names,
    parsed,
    program_in,
    with_imports,
)
from filters.verdict import RIGHT, UNSCORABLE, WRONG, Check, Task, Verdict, VerifierSettings

_COMPARING = """
    abs all any bool dict float hasattr int isinstance issubclass len list range repr round set sorted str tuple type
    zip
"""
"""Builtins by which tests compare."""

_JUDGING = {
    "math": "fabs isclose isfinite isinf isnan",
    "numpy": "allclose array_equal",
    "pytest": "approx",
    "copy": "deepcopy",
    "collections": "Counter OrderedDict defaultdict deque",
    "decimal": "Decimal",
    "fractions": "Fraction",
}
"""What of libraries tests judge by, and reckon what they expect with."""

_ASKED = re.compile(r"\b(?:def|class)\s+(\w+)|\b(?:function|class|method)\s+(?:called\s+|named\s+)?[`'\"]?(\w+)")
"""Names in a prompt that it asks for, and does not only speak of."""

_NAMED = re.compile(r"`(\w+)|\b(?:def|class|named|called) [`'\"]?(\w+)|(?<![\w.])(\w+)\(")
"""Names in a prompt that are code."""

_DECIMAL = re.compile(r"[-+]?\d{1,400}(?:\.\d{1,400})?")

_CHECKS = re.compile(r"^(?:async )?def check\b", re.MULTILINE)

_CALLING = """
def _call(*given):
    try:
        found = {name}
    except NameError:
        found = Solution().{name}
    return found(*given)
def _plain(value):
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
def _same(found, wanted):
    return _plain(found) == wanted or [_plain(found)] == wanted
"""
"""The setup of tests that only say what a function is called with, and what it returns."""


def checker(settings: VerifierSettings) -> Check:
    """The check, with a sandbox that is started at its first use.

    Raises:
        VerifierError: programs cannot be isolated here.
    """
    sandbox = PythonSandbox(settings)

    def check(response: str, task: Task) -> Verdict:
        tests, problem = _tests(task)
        if tests is None:
            return Verdict(UNSCORABLE, None, problem)
        said = conclusion(response)
        if "inputs" in tests:
            program = program_in(said)
            request = {"kind": "cases", "inputs": tests["inputs"]}
        else:
            source = "\n".join([tests["setup"], *tests["tests"]])
            used, imported = set(filterfalse(asserts, names_used(source))), names_imported(source, SOLUTION)
            real = _of_libraries(used, tests["entry"], task)
            wanted = imported or _tested(tests["entry"], used - set(real), task)
            program = program_in(said, wanted)
            request = {"kind": "tests"}
            before, _ = code_given(_prompt(task), min(wanted)) if len(wanted) == 1 else ("", "")
            own = own_names(source, before, task.reference or "", real)
            tests |= {"setup": f"{own}\n{tests['setup']}", "tested": sorted(wanted & set(dir(builtins)))}
            if program is not None and len(wanted) == 1:
                program = completed(program, min(wanted), _prompt(task))
            program = program and with_imports(program)
        if program is None:
            return Verdict(WRONG, None, "no program found")
        result = sandbox.run(request | {"program": program}, None if "inputs" in tests else tests)
        return _verdict(result, tests, program, settings)

    return check


def _tested(entry: str | None, used: set[str], task: Task) -> set[str]:
    """The names that the tests take from the program.

    A builtin's name is one where the reference defines it, or where the tests use no others, but to compare by them.
    """
    if entry:
        return {entry.partition(".")[0].partition("(")[0]}
    tree = parsed(task.reference or "")
    defines = ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef
    shadows = used & {node.name for node in (tree.body if tree else []) if isinstance(node, defines)}
    if own := (used - set(dir(builtins))) | shadows:
        return own
    return (used - set(_COMPARING.split())) or (used if len(used) == 1 else set())


def _of_libraries(used: set[str], entry: str | None, task: Task) -> dict[str, str]:
    """The names that tests use without importing them, and that are a library's whatever the program calls so.

    Each with its module. Not what the reference defines or, without one, the prompt names as code. Where nothing tells,
    or nothing else would be left to test, only names that judge are.
    """
    judging = {name: module for module, names in _JUDGING.items() for name in names.split()}
    modules = OFFERED | dict.fromkeys(dir(math), "math") | judging
    known, others = used & set(modules), used - set(dir(builtins)) - set(modules)
    defined = defined_in(task.reference or "")
    asked = defined or {"".join(words) for words in _NAMED.findall(_prompt(task))}
    if entry:
        asked, others = asked - known | {entry}, others | {entry}
    ours = defined or {"".join(words) for words in _ASKED.findall(_prompt(task))}
    real = known & set(judging) - ours
    if asked & (others | known):
        real |= known - asked
    return {name: modules[name] for name in sorted(real)} if others or known - real else {}


def _prompt(task: Task) -> str:
    return str(task.columns.get("prompt") or task.prompt)


def _tests(task: Task) -> tuple[dict[str, Any] | None, str | None]:
    """The tests of a row (`setup`, `tests`, `entry`; or `inputs` and `outputs`), or why there are none."""
    columns = task.columns
    request: dict[str, Any] = {"setup": "", "tests": [], "entry": None}
    if listed := columns.get("test_list"):
        imports = "\n".join(columns.get("test_imports") or [])
        return request | {"setup": f"{imports}\n{columns.get('test_setup_code') or ''}", "tests": list(listed)}, None
    if columns.get("test") and columns.get("entry_point") and _CHECKS.search(str(columns["test"])):
        return request | {"setup": columns["test"], "entry": columns["entry_point"]}, None
    if tests := columns.get("tests") or columns.get("test"):
        return request | {"tests": [tests] if isinstance(tests, str) else [str(test) for test in tests]}, None
    given = columns.get("input_output") or {"inputs": columns.get("inputs"), "outputs": columns.get("outputs")}
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            return None, "input_output is no JSON"
    if isinstance(given, dict) and (inputs := given.get("inputs")) and (outputs := given.get("outputs")):
        if len(inputs) != len(outputs):
            return None, f"{len(inputs)} inputs, but {len(outputs)} outputs"
        if name := given.get("fn_name") or columns.get("fn_name"):
            return request | _calls(str(name), list(inputs), list(outputs)), None
        return {"inputs": list(map(_lines, inputs)), "outputs": list(map(_lines, outputs))}, None
    return None, "no tests in the columns test_list, test, tests, inputs or input_output"


def _lines(text: Any) -> str:
    """What is read or written: a text, or its lines, as in APPS."""
    return "\n".join(map(str, text)) if isinstance(text, list | tuple) else str(text)


def _calls(name: str, inputs: list[Any], outputs: list[Any]) -> dict[str, Any]:
    """Tests that call a function, or a method of `Solution`, as in APPS: a tuple is a list there."""
    tests = []
    for given, wanted in zip(inputs, outputs, strict=True):
        tests.append(f"assert _same(_call(*{list(given)!r}), {wanted!r})")
    return {"setup": _CALLING.format(name=name), "tests": tests}


def _same_output(said: list[str], wanted: list[str]) -> bool:
    return len(said) == len(wanted) and all(map(_same_token, said, wanted))


def _same_token(said: str, wanted: str) -> bool:
    """Whether words of output are the same: decimal fractions to a millionth of their size, or as far as written."""
    if said == wanted:
        return True
    if "." not in wanted or not (_DECIMAL.fullmatch(said) and _DECIMAL.fullmatch(wanted)):
        return False
    one, other = Decimal(said), Decimal(wanted)
    places = len(said.partition(".")[2])
    written = Decimal(10) ** -places * Decimal("0.6") if places >= 6 else 0
    return abs(one - other) <= max(abs(other) * Decimal("1e-6"), written)


def _verdict(result: dict[str, Any], tests: dict[str, Any], program: str, settings: VerifierSettings) -> Verdict:
    if "fault" in result:
        return Verdict(UNSCORABLE, program, result["fault"])
    if "unusable" in result:
        return Verdict(UNSCORABLE, program, result["unusable"])
    if "late" in result:
        return Verdict(WRONG, program, f"took longer than {settings.time_limit:g} s")
    if "failed" in result:
        return Verdict(WRONG, program, " ".join(str(result["failed"]).split())[:300])
    for number, (said, wanted) in enumerate(zip(result.get("outputs", ()), tests.get("outputs", ()), strict=True), 1):
        if not _same_output(said.split(), wanted.split()):
            return Verdict(WRONG, program, f"case {number} writes {said.strip()[:80]!r}, not {wanted.strip()[:80]!r}")
    return Verdict(RIGHT, program)
