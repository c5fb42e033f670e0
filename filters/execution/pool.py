"""Worker processes that run one verifier, each check under a hard time limit.

A check may hang, crash, or eat memory: the text it looks at was written by a model. Its worker is killed then, with
whatever it started, and replaced; the check is `unscorable`, and no other is affected. Workers are new processes rather
than forks, since this one may hold a GPU.
"""

import asyncio
import glob
import json
import os
import pickle
import signal
import struct
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

from filters.execution.limit import PATIENCE
from filters.verdict import UNSCORABLE, Task, Verdict, VerifierError, VerifierSettings
from filters.verifiers.registry import entry_of

GRACE = 2.0
"""Seconds beyond the limit for verifiers that run programs: these keep the limit themselves, and say more about it."""

LONGEST = 1_000_000
"""Characters of a response; a longer one is unscorable unseen."""

START = 120.0
"""Seconds that a worker may take to start: some verifiers import a computer algebra system."""

REPLY = 16 * 2**20
"""Bytes of a reply; a worker that sends more is taken for broken."""

PYTHON = os.path.abspath(sys.executable)
"""This interpreter; its own name for itself may be relative to a directory that is left later."""

STARTS = 3
"""Workers that may die before they are ready, one after the other, until the pool gives up."""


class Pool:
    """See `open_pool`."""

    def __init__(self, settings: VerifierSettings) -> None:
        self._settings = settings
        self._pickled = _pickled(settings)
        sandboxed = entry_of(settings.name).sandboxed
        self._longest = PATIENCE * settings.time_limit + GRACE if sandboxed else settings.time_limit
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._waiting: deque[asyncio.Future[_Worker]] = deque()
        self._starting: set[asyncio.Task[None]] = set()
        self._failure: VerifierError | None = None

    async def check(self, response: str, task: Task) -> Verdict:
        """The verdict on one response. Thousands may be awaited at once; each waits for a free worker.

        Raises:
            VerifierError: the pool was closed, or its workers die as they start.
        """
        if len(response) > LONGEST:
            return Verdict(UNSCORABLE, None, f"longer than {LONGEST:,} characters")
        request = pickle.dumps((response, task), pickle.HIGHEST_PROTOCOL)
        # A worker may have been killed from outside, which says nothing of the response: when a whole run is, its
        # workers often go first, and a verdict on that would be kept.
        return (
            await self._asked(request) or await self._asked(request) or Verdict(UNSCORABLE, None, "the check crashed")
        )

    async def _asked(self, request: bytes) -> Verdict | None:
        """A worker's verdict; None where the worker died meanwhile."""
        worker = await self._take()
        try:
            verdict = await asyncio.wait_for(worker.ask(request), self._longest)
        except TimeoutError:
            self._replace(worker)
            return Verdict(UNSCORABLE, None, f"the check took longer than {self._settings.time_limit:g} s")
        except (EOFError, OSError, ValueError, RecursionError):
            if self._failure is not None:
                raise self._failure from None
            self._replace(worker)
            return None
        except asyncio.CancelledError:
            self._replace(worker)  # its reply would be taken for the next one's
            raise
        self._free(worker)
        return verdict

    async def close(self) -> None:
        """End the workers. Checks under way, or waiting, raise."""
        self._fail(VerifierError("the pool was closed"))
        for task in self._starting:
            task.cancel()
        await asyncio.gather(*self._starting, return_exceptions=True)
        await asyncio.gather(*(worker.end() for worker in list(self._all)))

    async def add_worker(self) -> None:
        """Start one worker.

        Raises:
            VerifierError: the verifier cannot work with these settings, or its workers die.
        """
        for _ in range(STARTS):
            worker = await _start()
            self._all.add(worker)
            try:
                reply = await asyncio.wait_for(worker.ask_raw(self._pickled), START)
            except (EOFError, OSError, ValueError, TimeoutError):
                await self._drop(worker)
                continue
            if "error" in reply:
                await self._drop(worker)
                raise VerifierError(str(reply["error"]))
            self._free(worker)
            return
        raise VerifierError("its worker processes die as they start")

    async def _take(self) -> "_Worker":
        if self._failure is not None:
            raise self._failure
        if self._idle:
            return self._idle.pop()
        waiting: asyncio.Future[_Worker] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled() and waiting.exception() is None:
                self._free(waiting.result())
            raise

    def _free(self, worker: "_Worker") -> None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(worker)
                return
        self._idle.append(worker)

    def _replace(self, worker: "_Worker") -> None:
        """Kill a worker now, and start another meanwhile."""
        worker.kill()
        if self._failure is None:
            task = asyncio.create_task(self._start_instead_of(worker))
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)

    async def _start_instead_of(self, worker: "_Worker") -> None:
        await self._drop(worker)
        try:
            await self.add_worker()
        except (VerifierError, OSError) as error:
            if not self._all:  # with others left, the pool goes on, with fewer
                self._fail(VerifierError(f"the verifier's workers cannot be started any more: {error}"))

    async def _drop(self, worker: "_Worker") -> None:
        self._all.discard(worker)
        await worker.end()

    def _fail(self, failure: VerifierError) -> None:
        """Whoever waits for a worker would wait for ever."""
        self._failure = failure
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_exception(failure)


async def open_pool(settings: VerifierSettings, workers: int | None = None) -> Pool:
    """Start the workers of a verifier: as many as this process may use CPUs, unless said otherwise.

    Raises:
        VerifierError: there is no such verifier, or it cannot work with these settings.
    """
    pool = Pool(settings)
    count = workers or len(os.sched_getaffinity(0))
    try:
        started = await asyncio.gather(*(pool.add_worker() for _ in range(count)), return_exceptions=True)
        for failure in started:
            if failure is not None:
                raise failure
    except BaseException:
        await pool.close()
        raise
    return pool


def _pickled(settings: VerifierSettings) -> bytes:
    """The settings for a worker, and where it finds the modules of a function of the user's.

    A function of a script or a notebook, which a worker cannot import, is sent by what it does.
    """
    if settings.function is None:
        return pickle.dumps(([], pickle.dumps(settings)))
    import dill

    try:
        pickled: bytes = dill.dumps(settings, recurse=True)
    except Exception as error:  # what a function refers to may raise anything
        raise VerifierError(
            f"it cannot be sent to a worker process ({type(error).__name__}: {error}): put it in a file, and give "
            "module:function"
        ) from error
    return pickle.dumps(([os.path.abspath(place) for place in sys.path], pickled))


class _Worker:
    """One process, and the pipes to it."""

    def __init__(self, process: asyncio.subprocess.Process, replies: asyncio.StreamReader, pipe: Any) -> None:
        self._process = process
        self._replies = replies
        self._pipe = pipe

    async def ask(self, request: bytes) -> Verdict:
        """One check; see `ask_raw`."""
        reply = await self.ask_raw(request)
        if reply.get("kind") not in ("right", "wrong", "unscorable"):
            raise ValueError("no verdict")
        answer, reason = (None if reply.get(key) is None else str(reply[key]) for key in ("answer", "reason"))
        return Verdict(reply["kind"], answer, reason)

    async def ask_raw(self, request: bytes) -> dict[str, Any]:
        """Send a request, and read the reply to it.

        Raises:
            EOFError, OSError, ValueError: the process died, or said something else.
        """
        stdin = self._process.stdin
        assert stdin is not None
        stdin.write(struct.pack("<I", len(request)) + request)
        await stdin.drain()
        (size,) = struct.unpack("<I", await self._replies.readexactly(4))
        if size > REPLY:
            raise ValueError("too long a reply")
        reply = json.loads(await self._replies.readexactly(size))
        if not isinstance(reply, dict):
            raise ValueError("no reply")
        return reply

    def kill(self) -> None:
        """End the process and what it started, in whatever session that is."""
        tree = _tree(self._process.pid) if self._process.returncode is None else []
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(
                self._process.pid, signal.SIGKILL
            )  # also what it left behind, unless that changed its process group
        for pid in tree:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    async def end(self) -> None:
        """Kill it, and wait until it is gone."""
        self.kill()
        with suppress(ProcessLookupError):
            await self._process.wait()
        self._pipe.close()


async def _start() -> _Worker:
    """A worker in a session of its own: it sees no Ctrl-C, and is killed with what it starts.

    It ends by itself when this process does, as its standard input ends.
    """
    loop = asyncio.get_running_loop()
    reading, writing = os.pipe()
    process = await asyncio.create_subprocess_exec(
        PYTHON,
        "-P",  # a folder in the working directory with the name of one of our packages is not imported
        "-m",
        "filters.execution.worker",
        str(writing),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        pass_fds=(writing,),
        start_new_session=True,
    )
    os.close(writing)
    reader = asyncio.StreamReader(limit=REPLY)
    pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb"))
    return _Worker(process, reader, pipe)


def _tree(pid: int) -> list[int]:
    """A process and those it has started, which are stopped as they are found so that none starts another."""
    processes = [pid]
    for one in processes:  # grows meanwhile
        with suppress(ProcessLookupError, PermissionError):
            os.kill(one, signal.SIGSTOP)
        for children in glob.glob(f"/proc/{one}/task/*/children"):
            with suppress(OSError):
                processes += map(int, Path(children).read_text().split())
    return processes
