"""What commands still share that drive a run themselves: its end, its interruption, its closing lines."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from cli.progress import say
from synth.data.run.record import RunRecord
from synth.generation.runner import Run


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
