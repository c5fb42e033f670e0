"""The command line as tests run it: in this process, where the model libraries are loaded once, or to be killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cli.main import main
from synth.data.read import open_source

SYNTH = [sys.executable, "-c", "from cli.main import main; main()"]
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


def start_and_kill(command: list[object], journal: Path, rows: int) -> None:
    """Run a command in a process of its own, and kill it once its journal holds so many rows."""
    child = subprocess.Popen(
        [*SYNTH, *map(str, command)], env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL
    )
    while child.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") >= rows):
        time.sleep(0.01)
    assert child.poll() is None, "it was done before it could be killed"
    child.send_signal(signal.SIGKILL)
    child.wait()
