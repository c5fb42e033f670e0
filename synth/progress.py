"""Progress of a run: lines of text, and a meter that updates in place in a terminal or logs now and then.

Every function of the library reports to a `Progress`. It writes to standard error; a subclass can take lines and
meters elsewhere.
"""

import sys
import time
import unicodedata
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, Self

from synth.errors import with_options

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

LOG_EVERY = 15.0
"""Seconds between lines where standard error is no terminal."""


class Meter(Protocol):
    """A meter of how far a run is."""

    def show(self, done: int, goal: int | None, text: str) -> None:
        """Show that `done` of `goal` (None where it is unknown) are done, with `text` beside it."""
        ...

    def at(self, done: int, goal: int | None) -> None:
        """Record how far it is, for `tell`."""
        ...

    def tell(self, text: str) -> None:
        """Show a new text without further progress."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """Reports progress to standard error.

    Attributes:
        quiet: print nothing.
        options: how settings are written in messages, as in `synth.errors.with_options`; by default as in Python.
    """

    quiet: bool = False
    options: Mapping[str, str] = field(default_factory=dict)

    def say(self, line: str) -> None:
        """Write one line."""
        if not self.quiet:
            sys.stderr.write(printable(with_options(line, self.options)) + "\n")
            sys.stderr.flush()

    def meter(self, title: str, unit: str = "rows") -> AbstractContextManager[Meter]:
        """A meter that is shown while its context lasts."""
        return _StderrMeter(title, unit, self)


SILENT = Progress(quiet=True)
"""Says nothing."""


class _StderrMeter:
    """A line that updates in place in a terminal; in a log, a line now and then."""

    def __init__(self, title: str, unit: str, progress: Progress) -> None:
        self._title, self._unit, self._progress = title, unit, progress
        self._said = time.monotonic()
        self._at: tuple[int, int | None] = (0, None)
        self._bar: Bar | None = None
        if not progress.quiet and sys.stderr.isatty():
            from rich import console
            from rich import progress as bars

            text = bars.TextColumn("{task.fields[text]}")
            columns = (bars.TextColumn(title), bars.BarColumn(12), bars.MofNCompleteColumn(), text)
            terminal = console.Console(stderr=True)
            self._bar = bars.Progress(*columns, console=terminal, transient=True, refresh_per_second=4)
            self._line = self._bar.add_task(title, total=None, text="")

    def show(self, done: int, goal: int | None, text: str) -> None:
        """See `Meter.show`."""
        self._at = done, goal
        if self._bar is not None:
            self._bar.update(self._line, completed=done, total=goal, text=text)
        elif time.monotonic() - self._said > LOG_EVERY:
            self._said = time.monotonic()
            self._progress.say(f"{self._title}: {done:,}{f' of {goal:,}' if goal else ''} {self._unit} · {text}")

    def at(self, done: int, goal: int | None) -> None:
        """See `Meter.at`."""
        self._at = done, goal

    def tell(self, text: str) -> None:
        """See `Meter.tell`."""
        self.show(*self._at, text)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()


def printable(text: str) -> str:
    """A text that cannot move the cursor or colour the terminal: control characters are escaped."""
    return "".join(
        char if char in "\n\t" or unicodedata.category(char)[0] != "C" else repr(char)[1:-1] for char in text
    )


def clock(seconds: float) -> str:
    """Seconds as people read them: 7 s, 3:05, 2:03:05."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
