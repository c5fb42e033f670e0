"""The sandbox of model-written programs: bubblewrap and kernel limits.

bubblewrap gives a sandbox its own namespaces: no network, no processes but its own, of the host's files only the
system's and the interpreter's, read-only, an empty environment, and a temporary directory of limited size. When it
ends, or this process does, everything in it ends.
"""

import contextlib
import json
import os
import resource
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filters.execution import seccomp as sandbox_seccomp
from filters.execution.limit import PATIENCE
from filters.verdict import VerifierError, VerifierSettings

FILES = 64 * 2**20
"""Bytes that the temporary directory may hold."""

OUTPUT = 2**16
"""Bytes of output that are kept."""

PYTHON = os.path.abspath(sys.executable)

GRACE = 1.0
"""Seconds that the sandbox has beyond a program's own, to say how it ended."""

_SYSTEM = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/libx32", "/sbin", "/etc/alternatives", "/etc/ld.so.cache")

FOLDER = "/sandbox"
"""The one writable directory; not /tmp, since what has to be visible may lie there."""

_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "HOME": FOLDER,
    "TMPDIR": FOLDER,
    "OMP_NUM_THREADS": "1",  # numpy's memory grows with its threads
    "OPENBLAS_NUM_THREADS": "1",
}
"""The whole environment of a program and of the process that runs it, as the program can read both."""

_HINT = "install bubblewrap (Debian, Ubuntu, Fedora: package bubblewrap), or add `unsafe_no_sandbox`"


def sandbox_command(visible: Sequence[str] = (), *, proc: bool = False) -> list[str]:
    """The `bwrap` command in front of a program's. Writable is a new `FOLDER` of at most `FILES` bytes, held in memory.

    Args:
        visible: files and directories of the host that can be read beside the system's.
        proc: whether there is a `/proc`, of the sandbox's own processes; compilers find their libraries through it.
    """
    system = [path for path in _SYSTEM if os.path.exists(path)]
    command = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    for path in system:
        link = os.path.islink(path)
        command += ["--symlink", os.readlink(path), path] if link else ["--ro-bind", path, path]
    command += ["--dev", "/dev"]
    command += [*(["--proc", "/proc"] if proc else []), "--size", str(FILES), "--tmpfs", FOLDER]
    for path in dict.fromkeys(os.path.realpath(path) for path in visible):
        if not any(path.startswith(f"{one}/") for one in system):
            command += ["--ro-bind", path, path]
    command += ["--remount-ro", "/dev", "--remount-ro", "/"]
    return [*command, "--chdir", FOLDER, "--"]


def isolation_missing() -> str | None:
    """Why programs cannot be isolated here, and what to do; None if they can."""
    if not sandbox_seccomp.supported():
        return f"no filter of system calls is known for {os.uname().sysname} on {os.uname().machine}"
    if shutil.which("bwrap") is None:
        return f"programs of models run in a sandbox, and bubblewrap is missing: {_HINT}"
    tried = subprocess.run([*sandbox_command(), "true"], capture_output=True, text=True, env=_ENVIRONMENT)
    if tried.returncode:
        return f"bubblewrap does not work here ({tried.stderr.strip()[:200]}); are user namespaces allowed? Or {_HINT}"
    return None


def check_isolation(settings: VerifierSettings) -> None:
    """Refuse to run programs unprotected, unless that was asked for.

    Raises:
        VerifierError: isolation is not available; the message says what is missing.
    """
    if not settings.unsafe_no_sandbox and (problem := isolation_missing()):
        raise VerifierError(problem)


class PythonSandbox:
    """One sandbox with a warm interpreter (`filters.execution.server`), for one program after another."""

    def __init__(self, settings: VerifierSettings) -> None:
        check_isolation(settings)
        self._settings = settings
        self._server: subprocess.Popen[bytes] | None = None
        self._requests = 0

    def run(self, request: Mapping[str, Any], tests: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Run one program; see `filters.execution.server` for requests and results. A `{"fault": …}` is the sandbox's.

        Args:
            request: the program, and what it may know.
            tests: what only the tests' process may know.
        """
        settings = self._settings
        secret = b"" if tests is None else _framed(tests)
        self._requests += 1
        about = {"number": self._requests, "tests_size": len(secret)}
        body = _framed({**request, **about, "seconds": settings.time_limit, "memory": settings.memory_limit}) + secret
        for _ in range(2):  # a server that was killed meanwhile (out of memory) is started once more
            server = self._started()
            try:
                return _ask(server, body, self._requests, PATIENCE * settings.time_limit + GRACE)
            except (OSError, EOFError, ValueError):
                self.close()
        return {"fault": "the sandbox does not answer"}

    def _started(self) -> subprocess.Popen[bytes]:
        if self._server is not None and self._server.poll() is None:
            return self._server
        ours = str(Path(__file__).parents[2])
        start = f"import sys; sys.path.append({ours!r}); from filters.execution.server import main; main()"
        interpreter = [PYTHON, "-I", "-B", "-c", start]
        if self._settings.unsafe_no_sandbox:
            self._folder = tempfile.TemporaryDirectory()
            command = [*interpreter, self._folder.name]
        else:
            packages = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
            visible = [sys.base_prefix, sys.prefix, *filter(os.path.isdir, packages), str(Path(__file__).parents[1])]
            command = [*sandbox_command(visible), *interpreter, FOLDER]
        self._server = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_ENVIRONMENT,
            start_new_session=True,
        )
        return self._server

    def close(self) -> None:
        """End the sandbox, and all in it."""
        if self._server is not None:
            kill_tree(self._server)
            self._server = None


def _framed(message: Mapping[str, Any]) -> bytes:
    body = json.dumps(dict(message)).encode()
    return struct.pack("<I", len(body)) + body


def _ask(server: subprocess.Popen[bytes], body: bytes, number: int, seconds: float) -> dict[str, Any]:
    assert server.stdin is not None and server.stdout is not None
    server.stdin.write(body)
    server.stdin.flush()
    deadline = time.monotonic() + seconds
    while True:
        (size,) = struct.unpack("<I", _exactly(server.stdout.fileno(), 4, deadline))
        result: dict[str, Any] = json.loads(_exactly(server.stdout.fileno(), size, deadline))
        if result["number"] == number:  # else it came late, from tests that were killed as they wrote it
            return result


def _exactly(stream: int, size: int, deadline: float) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        if not select.select([stream], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise EOFError("no answer in time")
        part = os.read(stream, size - len(parts))
        if not part:
            raise EOFError("the sandbox ended")
        parts += part
    return bytes(parts)


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended: `status` is its exit status, None where it was killed at the time limit."""

    status: int | None
    output: str


def run(
    command: Sequence[str], files: Mapping[str, str], settings: VerifierSettings, visible: Sequence[str] = ()
) -> Ran:
    """Run one command on some files, isolated unless `settings.unsafe_no_sandbox`.

    Args:
        command: the program and its arguments; it is run in the directory of the files.
        files: their contents, by name.
        settings: time and memory limits.
        visible: what it needs of the host beside the system.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            Path(folder, name).write_text(text, encoding="utf-8", errors="replace")
        inner = [*(_copying(folder, files) if not settings.unsafe_no_sandbox else []), *command]
        process = subprocess.Popen(
            inner if settings.unsafe_no_sandbox else [*sandbox_command([folder, *visible], proc=True), *inner],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=_ENVIRONMENT,
            start_new_session=True,
            preexec_fn=lambda: _limit(settings),
        )
        output, on_time = _bounded(process, time.monotonic() + settings.time_limit)
        kill_tree(process)
        return Ran(process.returncode if on_time else None, output.decode("utf-8", "replace"))


def _copying(folder: str, files: Mapping[str, str]) -> list[str]:
    """A shell that brings the files into the sandbox's own directory, then becomes the command."""
    sources = [str(Path(folder, name)) for name in files]
    return [
        "/bin/sh",
        "-c",
        f'n={len(sources)}; while [ $n -gt 0 ]; do cp "$1" .; shift; n=$((n-1)); done; exec "$@"',
        "sh",
        *sources,
    ]


def _limit(settings: VerifierSettings) -> None:
    limits = {
        resource.RLIMIT_AS: max(settings.memory_limit, 4096)
        * 2**20,  # a Java or Node machine maps far more than it uses
        resource.RLIMIT_CPU: int(settings.time_limit) + 1,
        resource.RLIMIT_FSIZE: FILES,
        resource.RLIMIT_CORE: 0,
    }
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, value))


def _bounded(process: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, bool]:
    """The first bytes a process writes, until it ends; what is more is thrown away. And whether it ended in time."""
    assert process.stdout is not None
    stream, kept = process.stdout.fileno(), bytearray()
    while select.select([stream], [], [], max(0.0, deadline - time.monotonic()))[0]:
        part = os.read(stream, 2**16)
        if not part:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
                return bytes(kept), True
            break
        kept += part[: OUTPUT - len(kept)]
    return bytes(kept), False


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its session; within bubblewrap that ends everything that was started there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
