"""What a person sees of a run while it goes on: a line that moves in a terminal, a line now and then in a log."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import click

from synth.runner import Run

LOG_EVERY = 15.0
"""Seconds between lines where standard error is no terminal."""


@asynccontextmanager
async def progress(run: Run, title: str, *, quiet: bool) -> AsyncIterator[None]:
    """Show how a run stands while the body drives it."""
    if quiet:
        yield
        return
    watch = _in_terminal(run, title) if sys.stderr.isatty() else _in_log(run, title)
    task = asyncio.ensure_future(watch)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


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


async def _in_terminal(run: Run, title: str) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    rates = _Rates(run)
    columns = (TextColumn(title), BarColumn(12), MofNCompleteColumn(), TextColumn("{task.fields[text]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=4) as display:
        line = display.add_task(title, total=rates.goal()[0], text="")
        while True:
            display.update(line, completed=rates.goal()[1], text=rates.text())
            await asyncio.sleep(0.25)


async def _in_log(run: Run, title: str) -> None:
    rates = _Rates(run)
    while True:
        await asyncio.sleep(LOG_EVERY)
        goal, done = rates.goal()
        click.echo(f"{title}: {done:,}{f' of {goal:,}' if goal else ''} rows · {rates.text()}", err=True)


def clock(seconds: float) -> str:
    """Seconds as people read them: 7 s, 3:05, 2:03:05."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def say(message: str, quiet: bool) -> None:
    """A line for people, on standard error."""
    if not quiet:
        click.echo(message, err=True)
