"""Context-free samples drawn in a process of its own, beside whatever uses them.

A trainer must not wait for each token of another model, nor share its random numbers, its stream on a GPU or Python's
lock with it. The process draws the groups of rows that it is asked for, one after the other and each by itself: so a
row depends on its seed and its group alone, whatever the timing. It ends with the pipe that it is asked through, which
closes when its owner dies, however that comes about.
"""

import asyncio
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from queue import SimpleQueue
from typing import IO, Any

from synth.data.row import Row
from synth.engines.base import EngineOptions
from synth.engines.loading import load_tokenizer, remote_code
from synth.engines.open import EngineChoice, open_engine
from synth.errors import RequestError, RunError, SynthError
from synth.interpreter import python
from synth.methods.sample import SampleSettings, sample, sample_rows
from synth.quiet import debugging

_OF_A_RUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What the environment says of a run of several processes, of which the one that draws is none."""

_DEAF = "import signal; [signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)]"
"""A job that is told to end is told in all its processes: the owner finishes its step, for which it may need rows."""

_SECONDS = 10.0
"""How long it may take to end."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """What is drawn, and by what.

    Attributes:
        model: a directory or a Hub id.
        engine: as for `synth.engines.open.open_engine`.
        options: how it runs the model.
        settings: how the model is sampled.
        recorded: all settings that determine rows; their ids depend on it.
        trust_remote_code: whether code that comes with the model may run.
    """

    model: str
    engine: EngineChoice
    options: EngineOptions
    settings: SampleSettings
    recorded: dict[str, Any]
    trust_remote_code: bool = False

    def ids(self, count: int) -> list[str]:
        """The ids of the first rows."""
        return [row.id for row in islice(sample_rows(self.recorded, self.model)(0), count)]

    def row(self, number: int) -> Row:
        """The empty row of a number: that of `synth sample` with these settings."""
        return next(sample_rows(self.recorded, self.model)(number))


class Drawer:
    """The process that draws, as its owner sees it.

    Attributes:
        drawing: what it draws.
    """

    def __init__(self, drawing: Drawing) -> None:
        """Start it. It loads the model meanwhile, and what is wrong with that is told with the first rows."""
        self.drawing = drawing
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (lives with the process)
        debug = debugging()
        self._process = subprocess.Popen(
            python(f"{_DEAF}; from synth.methods.drawing import main; main()"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if debug else self._log,
            env=_environment(),
            start_new_session=True,
        )
        assert self._process.stdin is not None
        self._pipe: IO[bytes] = self._process.stdin
        self._found: SimpleQueue[list[dict[str, Any]] | SynthError] = SimpleQueue()
        threading.Thread(target=self._read, name="drawn", daemon=True).start()
        self._send(drawing)

    def ask(self, numbers: Sequence[int]) -> None:
        """Have the rows of these numbers drawn together, after what was asked for before."""
        self._send(list(numbers))

    def rows(self) -> list[dict[str, Any]]:
        """The rows of the next group that was asked for, in order; waits for them.

        Raises:
            SynthError: it cannot draw any more: the model cannot be loaded, memory ran out, the process died.
        """
        found = self._found.get()
        if isinstance(found, SynthError):
            self._found.put(found)  # nothing comes after it
            raise found
        return found

    def close(self) -> None:
        """End the process."""
        with suppress(OSError):  # it has died
            self._pipe.close()
        try:
            self._process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _send(self, what: object) -> None:
        with suppress(OSError):  # it has died, which whoever waits for rows is told
            pickle.dump(what, self._pipe)
            self._pipe.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as pipe:
            try:
                while True:
                    self._found.put(pickle.load(pipe))
            except (EOFError, pickle.UnpicklingError):
                self._found.put(RunError(f"the process that draws replay died: {self._last_words()}"))

    def _last_words(self) -> str:
        status = self._process.wait()
        try:
            self._log.seek(0)
            said = self._log.read().decode("utf-8", "replace").strip().splitlines()
        except ValueError:  # it was closed by its owner
            said = []
        return said[-1][:300] if said else f"status {status}"


def _environment() -> dict[str, str]:
    """The environment of the process: of several GPUs it sees the one of its owner, and of several processes none."""
    found = {name: value for name, value in os.environ.items() if name not in _OF_A_RUN}
    if (own := os.environ.get("LOCAL_RANK")) is not None:
        visible = found.get("CUDA_VISIBLE_DEVICES", "").split(",")
        found["CUDA_VISIBLE_DEVICES"] = visible[int(own)] if int(own) < len(visible) and visible[0] else own
    return found


def main() -> None:
    """The process that draws: is given a `Drawing` and then groups of numbers, and answers with their rows."""
    # An engine's thread that is woken by the first row of a group waits until all of them are there: how many rows are
    # drawn side by side decides how numbers are rounded.
    sys.setswitchinterval(1.0)
    drawing: Drawing = pickle.load(sys.stdin.buffer)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print

    def answer(what: object) -> None:
        pickle.dump(what, answers)
        answers.flush()

    try:
        asyncio.run(_serve(drawing, answer))
    except SynthError as error:
        answer(error)
    except Exception as error:
        answer(RunError(f"{type(error).__name__}: {error}"))
    _end()


def _end() -> None:
    """End this process and all that it has started, such as those of vLLM, which else keep a GPU's memory."""
    os.killpg(os.getpid(), signal.SIGKILL)


async def _serve(drawing: Drawing, answer: Callable[[object], None]) -> None:
    loop, asked = asyncio.get_running_loop(), asyncio.Queue[list[int]]()

    def read() -> None:
        try:
            while True:
                loop.call_soon_threadsafe(asked.put_nowait, pickle.load(sys.stdin.buffer))
        except (EOFError, OSError):
            _end()  # the owner has ended, or closed the pipe

    threading.Thread(target=read, name="asked", daemon=True).start()
    with remote_code(allowed=drawing.trust_remote_code):
        tokenizer = load_tokenizer(drawing.model)
        engine = await open_engine(drawing.engine, drawing.model, tokenizer, drawing.options)
    method = sample(engine, drawing.settings)
    while True:
        rows = [drawing.row(number) for number in await asked.get()]
        outcomes = await asyncio.gather(*map(method, rows))
        for outcome in outcomes:
            if outcome.reason is not None:
                raise RequestError(outcome.reason)
        answer([outcome.row.record() for outcome in outcomes])
