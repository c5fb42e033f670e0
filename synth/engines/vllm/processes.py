"""vLLM's processes: started apart from the terminal, ended with this one, and what they said where they fail."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import IO

from synth.quiet import debugging

Watchdog = subprocess.Popen[bytes]

_PREFIX = re.compile(r"^(\(.*?\) )?[A-Z]+ [\d-]+ [\d:]+ \[.*?\] ")
"""Of a line that vLLM logs: the process, the level, the time, the place in its code."""
_OF_PYDANTIC = re.compile(r"^(?:(\S.*)\n)?  (\S(?:.|\n)*?) \[type=", re.MULTILINE)
"""A setting, unless it is about all of them together, and what is wrong; its type, the value and a link follow."""


def new_log() -> IO[str]:
    """Where vLLM's processes write; it lives as long as they do."""
    return tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")


@contextmanager
def apart(log: IO[str]) -> Iterator[None]:
    """Start vLLM's processes, or import it, apart from the terminal.

    What they print goes to `log`, unless it is wanted. They do not see the terminal's Ctrl-C either, as rows in flight
    are to be finished first: a signal that is blocked here stays blocked in processes started here.
    """
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING" if debugging() else "ERROR")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")  # GiB; read on a CPU only
    streams = (1, 2)
    sys.stderr.flush()
    saved = [os.dup(stream) for stream in streams]
    for stream in () if debugging() else streams:
        os.dup2(log.fileno(), stream)
    resource_tracker.ensure_running()  # apart as well; started later, by vLLM, it would unblock the signal
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        sys.stderr.flush()
        for stream, original in zip(streams, saved, strict=True):
            os.dup2(original, stream)
            os.close(original)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def end_quietly() -> None:
    """Silence standard error at exit: nanobind would print over 30 lines about what vLLM's modules leaked."""
    sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def descendants() -> set[int]:
    """The processes that this one has started, and those started by them."""
    import psutil

    return {child.pid for child in psutil.Process().children(recursive=True)}


def watchdog(before: set[int]) -> Watchdog:
    """A process that outlives this one and kills vLLM's if it dies without closing the engine.

    They would otherwise keep running and hold the GPU's memory. It waits for a line, or for the end of the pipe.

    Args:
        before: the descendants from before vLLM started its own.
    """
    started = sorted(descendants() - before)
    command = ["sh", "-c", 'read -r _ || kill -9 "$@"', "watchdog", *map(str, started)]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, start_new_session=True)


def last_error(log: IO[str]) -> str:
    """What vLLM's output says of the last error that it names."""
    log.seek(0)
    lines = [_PREFIX.sub("", line) for line in log]
    named = [number for number, line in enumerate(lines) if "Error" in line]
    return gist("".join(lines[named[-1] :])) if named else "it left no message"


def gist(message: str) -> str:
    """A message that may be a page long in a line: its first, and of pydantic's each setting with what is wrong."""
    head, _, rest = message.strip().partition("\n")
    if "validation error" in head:
        wrong = [": ".join(filter(None, found)) for found in _OF_PYDANTIC.findall(rest)]
        head = "; ".join(wrong) or head
    return " ".join(head.split())[:300] or "no message"
