"""Steps of a curation: a filter or a selection with its settings.

A filter is a function marked `removes`, a selection one marked `keeps`. Its parameters but the first are its settings,
with their defaults; its first line is what `synth filter --list` says of it. Marked so, it takes the settings and gives
a `Step`; the mark puts it into the registry that the command line and `synth.filters` show.
"""

import inspect
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any, Concatenate, Literal, ParamSpec

from synth.curation.context import FilterContext
from synth.curation.judging import Compared, Filter

P = ParamSpec("P")
StepKind = Literal["filter", "keep"]
"""Whether a step says which rows to remove, or which to keep."""


@dataclass(frozen=True, slots=True)
class Step:
    """A filter or a selection with its settings, as `synth.filter` takes them.

    Attributes:
        kind: whether it removes what it finds or keeps what it chooses.
        text: as it is written on the command line, `length:min=20`.
        name: what its reasons begin with.
        make: makes the filter, once it is known what it filters.
    """

    kind: StepKind
    text: str
    name: str
    make: Callable[[FilterContext], Filter | Compared] = field(repr=False, compare=False)


MAKERS: dict[StepKind, dict[str, Callable[..., Step]]] = {"filter": {}, "keep": {}}
"""All filters and selections, by their names on the command line."""

_MARKED: dict[tuple[StepKind, str], Callable[..., Filter | Compared]] = {}


def removes(make: Callable[Concatenate[FilterContext, P], Filter | Compared]) -> Callable[P, Step]:
    """Mark a function that makes a filter."""
    return _registered("filter", make)


def keeps(make: Callable[Concatenate[FilterContext, P], Filter | Compared]) -> Callable[P, Step]:
    """Mark a function that makes a selection: a filter that gives a reason to each row that is not chosen."""
    return _registered("keep", make)


def _registered(kind: StepKind, make: Callable[Concatenate[FilterContext, P], Filter | Compared]) -> Callable[P, Step]:
    name = re.sub(r"(?<!^)(?=[A-Z])", "-", make.__name__).lower()
    signature = inspect.signature(make)
    settings = list(signature.parameters.values())[1:]

    @wraps(make)
    def step(*values: P.args, **named: P.kwargs) -> Step:
        written = [*map(_written, values), *(f"{setting}={_written(value)}" for setting, value in named.items())]
        text = f"{name}:{','.join(written)}" if written else name
        public.bind(*values, **named)  # a TypeError where a setting is missing or unknown
        paths = [os.fspath(value) if isinstance(value, os.PathLike) else value for value in values]
        return Step(kind, text, name, partial(_made, kind, name, paths, named))

    public = signature.replace(parameters=settings, return_annotation=Step)
    step.__signature__ = public  # type: ignore[attr-defined]
    MAKERS[kind][name] = step
    _MARKED[kind, name] = make
    return step


def _made(
    kind: StepKind, name: str, values: Sequence[Any], named: Mapping[str, Any], context: FilterContext
) -> Filter | Compared:
    """What a marked function makes, found by its name: so a step can go to another process."""
    return _MARKED[kind, name](context, *values, **named)


def _written(value: object) -> str:
    return "" if value is None else str(value)
