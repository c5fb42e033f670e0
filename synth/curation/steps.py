"""How filters are written: `NAME`, or `NAME:VALUE,…,SETTING=VALUE,…`; or `module:function`, a function of the user's.

The settings of a name are the parameters of the function that makes it, and what is written is read by their types.
Values without a setting's name fill the settings in their order.
"""

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

import polars as pl

from synth.curation.context import FilterContext
from synth.curation.filters import FILTERS
from synth.curation.pipeline import Filter, Step, nearest
from synth.curation.selections import SELECTIONS
from synth.errors import UsageError

StepKind = Literal["filter", "keep"]

MAKERS: dict[StepKind, Mapping[str, Callable[..., Filter]]] = {"filter": FILTERS, "keep": SELECTIONS}
_MOST = 2.0**31
"""No setting is a larger number: filters count in what C does."""


@dataclass(frozen=True, slots=True)
class Described:
    """A filter by name, for people: how its settings are written, and what it removes or keeps."""

    name: str
    settings: str
    says: str


def described(kind: StepKind) -> list[Described]:
    """All filters of a kind."""
    return [
        Described(name, ",".join(map(_written, _settings(make))), (make.__doc__ or "").split("\n", 1)[0])
        for name, make in MAKERS[kind].items()
    ]


def steps_of(asked: Sequence[tuple[StepKind, str]], shop: FilterContext) -> list[Step]:
    """The steps that are asked for, in their order.

    Raises:
        UsageError: one cannot be: unknown, with wrong settings, or with a file that cannot be read.
    """
    steps: list[Step] = []
    for kind, text in asked:
        name, find = _made(kind, text, shop)
        number = 1 + sum(step.name.partition(" (")[0] == name for step in steps)
        steps.append(Step(text, name if number == 1 else f"{name} ({number})", find, kind == "keep"))
    return steps


def _made(kind: StepKind, text: str, shop: FilterContext) -> tuple[str, Filter]:
    name, colon, rest = text.partition(":")
    make = MAKERS[kind].get(name)
    if make is None:
        other: StepKind = "keep" if kind == "filter" else "filter"
        if name in MAKERS[other]:
            raise UsageError(f"--{kind} {text}: write --{other} {text}; {name} says which rows to {_verb(other)}")
        is_import = colon and rest.isidentifier() and all(part.isidentifier() for part in name.split("."))
        if is_import and not get_close_matches(name, MAKERS[kind], cutoff=0.8):
            return rest, _own(kind, text, name, rest)
        raise UsageError(f"there is no --{kind} {name}{nearest(name, MAKERS[kind])} (synth filter --list says more)")
    try:
        values, named = _read(make, rest)
        return name, make(*([shop] if "shop" in inspect.signature(make).parameters else []), *values, **named)
    except (UsageError, ValueError) as error:
        raise UsageError(f"--{kind} {text}: {error}") from error


def _verb(kind: StepKind) -> str:
    return "keep" if kind == "keep" else "remove"


def _read(make: Callable[..., Filter], text: str) -> tuple[list[Any], dict[str, Any]]:
    """The values that are written, in their order and by name."""
    settings = _settings(make)
    by_name = {setting.name: setting for setting in settings if setting.kind != setting.VAR_POSITIONAL}
    several = next((setting for setting in settings if setting.kind == setting.VAR_POSITIONAL), None)
    unnamed = list(by_name.values())
    values: list[Any] = []
    named: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if equals and name in by_name:
            if name in named:
                raise UsageError(f"{name} is given twice")
            named[name] = _value(by_name[name], value)
        elif several is not None:
            values.append(part)
        elif equals:
            known = nearest(name, by_name) if by_name else "; it has none"
            raise UsageError(f"there is no setting {name}{known}")
        elif left := [setting for setting in unnamed if setting.name not in named]:
            named[left[0].name] = _value(left[0], part)
        else:
            raise UsageError(f"{part} is one value too many; it is written {_pattern(make)}")
    for setting in by_name.values():
        if setting.default is setting.empty and setting.name not in named:
            raise UsageError(f"{setting.name} is missing; it is written {_pattern(make)}")
    return values, named


def _settings(make: Callable[..., Filter]) -> list[inspect.Parameter]:
    return [setting for name, setting in inspect.signature(make).parameters.items() if name != "shop"]


def _value(setting: inspect.Parameter, text: str) -> Any:
    """A value as its setting's type has it."""
    kind = setting.annotation
    if get_origin(kind) is UnionType:
        kind = next(one for one in get_args(kind) if one is not NoneType)
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise UsageError(f"{setting.name} is one of {', '.join(get_args(kind))}, not {text}")
        return text
    try:
        number = float(text) if kind in (int, float) else None
        if number is None:
            return kind(text)
        if not abs(number) < _MOST or (kind is int and not number.is_integer()):  # NaN is not below, either
            raise ValueError
        return kind(number)
    except ValueError as error:
        wanted = "a whole number" if kind is int else "a number" if kind is float else f"no {kind.__name__.lower()}"
        raise UsageError(f"{setting.name} is {wanted}, not {text}" if kind in (int, float) else str(error)) from error


def _written(setting: inspect.Parameter) -> str:
    """A setting as one writes it: its default, or its name in capitals where it has none."""
    if setting.kind == setting.VAR_POSITIONAL:
        return f"{setting.name.upper().removesuffix('S')},…"
    if setting.default is setting.empty:
        return setting.name.upper()
    return f"{setting.name}={'' if setting.default is None else setting.default}"


def _pattern(make: Callable[..., Filter]) -> str:
    settings = ",".join(map(_written, _settings(make)))
    name = make.__name__.replace("_", "-")
    return f"{name}:{settings}" if settings else name


def _own(kind: StepKind, text: str, module: str, name: str) -> Filter:
    """A user's function of the frame: it returns reasons, or whether each row stays, as a series or an expression."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `python -m` has it: the user's module lies where the command is run
    try:
        function = getattr(importlib.import_module(module), name)
    except (Exception, SystemExit) as error:  # a user's module may raise anything, and be a script that ends
        raise UsageError(f"--{kind} {text} cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(function):
        raise UsageError(f"--{kind} {text} is no function")

    def find(frame: pl.DataFrame) -> Any:
        try:
            found = function(frame)
            if isinstance(found, pl.Expr):
                found = frame.select(found.alias("reason")).to_series()
        except Exception as error:  # a user's code may raise anything
            raise ValueError(f"it failed: {type(error).__name__}: {error}") from error
        if isinstance(found, pl.Series) and found.dtype == pl.Boolean:
            return pl.select(pl.when(found.fill_null(False)).then(None).otherwise(pl.lit("false"))).to_series()
        return found

    return find
