"""Rewards that measure a completion: its length, its language, how much it repeats, whether it has a form."""

import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from synth.errors import RunError, UsageError
from synth.notation import read_settings
from synth.rl.batch import Batch, Values


class Measure(Protocol):
    """A part that needs nothing but the completions."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    def values(self, batch: Batch) -> Values:
        """A number for each completion. Runs in a thread."""
        ...


@dataclass(frozen=True, slots=True)
class Length:
    """See `length`."""

    target: int | None
    max: int | None
    unit: Literal["tokens", "characters", "words"]
    name = "length"

    def values(self, batch: Batch) -> Values:
        """See `Measure.values`.

        Raises:
            UsageError: tokens are to be counted, and the trainer gives none.
        """
        if self.unit != "tokens":
            texts = [completion.text for completion in batch.completions]
            return [self._value(len(text.split() if self.unit == "words" else text)) for text in texts]
        if batch.completion_ids is None:
            raise UsageError("length counts tokens, and there are no `completion_ids`: take unit=characters or words")
        return [self._value(len(ids)) for ids in batch.completion_ids]

    def _value(self, length: int) -> float:
        if self.target is not None:
            return 0.0 - min(1.0, abs(length - self.target) / self.target)
        if self.max is not None:
            return 0.0 - min(1.0, max(0, length - self.max) / self.max)
        return float(length)


@dataclass(frozen=True, slots=True)
class Language:
    """See `language`."""

    codes: tuple[str, ...]
    name = "language"

    def values(self, batch: Batch) -> Values:
        """See `Measure.values`.

        Raises:
            RunError: see `_writable`.
        """
        import polars as pl

        from filters.language import language as other_language

        found = other_language(self.codes)(pl.DataFrame({"text": _writable(batch)}, schema={"text": pl.String}))
        return [float(reason is None) for reason in found]


@dataclass(frozen=True, slots=True)
class Repetition:
    """See `repetition`."""

    n: int
    name = "repetition"

    def values(self, batch: Batch) -> Values:
        """See `Measure.values`.

        Raises:
            RunError: see `_writable`.
        """
        import polars as pl

        from filters.heuristics import repeated_share

        shares = pl.DataFrame({"answer": _writable(batch)}, schema={"answer": pl.String}).select(repeated_share(self.n))
        return [0.0 - share for share in shares.to_series()]


def length(
    target: int | None = None, max: int | None = None, unit: Literal["tokens", "characters", "words"] = "tokens"
) -> Length:
    """0 at the target or up to the maximum, -1 at twice as much; without either, the length itself."""
    if target is not None and max is not None:
        raise UsageError("a length has a target or a maximum, not both")
    for given in (target, max):
        if given is not None and given < 1:
            raise UsageError(f"a length is at least 1, not {given}")
    return Length(target, max, unit)


def language(*codes: str) -> Language:
    """1 in one of these languages, 0 in another: language:en,de; short texts and code count as right."""
    from filters.language import language as other_language

    if not codes:
        raise UsageError("name the languages that are right, as in language:en,de")
    try:
        other_language(codes)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return Language(codes)


def repetition(n: int = 5) -> Repetition:
    """The share of word n-grams that occurred before, below zero: -1 repeats everything."""
    if n < 1:
        raise UsageError(f"an n-gram has at least one word, not {n}")
    return Repetition(n)


MEASURES: dict[str, Callable[..., Measure]] = {"length": length, "language": language, "repetition": repetition}
"""What makes each measure, by its name."""


def read_measure(text: str) -> Measure:
    """A measure as it is written: `length:max=512`.

    Raises:
        UsageError: a setting is unknown, or has no such value.
    """
    name, _, rest = text.partition(":")
    try:
        values, named = read_settings(MEASURES[name], name, rest)
        return MEASURES[name](*values, **named)
    except UsageError as error:
        raise UsageError(f"`rewards` {text}: {error}") from error


_HALF = re.compile("[\ud800-\udfff]")
_of_a_fork: list[str] = []
"""Libraries whose threads a fork has left behind in the process that it was made of."""


def _note_fork() -> None:
    _of_a_fork[:] = {"polars"} & sys.modules.keys()


os.register_at_fork(after_in_child=_note_fork)


def _writable(batch: Batch) -> Sequence[str]:
    """What completions say, as columns can hold it: a tokenizer may leave half of a character.

    Raises:
        RunError: this is a fork in which polars would wait for its threads for ever.
    """
    if _of_a_fork:
        raise RunError(
            "language and repetition are measured with polars, which does not work in a fork of a process that has "
            "imported it: start the process by spawn"
        )
    return [_HALF.sub("\ufffd", completion.text) for completion in batch.completions]
