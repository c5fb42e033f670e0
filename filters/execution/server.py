"""Runs inside the sandbox: a warm interpreter that forks a process for each program, and one for its tests.

What that gives up beside a new interpreter for each program: programs start with the modules of `_WARM` loaded, and
share the sandbox's file system, whose only writable part (a temporary directory of limited size) is emptied after each.
Each program has a process of its own under kernel limits, and a filter of system calls (`filters.execution.seccomp`)
under which it can start, signal or look into no other process, so that nothing of it outlives it or reaches this one.

Requests come on standard input, results go to standard output: JSON, length first, with the number of the request. The
tests follow their request. They are passed on to the tests' process within the kernel, and the result comes from there:
what was ever in this process' memory can be found in that of every program it forks.
"""

import atexit
import contextlib
import gc
import importlib
import json
import math
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

from filters.execution.checks import judge
from filters.execution.limit import TimeLimit
from filters.execution.program_process import module, serve
from filters.execution.seccomp import confine, prepare

_WARM = """
    array bisect cmath collections copy dataclasses datetime decimal enum fractions functools heapq itertools json math
    operator queue random re statistics string sys time typing
"""

_REQUESTS, _RESULTS = 254, 255
"""File descriptors of requests and results; no program has them."""

_REPORTED = 77
"""Exit status of tests that have written their result."""

OUTPUT = 2**20
"""Bytes a program may write to standard output."""

FILES = 64
"""Files a program may have open."""

FILE_BYTES = 2**24
"""Bytes a program may write to one file."""


def main() -> None:
    """Serve until standard input ends."""
    for name in _WARM.split():
        importlib.import_module(name)
    os.dup2(0, _REQUESTS)
    os.dup2(1, _RESULTS)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.chdir(sys.argv[1])
    prepare()
    gc.collect()
    gc.freeze()  # what is here now is left alone by the collectors of those that are forked: touching it copies it
    while (request := _read(_REQUESTS)) is not None:
        run = _run_tests if request["kind"] == "tests" else _run_cases
        result = run(request, TimeLimit(request["seconds"]))
        if result is not None:
            _send(request["number"], result)


def _run_tests(request: dict[str, Any], limit: TimeLimit) -> dict[str, Any] | None:
    """The program in one process, its tests in another; None where the tests have written the result themselves."""
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()  # ends when the tests do
    here, there = os.pipe()
    program = _fork(request, lambda: serve(request["program"], theirs), keep=theirs.fileno())
    tests = _fork(
        request,
        lambda: _report(request["number"], judge(ours, _read(here))),
        keep=(ours.fileno(), writing, here, _RESULTS),
    )
    for one in (ours.detach(), theirs.detach(), writing, here):
        os.close(one)
    limit.counts(program)
    limit.counts(tests)
    _pass_on(request["tests_size"], there)
    _, on_time = _collect(reading, limit, 0)
    status = _end(tests, limit, wait=on_time)
    _end(program, limit)
    _clean_up()
    if status == f"status {_REPORTED}":
        return None
    return {"failed": f"the tests died ({status})"} if on_time and status is not None else {"late": True}


def _pass_on(size: int, there: int) -> None:
    """Move so many bytes from the requests to a pipe, unread; what its reader does not want is thrown away."""
    while size:
        try:
            moved = os.splice(_REQUESTS, there, size)
            size = size - moved if moved else 0  # nothing: who asked is gone
        except BrokenPipeError:
            os.close(there)
            there = os.open(os.devnull, os.O_WRONLY)
    os.close(there)


def _report(number: int, result: dict[str, Any]) -> None:
    """Write a result, in one piece, as the tests' process; this process never sees it."""
    result = {key: value[:600] if isinstance(value, str) else value for key, value in result.items()}
    _send(number, result)
    os._exit(_REPORTED)


def _send(number: int, result: dict[str, Any]) -> None:
    body = json.dumps(result | {"number": number}).encode()
    _write(_RESULTS, struct.pack("<I", len(body)) + body)


def _run_cases(request: dict[str, Any], limit: TimeLimit) -> dict[str, Any]:
    """The program once for each input; what it writes to standard output."""
    outputs = []
    for given in request["inputs"]:
        source = os.memfd_create("input")  # no file: the program may have left no room for one
        _write(source, given.encode("utf-8", "replace"))
        os.lseek(source, 0, os.SEEK_SET)
        reading, writing = os.pipe()
        process = _fork(request, lambda: _as_script(request["program"]), stdin=source, stdout=writing)
        limit.counts(process)
        os.close(source)
        os.close(writing)
        said, on_time = _collect(reading, limit, OUTPUT)
        status = _end(process, limit, wait=on_time and len(said) <= OUTPUT)
        _clean_up()
        if not on_time or status is None:
            return {"late": True}
        if len(said) > OUTPUT:
            return {"failed": f"it writes more than {OUTPUT:,} bytes"}
        if status:
            return {"failed": f"it ended with {status}"}
        outputs.append(said.decode("utf-8", "replace"))
    return {"outputs": outputs}


def _as_script(source: str) -> None:
    """Run a program as `python program.py` would; the exit status tells how it ended.

    As there, threads are waited for, then what was registered with `atexit` is run, then output is flushed.
    """
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    status: Any = 0
    try:
        exec(compile(source, "program", "exec"), module("__main__").__dict__)
    except SystemExit as stop:
        status = stop.code
    except BaseException:
        status = 1
    if "threading" in sys.modules:
        sys.modules["threading"]._shutdown()
    atexit._run_exitfuncs()
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    os._exit(status if isinstance(status, int) else 0 if status is None else 1)


def _fork(
    request: dict[str, Any],
    work: Callable[[], None],
    *,
    keep: int | tuple[int, ...] = (),
    stdin: int | None = None,
    stdout: int | None = None,
) -> int:
    """A confined child process that does `work`, with no file descriptor but those named; its id."""
    process = os.fork()
    if process:
        return process
    try:
        if stdin is not None:
            os.dup2(stdin, 0)
        if stdout is not None:
            os.dup2(stdout, 1)
        kept = sorted({0, 1, 2, *((keep,) if isinstance(keep, int) else keep)})
        for low, high in zip(kept, [*kept[1:], os.sysconf("SC_OPEN_MAX")], strict=True):
            os.closerange(low + 1, high)
        limits = {
            resource.RLIMIT_AS: request["memory"] * 2**20,
            resource.RLIMIT_CPU: math.ceil(request["seconds"]) + 1,
            resource.RLIMIT_FSIZE: FILE_BYTES,
            resource.RLIMIT_NOFILE: FILES,
            resource.RLIMIT_CORE: 0,
        }
        for limit, value in limits.items():
            resource.setrlimit(limit, (value, value))
        sys.argv = ["program.py"]
        confine()
        work()
    except BaseException:
        os._exit(1)
    os._exit(0)


def _collect(reading: int, limit: TimeLimit, most: int) -> tuple[bytes, bool]:
    """What comes out of a pipe until it ends, or until there is more than `most`; and whether that was on time."""
    parts = bytearray()
    while len(parts) <= most:
        left = limit.left()
        if not left:
            os.close(reading)
            return bytes(parts), False
        if not select.select([reading], [], [], left)[0]:
            continue
        part = os.read(reading, 2**16)
        if not part:
            break
        parts += part
    os.close(reading)
    return bytes(parts), True


def _end(process: int, limit: TimeLimit, *, wait: bool = False) -> str | None:
    """Kill a process, unless it is to end by itself within the limit.

    In words, how it ended by itself: empty for well, None where it did not.
    """
    if wait:
        while not (ended := os.wait4(process, os.WNOHANG))[0] and limit.left():
            time.sleep(0.001)
        if ended[0]:
            limit.ended(process, ended[2].ru_utime + ended[2].ru_stime)
            return None if _was_killed(ended[1]) and limit.used_up else _how(ended[1])  # by RLIMIT_CPU, before us
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
    _, status, used = os.wait4(process, 0)
    limit.ended(process, used.ru_utime + used.ru_stime)
    return None if _was_killed(status) else _how(status)


def _was_killed(status: int) -> bool:
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def _how(status: int) -> str:
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return f"status {os.WEXITSTATUS(status)}" if os.WEXITSTATUS(status) else ""


def _clean_up() -> None:
    """Remove what a program left behind, whatever modes it set, and however deep it lies."""
    folder = sys.argv[1]
    os.chmod(folder, 0o700)
    os.chdir(folder)
    while entries := [*os.scandir(folder)]:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
                continue
            os.chmod(entry.path, 0o700)
            for inner in [*os.scandir(entry.path)]:  # brought up, so that no path grows too long
                if inner.is_dir(follow_symlinks=False):
                    os.chmod(inner.path, 0o700)
                    os.rename(inner.path, os.path.join(folder, os.urandom(16).hex()))
                else:
                    os.unlink(inner.path)
            os.rmdir(entry.path)


def _read(stream: int) -> Any:
    """One request; None at the end."""
    head = _read_exactly(stream, 4)
    if len(head) < 4:
        return None
    return json.loads(_read_exactly(stream, *struct.unpack("<I", head)))


def _read_exactly(stream: int, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size and (part := os.read(stream, size - len(parts))):
        parts += part
    return bytes(parts)


def _write(stream: int, data: bytes) -> None:
    while data:
        data = data[os.write(stream, data) :]


if __name__ == "__main__":
    main()
