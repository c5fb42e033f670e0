"""What a person sees of a run while it goes on: a line that moves in a terminal, a line now and then in a log."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Self

import click

from cli.call import options_of
from synth.errors import with_options
from synth.generation.runner import Run

if TYPE_CHECKING:
    from rich.progress import Progress


LOG_EVERY = 15.0
"""Seconds between lines where standard error is no terminal."""


@asynccontextmanager
async def progress(run: Run, title: str, *, quiet: bool) -> AsyncIterator[None]:
    """Show how a run stands while the body drives it."""
    with Meter(title, quiet=quiet) as meter:
        task = asyncio.ensure_future(_watch(run, meter))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _watch(run: Run, meter: "Meter") -> None:
    rates = _Rates(run)
    while True:
        goal, done = rates.goal()
        meter.show(done, goal, rates.text())
        await asyncio.sleep(0.25)


class _Rates:
    """Rates since the start of this process: rows and tokens a second, and the time left."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.began = time.monotonic()
        self.usable, self.finished = run.usable, run.finished

    def text(self) -> str:
        run, record = self.run, self.run.sink.record
        seconds = max(time.monotonic() - self.began, 1e-6)
        rows = (run.usable - self.usable) / seconds
        into = run.prompt_tokens / seconds
        out = run.completion_tokens / seconds
        goal, done = self.goal()
        pace = (done - (self.usable if run.target is not None else self.finished)) / seconds
        left = [f"{clock((goal - done) / pace)} left"] if goal and pace > 0 else []
        return " · ".join(
            [*left, f"{rows:,.1f} rows/s", f"{record.rejected:,} rejected", f"tokens/s {into:,.0f} in, {out:,.0f} out"]
        )

    def goal(self) -> tuple[int | None, int]:
        """What the run heads for (accepted rows, or all rows), and how far it is."""
        if self.run.target is not None:
            return self.run.target, min(self.run.usable, self.run.target)
        return self.run.total, self.run.finished


class Meter:
    """A line that moves in a terminal, or a line now and then in a log; a context manager."""

    def __init__(self, title: str, *, unit: str = "rows", quiet: bool) -> None:
        self._title, self._unit = title, unit
        self._quiet = quiet
        self._said = time.monotonic()
        self._at: tuple[int, int | None] = (0, None)
        self._display: Progress | None = None
        if not quiet and sys.stderr.isatty():
            from rich import console, progress

            text = progress.TextColumn("{task.fields[text]}")
            columns = (progress.TextColumn(title), progress.BarColumn(12), progress.MofNCompleteColumn(), text)
            self._display = progress.Progress(
                *columns, console=console.Console(stderr=True), transient=True, refresh_per_second=4
            )
            self._line = self._display.add_task(title, total=None, text="")

    def show(self, done: int, goal: int | None, text: str) -> None:
        """Say how far it is."""
        self._at = done, goal
        if self._display is not None:
            self._display.update(self._line, completed=done, total=goal, text=text)
        elif not self._quiet and time.monotonic() - self._said > LOG_EVERY:
            self._said = time.monotonic()
            click.echo(f"{self._title}: {done:,}{f' of {goal:,}' if goal else ''} {self._unit} · {text}", err=True)

    def at(self, done: int, goal: int | None) -> None:
        """Note how far it is; said with what `tell` says."""
        self._at = done, goal

    def tell(self, text: str) -> None:
        """Say what goes on meanwhile, where it is as far as before."""
        self.show(*self._at, text)

    def __enter__(self) -> Self:
        if self._display is not None:
            self._display.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._display is not None:
            self._display.stop()


def clock(seconds: float) -> str:
    """Seconds as people read them: 7 s, 3:05, 2:03:05."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def say(message: str, quiet: bool) -> None:
    """A line for people, on standard error: above the line that moves, where there is one."""
    if not quiet:
        context = click.get_current_context(silent=True)
        line = with_options(message, options_of(context.command)) if context else message
        sys.stderr.write(f"{line}\n")  # click.echo would write past rich, into that line
        sys.stderr.flush()


def how_to_go_on(*, restart: bool) -> str:
    """What takes a stopped run up again; its command line may have --restart, which would throw it away."""
    return f"run the same command again{', without --restart,' if restart else ''} to go on"
