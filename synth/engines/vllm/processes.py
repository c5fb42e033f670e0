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
from multiprocessing.process import BaseProcess
from multiprocessing.util import register_after_fork
from typing import IO

from synth.quiet import debugging

_WATCH = r"""
end() {
    kill -STOP "$1"
    for child in $(grep -ls "^PPid:.$1\$" /proc/[0-9]*/status); do
        child=${child#/proc/}
        end "${child%/status}"
    done
    kill -KILL "$1"
}
while read -r process; do
    [ "$process" = done ] && exit
    started="$started $process"
done
for process in $started; do end "$process"; done
"""
"""Ends processes and all that these have started: each is stopped first, so that it starts no more meanwhile."""

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


class Watchdog:
    """A process that outlives this one and kills vLLM's if it dies without closing the engine.

    They would otherwise keep running and hold the GPU's memory. It is there before any of them, and told of each as it
    is started, for a model may load for minutes. It waits until it is dismissed, or for the end of the pipe.
    """

    def __init__(self) -> None:
        """Start it."""
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(
            ["sh", "-c", _WATCH], stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, start_new_session=True
        )
        assert self._process.stdin is not None
        self._pipe = self._process.stdin
        register_after_fork(self, Watchdog._leave)  # a child that holds the pipe, too, would keep it from ending

    @contextmanager
    def told(self) -> Iterator[None]:
        """Tell it of each process of `multiprocessing`, as vLLM's are, that the body starts; it ends if that fails."""
        start = BaseProcess.start

        def told(process: BaseProcess) -> None:
            start(process)
            self._pipe.write(b"%d\n" % (process.pid or 0))
            self._pipe.flush()

        BaseProcess.start = told  # type: ignore[assignment, method-assign]  # the one place that all kinds of them pass
        try:
            yield
        except BaseException:
            self.dismiss()  # vLLM has ended them itself
            raise
        finally:
            BaseProcess.start = start  # type: ignore[method-assign]

    def dismiss(self) -> None:
        """End it: nothing is to be killed any more."""
        self._process.communicate(b"done\n")

    def _leave(self) -> None:
        self._pipe.close()


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
