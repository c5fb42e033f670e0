"""Verifiers by name, or a user's own function by import path."""

import difflib
import importlib
import inspect
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, get_args

from filters.response.thoughts import after_thoughts
from filters.verdict import RIGHT, UNSCORABLE, WRONG, Check, Task, Verdict, VerdictKind, VerifierError, VerifierSettings

NAMES = {
    "math": "the final answer equals the reference's, as mathematics",
    "number": "the last number equals the reference's",
    "choice": "the option chosen is the right one",
    "exact": "the response is the reference, white space and case aside",
    "regex": "a pattern is found in the response",
    "json": "the response is JSON, of the row's schema if there is one",
    "function-call": "the function called, and its arguments, are among the possible ones",
    "instructions": "checkable instructions (IFEval) are followed",
    "refusal": "the response declines, or does not, as it should",
    "code": "the program passes the row's tests, in a sandbox",
    "compile": "the program compiles, in a sandbox",
    "majority": "the answer that most samples of a task end in",
    "judge": "a model is asked",
}
"""Every verifier's name, and when it takes a response for right."""

_KINDS: tuple[VerdictKind, ...] = get_args(VerdictKind)


def checker(settings: VerifierSettings) -> Check:
    """The check that `settings.name` stands for, of what responses say after their thoughts.

    A user's own function is given responses as they are, thoughts and all.

    Raises:
        VerifierError: there is no such verifier, or it cannot work with these settings.
    """
    if ":" in settings.name:
        return _own(settings.name)
    return _after_thoughts(_module(settings.name).checker(settings))


def _after_thoughts(judges: Check) -> Check:
    """A check of what a response says after its thoughts. Thoughts alone are no answer, to whatever was asked."""

    def check(response: str, task: Task) -> Verdict:
        said = after_thoughts(response)
        verdict = judges(said, task)
        if verdict.kind == UNSCORABLE or said.strip() or not response.strip():
            return verdict
        return Verdict(WRONG, None, "no answer after the thoughts")

    return check


def gold(settings: VerifierSettings, task: Task) -> str | None:
    """The response that stands for a task's reference when references are checked; None if there is none."""
    if ":" in settings.name:
        return task.reference
    module = _module(settings.name)
    found: str | None = module.gold(task) if hasattr(module, "gold") else task.reference
    return found


def nearest(name: str) -> str:
    """What to say of an unknown name."""
    near = difflib.get_close_matches(name, NAMES, 2)
    if near:
        return f"there is no verifier {name}; did you mean {' or '.join(near)}?"
    return f"there is no verifier {name}; there are {', '.join(NAMES)}, and functions of yours as module:function"


def _module(name: str) -> Any:
    if name not in NAMES:
        raise VerifierError(nearest(name))
    return importlib.import_module(f"filters.verifiers.{name.replace('-', '_')}")


def _own(path: str) -> Check:
    """A user's function of (response, reference) or (response, reference, row)."""
    module_name, _, name = path.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `python -m` has it: the user's module lies where the command is run
    try:
        function = getattr(importlib.import_module(module_name), name)
    except (Exception, SystemExit) as error:  # a user's module may raise anything, and be a script that ends
        raise VerifierError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(function) or inspect.iscoroutinefunction(function):
        raise VerifierError(f"{path} is no plain function")
    wants = _arguments(path, function)

    def check(response: str, task: Task) -> Verdict:
        return _as_verdict(function(*(response, task.reference, dict(task.columns))[:wants]))

    return check


def _arguments(path: str, function: Callable[..., object]) -> int:
    """How many of (response, reference, row) a function takes. An optional third is the row only if it is named so."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # some functions that are written in C have none
        return 2
    for wants in (3, 2) if "row" in signature.parameters else (2, 3):
        with suppress(TypeError):
            signature.bind(*range(wants))
            return wants
    raise VerifierError(f"{path}{signature} cannot be called with (response, reference), nor with the row as a third")


def _as_verdict(found: object) -> Verdict:
    """A user's function may return a verdict, one of its words, or whether the response is right."""
    if isinstance(found, Verdict) and found.kind in _KINDS:
        return found
    if isinstance(found, bool):
        return Verdict(RIGHT if found else WRONG)
    for kind in _KINDS:
        if isinstance(found, str) and found == kind:
            return Verdict(kind)
    raise TypeError(f"it returned {found!r:.200}: return a Verdict, True or False, or one of {', '.join(_KINDS)}")
