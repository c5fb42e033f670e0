"""The command line as tests run it: in this process, where the model libraries are loaded once, or to be killed."""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from cli.main import main
from synth.data.read import open_source

SYNTH = [sys.executable, "-c", "from cli.main import main; main()"]
_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload(["cli.main", "datasets", "synth.methods.magpie", "synth.training.run"])
FOREIGN = ("warn", "deprecat", "site-packages", "[w", "traceback", "leaked", "nanobind", "parallelism")


def synth(*arguments: object) -> int:
    """Run a command here; its exit status."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert isinstance(stop.value.code, int)
    return stop.value.code


def of_libraries(said: str) -> list[str]:
    """The lines that a library below has to say, or Python."""
    return [line for line in said.splitlines() if any(word in line.lower() for word in FOREIGN)]


def load(path: Path) -> list[dict[str, Any]]:
    """The rows of a data set or a file."""
    return [row for batch in open_source(str(path)).batches() for row in batch.to_pylist()]


class Command(_FORKED.Process):  # type: ignore[name-defined, misc]
    """`synth …` in a process of its own that lacks only the imports, which take five seconds of every other."""

    def __init__(
        self,
        *arguments: object,
        program: Callable[[list[str]], Any] = main,
        folder: Path | None = None,
        variables: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        """Not started yet.

        Args:
            arguments: of the command line.
            program: what runs with them.
            folder: where it runs.
            variables: of its environment, beside those of this process.
        """
        super().__init__()
        self._arguments, self._program, self._folder = [str(one) for one in arguments], program, folder
        more = {name: str(value) for name, value in variables.items()}
        self._environment = os.environ | {"OMP_NUM_THREADS": "1"} | more
        self._files = [tempfile.mkstemp(prefix=f"{stream}-") for stream in ("stdout", "stderr")]
        for handle, _ in self._files:
            os.close(handle)

    def run(self) -> None:
        """In that process."""
        import torch

        os.environ.clear()
        os.environ.update(self._environment)
        sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
        os.chdir(self._folder or ".")
        for stream, (_, file) in enumerate(self._files, 1):
            os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND), stream)
        torch.set_num_threads(1)
        self._program(self._arguments)

    def __enter__(self) -> "Command":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.join()
        for _handle, file in self._files:
            Path(file).unlink()

    def send(self, number: signal.Signals) -> None:
        """A signal."""
        assert self.pid is not None
        os.kill(self.pid, number)

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.send(signal.SIGINT)

    def wait(self, seconds: float = 300) -> int:
        """Its exit status, that of a signal below zero."""
        self.join(seconds)
        assert self.exitcode is not None, f"it does not end: {self.said[-2000:]}"
        status: int = self.exitcode
        return status

    @property
    def printed(self) -> str:
        """What it has written to standard output."""
        return self._written(0)

    @property
    def said(self) -> str:
        """What it has written to standard error."""
        return self._written(1)

    def _written(self, number: int) -> str:
        return Path(self._files[number][1]).read_text(encoding="utf-8", errors="replace")


def code(arguments: list[str]) -> None:
    """A program that is Python's `-c`."""
    source, *sys.argv[1:] = arguments
    exec(source, {"__name__": "__main__"})


def forked(
    *arguments: object,
    program: Callable[[list[str]], Any] = main,
    folder: Path | None = None,
    variables: Mapping[str, object] = MappingProxyType({}),
) -> "subprocess.CompletedProcess[str]":
    """A `Command` to its end; told as `subprocess` does."""
    with Command(*arguments, program=program, folder=folder, variables=variables) as process:
        return subprocess.CompletedProcess([*map(str, arguments)], process.wait(), process.printed, process.said)


def start_and_kill(command: list[object], journal: Path, rows: int) -> None:
    """Run a command in a process of its own, and kill it once its journal holds so many rows."""
    with Command(*command) as child:
        while child.is_alive() and not (journal.exists() and journal.read_bytes().count(b"\n") >= rows):
            time.sleep(0.01)
        assert child.is_alive(), f"it was done before it could be killed: {child.said[-2000:]}"
