"""Names with settings, as they are written: `NAME`, or `NAME:VALUE,…,SETTING=VALUE,…`.

The settings of a name are the parameters of the function that makes it, and what is written is read by their types.
Values without a setting's name fill the settings in their order.
"""

import inspect
from collections.abc import Callable
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

from filters.names import near_or_all
from synth.errors import UsageError

_MOST = 2.0**31
"""Upper bound of numbers in settings, as what takes them may count in C integers."""


def read_settings(maker: Callable[..., Any], own_name: str, text: str) -> tuple[list[Any], dict[str, Any]]:
    """The values that are written, in their order and by name.

    Args:
        maker: the function whose parameters are the settings.
        own_name: what it is called in the notation.
        text: what is written after the name and its colon.

    Raises:
        UsageError: a setting is unknown, missing, given twice or of another type.
    """
    settings = settings_of(maker)
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
            known = near_or_all(name, by_name) if by_name else "; it has none"
            raise UsageError(f"there is no setting {name}{known}")
        elif left := [setting for setting in unnamed if setting.name not in named]:
            named[left[0].name] = _value(left[0], part)
        else:
            raise UsageError(f"{part} is one value too many; it is written {pattern(maker, own_name)}")
    for setting in by_name.values():
        if setting.default is setting.empty and setting.name not in named:
            raise UsageError(f"{setting.name} is missing; it is written {pattern(maker, own_name)}")
    return values, named


def settings_of(maker: Callable[..., Any]) -> list[inspect.Parameter]:
    """The settings of a name: the parameters of what makes it."""
    return list(inspect.signature(maker).parameters.values())


def _value(setting: inspect.Parameter, text: str) -> Any:
    """A value as its setting's type has it."""
    kind = setting.annotation
    if get_origin(kind) is UnionType:
        kinds = [one for one in get_args(kind) if one is not NoneType]
        kind = str if str in kinds else kinds[0]
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise UsageError(f"{setting.name} is one of {', '.join(get_args(kind))}, not {text}")
        return text
    if kind is str:
        return text
    try:
        number = float(text)
        if not abs(number) < _MOST or (kind is int and not number.is_integer()):  # also false for NaN
            raise ValueError
        return kind(number)
    except ValueError as error:
        wanted = "a whole number" if kind is int else "a number"
        raise UsageError(f"{setting.name} is {wanted}, not {text}") from error


def written(setting: inspect.Parameter) -> str:
    """A setting as one writes it: its default, or its name in capitals where it has none."""
    if setting.kind == setting.VAR_POSITIONAL:
        return f"{setting.name.upper().removesuffix('S')},…"
    if setting.default is setting.empty:
        return setting.name.upper()
    return f"{setting.name}={'' if setting.default is None else setting.default}"


def pattern(maker: Callable[..., Any], name: str) -> str:
    """How a name is written with its settings."""
    settings = ",".join(map(written, settings_of(maker)))
    return f"{name}:{settings}" if settings else name
