"""What every generating command does: check, open, run, sum up."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

import click
import pyarrow as pa

from cli.cast import Cast, Casting
from cli.progress import clock, how_to_go_on, progress, say
from synth.data.output import StreamSink, open_output, refuse_early
from synth.data.prompts import PromptSet
from synth.data.row import BASE, Row
from synth.data.run.record import RunRecord
from synth.data.run.versions import versions
from synth.generation.runner import Method, Quota, Run, Sink


@dataclass(frozen=True, slots=True)
class Job:
    """What one generating command does, beside running models.

    Attributes:
        command: its name.
        settings: what decides its rows, beside the cast (JSON values).
        method: makes the method for a cast; raises UsageError for settings that cannot work.
        rows: makes, from all settings and the model's name, the rows to complete, from an index on.
        schema: the columns of what comes out.
        target: accepted rows wanted, or None.
        tasks: the rows that go in, or None where there are none.
        key: names what must be unique, or None.
        kinds: rows of which equally many are wanted, or None.
        check_references: whether the tasks' references are looked at before a model is loaded.
        started: is told of the run before its first row.
        also_read: files and directories that are read, where the source of `tasks` is not the name of one.
    """

    command: str
    settings: dict[str, Any]
    method: Callable[[Cast], Method]
    rows: Callable[[dict[str, Any], str], Callable[[int], Iterator[Row]]]
    schema: pa.Schema = BASE
    target: int | None = None
    tasks: PromptSet | None = None
    key: Callable[[Row], int] | None = None
    kinds: Quota | None = None
    check_references: bool = True
    started: Callable[[Run], None] = lambda _: None
    also_read: Sequence[str] = ()

    @property
    def total(self) -> int | None:
        """How many rows there are to work on, where that is known."""
        return self.tasks.total if self.tasks else None


def task_job(
    command: str, tasks: PromptSet, added: pa.Schema, settings: dict[str, Any], method: Callable[[Cast], Method]
) -> Job:
    """A job that completes the rows of a data set one by one.

    Args:
        command: its name, and that of its method.
        tasks: the rows.
        added: the columns that the method adds.
        settings: what decides the rows, beside the cast and the input.
        method: as in `Job`.
    """
    return Job(
        command,
        settings | {"input": tasks.fingerprint},
        method,
        rows=lambda recorded, _: tasks.rows(command, recorded, added),
        schema=tasks.schema(added),
        tasks=tasks,
    )


def generate(job: Job, casting: Casting) -> RunRecord:
    """Run a job with the options of `engine_options` and `output_options`.

    Returns:
        What is known of the run, now that it is complete.

    Raises:
        UsageError: something is wrong with the settings; no model was loaded.
        RunError: the run broke off; what was finished is kept.
        click.exceptions.Exit: status 1 where the run was stopped or fell short of its target.
    """
    given = casting.given

    def fresh() -> RunRecord:
        return RunRecord(
            job.command,
            casting.settings() | job.settings,
            casting.models.get("model"),
            versions(*casting.packages()),
            source=job.tasks.source.source if job.tasks else None,
            asked=job.target,
        )

    refuse_early(given["output"], fresh, restart=given["restart"])
    job.method(casting.named())  # what cannot work is found before a model is loaded
    quiet: bool = given["quiet"]
    with claimed_stdout() as stream:
        sink = open_output(
            given["output"], stream, fresh(), job.schema, restart=given["restart"], also_read=job.also_read
        )
        record = sink.record
        if (job.target is not None and record.accepted >= job.target) or sink.next == job.total:
            sink.finish()
            more = "; give a larger -n for more" if job.target is not None else ""
            say(f"{given['output'] or 'done'} already holds {record.accepted:,} rows{more}", quiet)
            return record
        if sink.next or sink.ahead:
            done = sink.next + len(sink.ahead)
            say(f"going on with {given['output']}: {done:,} attempts are done, and stay", quiet)
        asyncio.run(_run(job, casting, sink))
        return record


async def _run(job: Job, casting: Casting, sink: Sink) -> None:
    given, quiet = casting.given, casting.given["quiet"]
    async with AsyncExitStack() as stack:
        try:
            cast = await casting.open(stack, job.tasks if job.check_references else None, quiet)
        except BaseException:
            sink.pause()
            raise
        rows = job.rows(sink.record.settings, casting.models.get("model", ""))
        usages = list({id(one.engine): one.engine.usage for one in cast.chat_models.values()}.values())
        concurrency: int = given["concurrency"]
        run = Run(job.method(cast), rows, sink, usages, concurrency, job.target, job.key, job.kinds, job.total)
        job.started(run)
        began, rows_before = time.monotonic(), sink.record.accepted
        with interruptible(run, quiet):
            async with progress(run, job.command, quiet=quiet):
                await ended(run)
    summary(run, given["output"], time.monotonic() - began, rows_before, quiet)
    if run.gave_up:
        click.echo(f"synth: {sink.record.note}", err=True)
        raise click.exceptions.Exit(1)
    if run.stopping and not run.complete:
        if isinstance(sink, StreamSink):
            say("stopped", quiet)
        else:
            say(f"stopped; {how_to_go_on(restart=given['restart'])}", quiet)
        raise click.exceptions.Exit(1)


async def ended(run: Run) -> None:
    """Drive a run to its end, and leave its sink finished, or paused."""
    try:
        await run.go()
    except BaseException:
        run.sink.pause()
        raise
    if run.complete:
        run.sink.finish(run.sink.record.note)
    else:
        run.sink.pause()


@contextmanager
def interruptible(run: Run, quiet: bool) -> Iterator[None]:
    """Ctrl-C (and SIGTERM) finish the rows in flight; a second one abandons them."""
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        if not run.stopping:
            say(f"finishing {run.in_flight} rows in flight; once more to abandon them", quiet)
        run.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def summary(run: Run, output: str | None, seconds: float, rows_before: int, quiet: bool) -> None:
    """The closing lines: rows, reasons, and the rates of this process."""
    record: RunRecord = run.sink.record
    into, out = run.prompt_tokens, run.completion_tokens
    made = record.accepted - rows_before
    closing_lines(record, run.sink.next, output, quiet)
    if run.surplus and not run.stopping:
        say(f"  {run.surplus:,} more rows were begun and not needed", quiet)
    rate = max(seconds, 1e-6)
    tokens = f"; tokens {into:,} in ({into / rate:,.0f}/s), {out:,} out ({out / rate:,.0f}/s)" if run.usages else ""
    say(f"{clock(seconds)}: {made / rate:,.1f} rows/s{tokens}", quiet)
    if record.cost is not None:
        say(f"cost: {record.cost:,.6g}", quiet)


def closing_lines(record: RunRecord, attempts: int, output: str | None, quiet: bool) -> None:
    """How many rows there are, of which methods and verdicts, and why the others are not."""
    where = f" in {output}" if output else ""
    say(f"{record.accepted:,} rows{where}; {record.rejected:,} of {attempts:,} attempts rejected", quiet)
    for counts in (record.methods, record.verdicts):
        if len(counts) > 1 or counts is record.verdicts:
            for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
                say(f"  {count:>7,}  {name}", quiet)
    for reason, count in sorted(record.reasons.items(), key=lambda item: (-item[1], item[0])):
        say(f"  {count:>7,}  {reason}", quiet)
    if record.rejected and output is None:
        say("  rejected rows are not kept on standard output; with -o they are", quiet)


@contextmanager
def claimed_stdout() -> Iterator[BinaryIO]:
    """Standard output for rows alone: whatever libraries print there meanwhile goes to standard error."""
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    stream = open(saved, "wb", closefd=False)  # noqa: SIM115
    try:
        yield stream
        stream.flush()
    finally:
        with suppress(OSError):
            stream.close()
        sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)
