"""Worker processes that run one verifier, each check under a hard time limit.

A check may hang, crash, or eat memory: the text it looks at was written by a model. Its worker is killed then, with
whatever it started, and replaced; the check is `unscorable`, and no other is affected. Workers are new processes rather
than forks, since this one may hold a GPU.
"""

import asyncio
import json
import os
import pickle
import signal
import struct
import sys
from collections import deque
from contextlib import suppress
from typing import Any

from filters.verdict import UNSCORABLE, Settings, Task, Verdict, VerifierError

GRACE = 2.0
"""Seconds beyond the limit: verifiers that run programs keep the limit themselves, and say more about it."""

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

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._waiting: deque[asyncio.Future[_Worker]] = deque()
        self._closed = False

    async def check(self, response: str, task: Task) -> Verdict:
        """The verdict on one response. Thousands may be awaited at once; each waits for a free worker."""
        if len(response) > LONGEST:
            return Verdict(UNSCORABLE, None, f"longer than {LONGEST:,} characters")
        request = pickle.dumps((response, task), pickle.HIGHEST_PROTOCOL)
        worker = await self._take()
        try:
            verdict = await asyncio.wait_for(worker.ask(request), self._settings.seconds + GRACE)
        except TimeoutError:
            await self._replace(worker)
            return Verdict(UNSCORABLE, None, f"the check took longer than {self._settings.seconds:g} s")
        except (EOFError, OSError, ValueError):
            await self._replace(worker)
            return Verdict(UNSCORABLE, None, "the check crashed")
        except asyncio.CancelledError:
            worker.kill()  # its reply would be taken for the next one's
            if not self._closed:
                await asyncio.shield(self._replace(worker))
            raise
        self._free(worker)
        return verdict

    async def close(self) -> None:
        """End the workers. Checks under way are abandoned."""
        self._closed = True
        await asyncio.gather(*(worker.end() for worker in list(self._all)))

    async def add_worker(self) -> None:
        """Start one worker.

        Raises:
            VerifierError: the verifier cannot work with these settings, or its workers die.
        """
        for _ in range(STARTS):
            worker = await _start(self._settings)
            self._all.add(worker)
            try:
                reply = await asyncio.wait_for(worker.ask_raw(pickle.dumps(self._settings)), START)
            except (EOFError, OSError, ValueError, TimeoutError):
                self._all.discard(worker)
                await worker.end()
                continue
            if "error" in reply:
                await worker.end()
                raise VerifierError(str(reply["error"]))
            self._free(worker)
            return
        raise VerifierError("its worker processes die as they start")

    async def _take(self) -> "_Worker":
        if self._idle:
            return self._idle.pop()
        waiting: asyncio.Future[_Worker] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled():
                self._free(waiting.result())
            raise

    def _free(self, worker: "_Worker") -> None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(worker)
                return
        self._idle.append(worker)

    async def _replace(self, worker: "_Worker") -> None:
        self._all.discard(worker)
        await worker.end()
        if not self._closed:
            await self.add_worker()


async def open_pool(settings: Settings, workers: int | None = None) -> Pool:
    """Start the workers of a verifier: as many as this process may use CPUs, unless said otherwise.

    Raises:
        VerifierError: there is no such verifier, or it cannot work with these settings.
    """
    pool = Pool(settings)
    try:
        await asyncio.gather(*(pool.add_worker() for _ in range(workers or len(os.sched_getaffinity(0)))))
    except BaseException:
        await pool.close()
        raise
    return pool


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
        found = json.loads(await self._replies.readexactly(size))
        if not isinstance(found, dict):
            raise ValueError("no reply")
        return found

    def kill(self) -> None:
        """End the process and what it started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def end(self) -> None:
        """Kill it, and wait until it is gone."""
        self.kill()
        with suppress(ProcessLookupError):
            await self._process.wait()
        self._pipe.close()


async def _start(settings: Settings) -> _Worker:
    """A worker in a session of its own: it sees no Ctrl-C, and is killed with what it starts.

    It ends by itself when this process does, as its standard input ends.
    """
    loop = asyncio.get_running_loop()
    reading, writing = os.pipe()
    process = await asyncio.create_subprocess_exec(
        PYTHON,
        "-P",  # a folder named like one of ours where the command is run is none of ours
        "-m",
        "filters.worker",
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
