"""How the end of a program's process is told."""

import os
import resource
import signal
from collections.abc import Callable

import pytest

from filters.execution.limit import TimeLimit
from filters.execution.server import _end


def ended(work: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> str | None:
    """What is said of a process that does some work, where nobody came to end it in time."""
    limit = TimeLimit(0.5)
    monkeypatch.setattr(limit, "left", lambda: 1.0)
    if not (process := os.fork()):
        work()
        os._exit(0)
    limit.counts(process)
    return _end(process, limit, wait=True)


def compute() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (1, 1))
    while True:
        pass


def test_one_whose_processor_time_the_kernel_ends_did_not_end_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ended(compute, monkeypatch) is None


def test_one_that_kills_itself_did(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ended(lambda: os.kill(os.getpid(), signal.SIGKILL), monkeypatch) == "SIGKILL"
    assert ended(lambda: os._exit(3), monkeypatch) == "status 3"
    assert ended(lambda: None, monkeypatch) == ""
