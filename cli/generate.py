"""What every generating command does: check, open, run, sum up."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from typing import Any, BinaryIO

import click

from cli.main import debugging
from cli.progress import clock, progress
from synth.chat import ChatFormat, format_for
from synth.engines.base import EngineOptions
from synth.engines.open import choose_engine, model_revision, open_engine
from synth.output import StreamSink, open_output
from synth.record import RunRecord
from synth.row import BASE, Row
from synth.runner import Method, Run, Sink
from synth.versions import versions


@dataclass(frozen=True, slots=True)
class Job:
    """What one generating command does, beside running a model.

    Attributes:
        command: its name.
        settings: what decides its rows, beside the model (JSON values).
        method: makes the method for an engine and a chat format; raises UsageError for settings that cannot work.
        rows: makes, from all settings and the model's name, the rows to complete, from an index on.
        target: accepted rows wanted, or None.
        key: names what must be unique, or None.
    """

    command: str
    settings: dict[str, Any]
    method: Callable[[Any, ChatFormat], Method]
    rows: Callable[[dict[str, Any], str], Callable[[int], Iterator[Row]]]
    target: int | None = None
    key: Callable[[Row], int] | None = None


def generate(job: Job, *, model: str, given: dict[str, Any]) -> None:
    """Run a job with the options of `engine_options` and `output_options`.

    Raises:
        UsageError: something is wrong with the settings; no model was loaded.
        RunError: the run broke off; what was finished is kept.
        click.exceptions.Exit: status 1 where the run was stopped or fell short of its target.
    """
    quiet_libraries()
    chat = format_for(model, prefix=given["prefix"], stop=given["stop"])
    job.method(None, chat)  # what cannot work is found before a model is loaded
    kind, why = choose_engine(given["engine"])
    settings = {
        "revision": model_revision(model),
        "engine": kind,
        "prefix": given["prefix"],
        "stop": given["stop"],
        "dtype": given["dtype"],
        "max_length": given["max_length"],
        **job.settings,
    }
    quiet: bool = given["quiet"]
    with claimed_stdout() as stream:
        record = RunRecord(job.command, settings, model, versions(kind), asked=job.target)
        sink = open_output(given["output"], stream, record, BASE, restart=given["restart"])
        record = sink.record
        if job.target is not None and record.accepted >= job.target:
            sink.finish()
            say(f"{given['output']} already holds {record.accepted:,} rows; give a larger -n for more", quiet)
            return
        if sink.next or sink.ahead:
            say(f"going on with {given['output']}: {record.accepted:,} rows are there", quiet)
        options = EngineOptions(
            **{field.name: given[field.name] for field in fields(EngineOptions) if field.name in given}
        )
        say(f"engine {kind} ({why}); loading {model}", quiet)
        asyncio.run(_run(job, sink, chat, options, given))


async def _run(job: Job, sink: Sink, chat: ChatFormat, options: EngineOptions, given: dict[str, Any]) -> None:
    quiet: bool = given["quiet"]
    model = sink.record.model or ""
    began = time.monotonic()
    try:
        engine = await open_engine(given["engine"], model, chat.tokenizer, options)
    except BaseException:
        sink.pause()
        raise
    say(f"{engine.description}, ready in {clock(time.monotonic() - began)}", quiet)
    rows = job.rows(sink.record.settings, model)
    run = Run(job.method(engine, chat), rows, sink, [engine.usage], options.concurrency, job.target, job.key)
    began, rows_before = time.monotonic(), sink.record.accepted
    try:
        with interruptible(run, quiet):
            async with progress(run, job.command, quiet=quiet):
                await run.go()
    finally:
        await engine.close()
    summary(run, given["output"], time.monotonic() - began, rows_before, quiet)
    if run.gave_up:
        click.echo(f"synth: {sink.record.note}", err=True)
        raise click.exceptions.Exit(1)
    if run.stopping and not (run.target is not None and sink.record.accepted >= run.target):
        if isinstance(sink, StreamSink):
            say("stopped", quiet)
        else:
            say("stopped; run the same command again to go on", quiet)
        raise click.exceptions.Exit(1)


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
    total = record.accepted + record.rejected
    where = f" in {output}" if output else ""
    say(f"{record.accepted:,} rows{where}; {record.rejected:,} of {total:,} attempts rejected", quiet)
    for reason, count in sorted(record.reasons.items(), key=lambda item: (-item[1], item[0])):
        say(f"  {count:>7,}  {reason}", quiet)
    if record.rejected and output is None:
        say("  rejected rows are not kept on standard output; with -o they are", quiet)
    if run.surplus and not run.stopping:
        say(f"  {run.surplus:,} more rows were begun and not needed", quiet)
    rate = max(seconds, 1e-6)
    say(
        f"{clock(seconds)}: {made / rate:,.1f} rows/s; tokens {into:,} in ({into / rate:,.0f}/s), "
        f"{out:,} out ({out / rate:,.0f}/s)",
        quiet,
    )


def say(message: str, quiet: bool) -> None:
    """A line for people, on standard error."""
    if not quiet:
        click.echo(message, err=True)


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


def quiet_libraries() -> None:
    """Keep the chatter of model libraries out of a person's terminal; --debug lets it through."""
    if debugging():
        return
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
