"""The parameters of a function of `synth`, read from its source: help does not wait for what it imports."""

import ast
import importlib.util
import re
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin

from synth import values

REQUIRED = object()
"""In place of a default."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a function.

    Attributes:
        name: its name.
        names: the words of its annotation.
        default: its default, or `REQUIRED`.
        said: what the docstring says of it.
    """

    name: str
    names: frozenset[str]
    default: Any
    said: str

    @property
    def kind(self) -> Any:
        """What `synth.values` holds of its values: a range of numbers, or choices; None where it holds nothing."""
        kinds = (getattr(values, name, None) for name in sorted(self.names))
        return next((kind for kind in kinds if get_origin(kind) in (Annotated, Literal)), None)

    @property
    def choices(self) -> tuple[str, ...]:
        """What it may be, where it is one of a few words."""
        return get_args(self.kind) if get_origin(self.kind) is Literal else ()

    @property
    def several(self) -> bool:
        """Whether it takes several values."""
        return bool(self.names & {"Sequence", "Sources", "Replay"})


@cache
def parameters_of(path: str) -> dict[str, Parameter]:
    """The parameters of a function by their names.

    Args:
        path: the function, as "module:function"; its docstring has `Args:`.
    """
    module, _, function = path.partition(":")
    spec = importlib.util.find_spec(module)
    loader: Any = spec.loader if spec else None
    nodes = ast.parse(loader.get_source(module)).body
    found = [node for node in nodes if isinstance(node, ast.FunctionDef) and node.name == function][-1]
    said = _arguments(ast.get_docstring(found) or "")
    arguments = [*found.args.args, *found.args.kwonlyargs]
    of_positional = [None] * (len(found.args.args) - len(found.args.defaults)) + found.args.defaults
    defaults = [*of_positional, *found.args.kw_defaults]
    return {
        argument.arg: Parameter(argument.arg, _names(argument.annotation), _default(value), said.get(argument.arg, ""))
        for argument, value in zip(arguments, defaults, strict=True)
    }


def _arguments(docstring: str) -> dict[str, str]:
    """What the section `Args:` of a docstring says of each."""
    _, _, rest = docstring.partition("\nArgs:\n")
    section = re.split(r"\n(?=\S)", rest, maxsplit=1)[0]
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8,}.*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def _names(annotation: ast.expr | None) -> frozenset[str]:
    return (
        frozenset(node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)) if annotation else frozenset()
    )


def _default(value: ast.expr | None) -> Any:
    if value is None:
        return REQUIRED
    return None if isinstance(value, ast.Call) else ast.literal_eval(value)
