"""Processes beside this one in which filters of single rows judge blocks.

Some filters work in Python, one thread at a time (languages, personal data). A process makes its own filters of the
same steps, is handed one block after another, and ends with this one, whatever ends it.
"""

import os
import pickle
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from typing import Any, BinaryIO, Self

from synth.curation.context import FilterContext
from synth.curation.frames import Block
from synth.curation.judging import OpenStep, Outcome, Pending, judge
from synth.engines.loading import remote_code, remote_code_allowed
from synth.errors import RunError, UsageError
from synth.interpreter import python


class Processes:
    """A `Judge` of several processes; they are started as there are blocks for them, and end with the context."""

    def __init__(self, count: int, context: FilterContext) -> None:
        self._setup = pickle.dumps((list(context.columns), context.seed, context.device, remote_code_allowed()))
        self._count = count
        self._own = threading.local()
        self._started: list[subprocess.Popen[bytes]] = []
        self._threads = ThreadPoolExecutor(count)  # each waits for a process of its own

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in self._started:
            process.kill()
        self._threads.shutdown()
        for process in self._started:
            process.communicate()

    def judge(self, steps: Sequence[OpenStep], pending: Iterable[Pending]) -> Iterator[tuple[Block, list[Outcome]]]:
        """See `Judge`.

        Raises:
            UsageError: a filter failed, or gave something else than a reason for each row.
            RunError: a process ended.
            Exception: what else a filter raised.
        """
        if not steps:
            yield from ((block, []) for block, _ in pending)
            return
        made = [(step.text, step.name, step.make) for step in steps]
        waiting: deque[tuple[Block, Future[list[Outcome]]]] = deque()
        for block, left in pending:
            waiting.append((block, self._threads.submit(self._ask, (made, block, left))))
            if len(waiting) > self._count:
                block, outcomes = waiting.popleft()
                yield block, outcomes.result()
        for block, outcomes in waiting:
            yield block, outcomes.result()

    def _ask(self, task: Any) -> list[Outcome]:
        """What this thread's process says of a block."""
        process = getattr(self._own, "process", None) or self._start()
        try:
            pickle.dump(task, process.stdin, pickle.HIGHEST_PROTOCOL)
            process.stdin.flush()
            fault, outcomes = pickle.load(process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            raise RunError(
                f"a process that judges rows ended (exit status {process.wait()}), perhaps for want of memory: run "
                "this again, with fewer `processes`"
            ) from error
        if fault is not None:
            raise fault
        found: list[Outcome] = outcomes
        return found

    def _start(self) -> Any:
        call = python("from synth.curation.processes import work; work()")
        pipe = subprocess.PIPE
        process = subprocess.Popen(call, stdin=pipe, stdout=pipe, start_new_session=True)  # Ctrl-C is for this one
        self._own.process = process
        self._started.append(process)
        assert process.stdin is not None
        process.stdin.write(self._setup)
        return process


def work() -> None:
    """Judge the blocks that come through standard input, until it ends."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no reply
    import_module("synth.curation.steps")  # what steps are made by is registered as it is imported
    columns, seed, device, allowed = pickle.load(sys.stdin.buffer)
    with remote_code(allowed=allowed):
        _answer(sys.stdin.buffer, replies, FilterContext(columns, seed, device, piped=True))


def _answer(requests: BinaryIO, replies: BinaryIO, context: FilterContext) -> None:
    opened: dict[str, OpenStep] = {}
    while True:
        try:
            steps, block, left = pickle.load(requests)
        except EOFError:
            return
        fault: Exception | None = None
        outcomes = None
        try:
            for text, name, make in steps:
                opened[name] = opened.get(name) or OpenStep(text, name, make(context))
            outcomes = judge([opened[name] for _, name, _ in steps], block, left)
        except ValueError as error:
            fault = UsageError(str(error))
        except Exception as error:  # a fault of a filter's, which the other process raises as its own
            fault = _portable(error)
        pickle.dump((fault, outcomes), replies, pickle.HIGHEST_PROTOCOL)
        replies.flush()


def _portable(error: Exception) -> Exception:
    """An exception that another process can read: itself, or what it says."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # its class may be made in any way
        return RunError(f"{type(error).__name__}: {error}")
    return error
