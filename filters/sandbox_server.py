"""The process that lives in the sandbox, and forks one child for each run: warm, so that none waits for an interpreter.

It is started by `filters.sandbox`, reads no program, no test and no output's meaning: a request is a few settings and an
open file that only the child reads. So nothing of one run can be found in the memory of another.
"""

import gc
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from typing import Any

from filters import sandbox_kernel as kernel
from filters.sandbox_kernel import Limits

TICK = 0.02
"""Seconds between two looks at the memory in use."""

CHUNK = 1 << 16

WARM = (
    "abc array ast base64 bisect calendar cmath collections collections.abc contextlib copy dataclasses datetime "
    "decimal enum fractions functools hashlib heapq inspect io itertools json math numbers operator os pathlib queue "
    "random re statistics string struct textwrap threading time traceback types typing unittest uuid"
)
"""Modules that programs use most; each child has them imported already."""


def main() -> None:
    """Serve until the other side closes. The answer to each request is one JSON object."""
    control = socket.socket(fileno=0)
    settings = json.loads(sys.argv[1])
    sys.path += settings["packages"]
    for name in WARM.split():
        __import__(name)
    import filters.code_program
    import filters.code_tests  # noqa: F401 - imported before the first fork, not in every child

    server = Server(isolated=settings["isolated"])
    if server.isolated:
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    gc.collect()
    gc.freeze()
    _send(control, {"fresh": server.fresh})
    while True:
        head, files, *_ = socket.recv_fds(control, CHUNK, 1)
        if not head:
            return
        request = json.loads(head)
        try:
            answer = server.run(request["kind"], Limits(**request["limits"]), files[0], control.fileno())
        except OSError as error:
            answer = {"fault": str(error)}
        finally:
            os.close(files[0])
        _send(control, answer)


class Server:
    """Forks and watches.

    Attributes:
        isolated: it is in a sandbox; else only limits protect.
        fresh: each run has namespaces of its own; else the sandbox must not be used again.
    """

    def __init__(self, *, isolated: bool) -> None:
        self.isolated = isolated
        self.fresh = isolated and self._can_nest()
        if not isolated:
            kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
            kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        self._pids = os.open("/proc/self/ns/pid", os.O_RDONLY)
        self._own = _anonymous(os.getpid())

    def run(self, kind: str, limits: Limits, payload: int, control: int) -> dict[str, Any]:
        """One run, from fork to the death of everything that came of it."""
        out, err = os.pipe(), os.pipe()
        began = time.monotonic()
        pid = self._fork()
        if pid == 0:
            _child(kind, limits, payload, out[1], err[1], isolated=self.isolated, fresh=self.fresh)
        os.close(out[1])
        os.close(err[1])
        kept = {out[0]: bytearray(), err[0]: bytearray()}
        try:
            stopped = self._watch(pid, limits, began + limits.seconds, kept, control)
        finally:
            status = self._end(pid)
            for pipe in kept:
                _drain(pipe, kept[pipe], limits.output)
                os.close(pipe)
        text = [bytes(part).decode(errors="replace") for part in kept.values()]
        return {"status": status, "stopped": stopped, "out": text[0], "err": text[1]}

    def _fork(self) -> int:
        if not self.fresh:
            return os.fork()
        kernel.new_pid_namespace()
        try:
            return os.fork()
        finally:
            if os.getpid() != 1:
                kernel.back_to_pid_namespace(self._pids)

    def _watch(
        self, pid: int, limits: Limits, deadline: float, kept: dict[int, bytearray], control: int
    ) -> str | None:
        """Read what the child says until it ends, or has to be ended: then the reason, `time` or `memory`."""
        done = os.pidfd_open(pid)
        poll = select.poll()
        poll.register(done, select.POLLIN)
        poll.register(control, select.POLLRDHUP)
        for pipe in kept:
            os.set_blocking(pipe, False)
            poll.register(pipe, select.POLLIN)
        looked = time.monotonic()
        try:
            while True:
                now = time.monotonic()
                if now >= deadline:
                    return "time"
                if now - looked >= TICK:
                    looked = now
                    if self._memory() > limits.memory << 20:
                        return "memory"
                ready = {number for number, _ in poll.poll(1000 * min(TICK, deadline - now))}
                if control in ready:
                    sys.exit()  # nobody waits for an answer any more
                for pipe in ready & kept.keys():
                    if not _drain(pipe, kept[pipe], limits.output, most=16):
                        poll.unregister(pipe)
                if done in ready:
                    return None
        finally:
            os.close(done)

    def _memory(self) -> int:
        """Bytes in use by the run's processes, beyond what they share with this one since the fork."""
        return sum(max(0, _anonymous(pid) - self._own) for pid in self._family())

    def _family(self) -> list[int]:
        """Every process of the run."""
        own = os.getpid()
        pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
        if self.isolated:
            return [pid for pid in pids if pid not in (1, own)]
        parents = {pid: _parent(pid) for pid in pids}
        family = [own]
        for pid in family:  # grows as it goes
            family += [child for child, parent in parents.items() if parent == pid]
        return family[1:]

    def _end(self, pid: int) -> int:
        """Kill what is left of the run. The first child's exit status, or minus the signal that ended it."""
        if not self.fresh:
            for other in self._family():
                if other != pid:
                    _kill(other)
        _kill(pid)
        _, status = os.waitpid(pid, 0)  # process 1 of a namespace takes all others with it before it is gone
        while not self.fresh and (family := self._family()):
            for other in family:
                _kill(other)
            with suppress(ChildProcessError):
                os.waitpid(-1, 0)
        return os.waitstatus_to_exitcode(status)

    def _can_nest(self) -> bool:
        """Whether the kernel gives namespaces within the sandbox's."""
        self._pids = os.open("/proc/self/ns/pid", os.O_RDONLY)
        self.fresh = True
        try:
            pid = self._fork()
        except OSError:
            return False
        if pid == 0:
            with suppress(BaseException):
                kernel.new_namespaces(1, hide_processes=True)
                kernel.new_pid_namespace()
                os._exit(0)
            os._exit(1)
        _, status = os.waitpid(pid, 0)
        return status == 0


def _child(
    kind: str, limits: Limits, payload: int, out: int, err: int, *, isolated: bool, fresh: bool
) -> None:
    """Become the run: new namespaces, limits, then what was asked for. Never returns."""
    status = 255
    try:
        gc.enable()
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        payload = os.dup(payload) if payload < 6 else payload
        os.dup2(out, 1)
        os.dup2(err, 2)
        kernel.close_files([0, 1, 2, payload])
        if fresh:
            kernel.new_namespaces(limits.disk, hide_processes=kind != "command")
        elif isolated:
            os.chdir("/tmp")
        kernel.limit(limits, limits.processes)
        status = _RUNS[kind](limits, payload, fresh, isolated)
    except BaseException as error:
        with suppress(BaseException):
            os.write(2, f"sandbox: {type(error).__name__}: {error}".encode())
    finally:
        os._exit(status)
