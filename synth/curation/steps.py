"""The notation of steps: `NAME`, or `NAME:VALUE,…,SETTING=VALUE,…`; or `module:function`, a function of the user's.

`synth.notation` reads the settings.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import polars as pl

from filters.names import ImportPathError, function_at, is_import_path, near_or_all
from synth.curation import filters, selections
from synth.curation.context import FilterContext
from synth.curation.judging import Compared, OpenStep, held
from synth.curation.registry import MAKERS, Step, StepKind
from synth.errors import UsageError
from synth.notation import read_settings, settings_of, written

__all__ = ["filters", "selections"]  # their steps are registered as they are imported
AnyStep = Step | str | Callable[[pl.DataFrame], Any]
"""A step, its text, or a user's function of the frame: a reason or null for each row, or whether it stays."""


@dataclass(frozen=True, slots=True)
class Described:
    """A filter for the list: its name, the notation of its settings, and what it removes or keeps."""

    name: str
    settings: str
    says: str


def described(kind: StepKind) -> list[Described]:
    """All filters of a kind."""
    return [
        Described(name, ",".join(map(written, settings_of(maker))), (maker.__doc__ or "").split("\n", 1)[0])
        for name, maker in MAKERS[kind].items()
    ]


def read_step(kind: StepKind, text: str) -> Step:
    """Parse a step.

    Raises:
        UsageError: its name or a setting is unknown, or it cannot be imported.
    """
    name, _, rest = text.partition(":")
    maker = MAKERS[kind].get(name)
    if maker is None:
        other: StepKind = "keep" if kind == "filter" else "filter"
        if name in MAKERS[other]:
            raise UsageError(f"`{kind}` {text}: write `{other}` {text}; {name} says which rows to {_verb(other)}")
        if is_import_path(text) and not get_close_matches(name, MAKERS[kind], cutoff=0.8):
            try:
                own = function_at(text)
            except ImportPathError as error:
                raise UsageError(f"`{kind}` {error}") from error
            return Step(kind, text, rest, lambda _: _own_filter(own))
        raise UsageError(
            f"there is no `{kind}` {name}{near_or_all(name, MAKERS[kind])} (synth filter --list says more)"
        )
    try:
        values, named = read_settings(maker, name, rest)
    except UsageError as error:
        raise UsageError(f"`{kind}` {text}: {error}") from error
    return replace(maker(*values, **named), text=text)


def steps_of(given: AnyStep | Sequence[AnyStep]) -> list[Step]:
    """One step or several, each as it is, or as it is written; a function of the user's is a filter of its name.

    Raises:
        UsageError: what is written cannot be read, or is neither text, step nor function.
    """
    if isinstance(given, Sequence) and not isinstance(given, str):
        return [_step_of(one) for one in given]
    return [_step_of(given)]


def _step_of(step: AnyStep) -> Step:
    if isinstance(step, Step):
        return step
    if isinstance(step, str):
        return read_step("keep" if step.partition(":")[0] in MAKERS["keep"] else "filter", step)
    if not callable(step):
        raise UsageError(f"`steps`: {step!r:.100} is no step: a filter of `synth.filters`, its text, or a function is")
    name = getattr(step, "__name__", type(step).__name__)
    return Step("filter", f"{getattr(step, '__module__', '')}:{name}", name, lambda _: _own_filter(step))


def open_steps(steps: Sequence[Step], context: FilterContext) -> list[OpenStep]:
    """The steps made ready, in their order.

    Raises:
        UsageError: one cannot be, by its settings or by the columns there are, or it reads a file that cannot be read.
    """
    opened: list[OpenStep] = []
    for step in steps:
        try:
            find = step.make(context)
        except (UsageError, ValueError) as error:
            raise UsageError(f"`{step.kind}` {step.text}: {error}") from error
        number = 1 + sum(before.name.partition(" (")[0] == step.name for before in opened)
        name = step.name if number == 1 else f"{step.name} ({number})"
        opened.append(OpenStep(step.text, name, find, step.kind == "keep", step.make))
    return opened


def _verb(kind: StepKind) -> str:
    return "keep" if kind == "keep" else "remove"


def _own_filter(function: Callable[[pl.DataFrame], Any]) -> Compared:
    """A user's function of the frame: it returns reasons, or whether each row stays, as a series or an expression."""

    def find(frame: pl.DataFrame) -> Any:
        try:
            answer = function(frame)
            if isinstance(answer, pl.Expr):
                answer = frame.select(answer.alias("reason")).to_series()
        except Exception as error:  # a user's code may raise anything
            raise ValueError(f"it failed: {type(error).__name__}: {error}") from error
        if isinstance(answer, pl.Series) and answer.dtype == pl.Boolean:
            return pl.select(pl.when(answer.fill_null(False)).then(None).otherwise(pl.lit("false"))).to_series()
        return answer

    return held(lambda frame: frame, find)
