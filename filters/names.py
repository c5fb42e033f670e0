"""Names in settings: known ones, and users' own functions by import path (`module:function`)."""

import importlib
import os
import sys
from collections.abc import Callable, Collection, Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

OWN = "functions of yours as module:function"
"""The end of a list of known names where a user's own function is possible, too."""


class ImportPathError(ValueError):
    """There is no function at an import path; the message names the path, and what it may have meant."""


def did_you_mean(name: str, known: Iterable[str], most: int = 2) -> str:
    """The known names that are nearest to an unknown one, as the end of a message; empty where none is near."""
    near = get_close_matches(name, list(known), most)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def near_or_all(name: str, known: Collection[str]) -> str:
    """The hint after an unknown name: the nearest known names, or else all of them."""
    return did_you_mean(name, known) or f"; there are {', '.join(known)}"


def is_import_path(text: str) -> bool:
    """Whether a text has the form `package.module:function`."""
    module, colon, name = text.partition(":")
    return bool(colon) and name.isidentifier() and all(part.isidentifier() for part in module.split("."))


def function_at(path: str) -> Callable[..., Any]:
    """The function, or another object that can be called, at `module:function`.

    Modules are looked for in the working directory as well, as `python -m` does.

    Raises:
        ImportPathError: the module cannot be imported, or holds no such function.
    """
    module_name, _, name = path.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a user's module may raise anything, and be a script that ends
        near = did_you_mean(module_name, _modules_here()) if isinstance(error, ModuleNotFoundError) else ""
        raise ImportPathError(f"{path} cannot be imported: {type(error).__name__}: {error}{near}") from error
    try:
        function = getattr(module, name)
    except Exception as error:  # a module may have a __getattr__ of its own
        near = did_you_mean(name, dir(module))
        raise ImportPathError(f"{path} cannot be imported: {type(error).__name__}: {error}{near}") from error
    if not callable(function):
        raise ImportPathError(f"{path} is not a function: it cannot be called")
    called: Callable[..., Any] = function
    return called


def import_path_of(function: Callable[..., Any]) -> str:
    """The import path of a function, in a notebook `__main__:function`.

    Raises:
        ImportPathError: it has none, as it was made inside another function.
    """
    path = f"{function.__module__}:{getattr(function, '__qualname__', type(function).__qualname__)}"
    if not is_import_path(path) or function_at(path) is not function:
        raise ImportPathError(f"{path} has no import path: define it at the top of a file or a notebook")
    return path


def _modules_here() -> list[str]:
    return [file.stem for file in Path().glob("*.py")]
