"""The actor: a process that has the models of a run, and makes one block of its rows after another.

Ray starts it, on whichever machine has room, and starts it anew when it dies. What it has made is in the directories of
blocks, never in the actor: so it may die at any moment.
"""

import math
import os
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from synth.data.files.memory import called
from synth.data.output import Output
from synth.data.run.shard import Shard
from synth.data.run.versions import versions
from synth.data.store.path import File, path_at
from synth.distributed.call import Call
from synth.distributed.series import Series
from synth.engines.open import settle_auto
from synth.errors import BusyError, RunError, SynthError, UsageError
from synth.progress import Meter, Progress
from synth.stop import ask_all

WORD = "driver"
"""A file in the directory of blocks by which an actor knows that its machine has the same one."""

BUSY_SECONDS = 60
"""How long a block waits for the process that is writing it."""


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where and how actors work.

    Attributes:
        blocks: the directory of blocks, which all machines share, or its address.
        word: what the driver wrote into `WORD` there.
        folder: the driver's working directory, which relative names are meant from.
        version: the driver's version of synth.
        beside: how many actors share a machine, at most.
        engine: what "auto" means, as the driver decided; None where no model is used.
    """

    blocks: str
    word: str
    folder: str
    version: str
    beside: int
    engine: str | None


@dataclass(frozen=True)
class _Told(Progress):
    """Keeps what it is told of a block until it is asked."""

    lines: list[str] = field(default_factory=list)
    at_work: list[int] = field(default_factory=list)

    def begin(self) -> None:
        """Forget the block before."""
        self.lines.clear()
        self.at_work.clear()

    def say(self, line: str) -> None:
        """Keep one line, of those before the first row."""
        if not self.at_work:
            self.lines.append(line)

    @contextmanager
    def meter(self, title: str, unit: str = "rows") -> Iterator[Meter]:
        """Keep how far it is."""
        self.at_work.append(0)
        yield self

    def show(self, done: int, goal: int | None, text: str) -> None:
        """See `Meter.show`."""
        self.at_work[-1] = done

    def at(self, done: int, goal: int | None) -> None:
        """See `Meter.at`."""
        self.at_work[-1] = done

    def tell(self, text: str) -> None:
        """See `Meter.tell`."""


class EngineActor:
    """Makes blocks. Errors of ours are returned: Ray would wrap what is raised."""

    def __init__(self, place: Workplace) -> None:
        self._place = place
        self._series: Series | None = None
        self._told = _Told()
        threads = max(1, math.floor((os.cpu_count() or 1) / place.beside))
        os.environ["OMP_NUM_THREADS"] = str(threads)  # Ray sets it to 1; torch reads it when it is imported

    def ready(self, packed: bytes) -> str | SynthError:
        """The name of this machine, once it is seen to have what a run needs.

        Args:
            packed: the call that makes blocks; no argument of the actor, as that would be lost when it starts anew.
        """
        place, host = self._place, socket.gethostname()
        try:
            if (here := versions().get("synth", "unknown")) != place.version:
                raise UsageError(f"`ray`: {host} has synth {here}, the driver {place.version}: install the same there")
            if not _reads(path_at(place.blocks) / WORD, place.word):
                raise UsageError(
                    f"{host} does not see {called(place.blocks)}: give an `output` that all see, in a folder or in "
                    "a store (s3://…)"
                )
            with suppress(OSError):
                os.chdir(place.folder)
                if place.folder not in sys.path:  # functions of the user's own are imported from there
                    sys.path.insert(0, place.folder)
            settle_auto(place.engine)
            call = Call.unpacked(packed)
            self._series = Series(lambda output: call(output=output, progress=self._told))
            return host
        except SynthError as error:
            return error

    def make(self, shard: Shard) -> SynthError | None:
        """Make one block, or go on with it; returns the error that ended it, if there was one."""
        try:
            self._make(shard)
            return None
        except SynthError as error:
            return error
        except KeyboardInterrupt:
            return RunError("it was interrupted")
        except Exception as error:
            traceback.print_exc()  # into the logs of Ray
            return RunError(f"{type(error).__name__}: {error}")

    def _make(self, shard: Shard) -> None:
        assert self._series is not None
        block = Output(block_path(self._place.blocks, shard), shard=shard)
        for left in reversed(range(BUSY_SECONDS)):
            self._told.begin()
            try:
                self._series.make(block)
                return
            except BusyError:  # an actor of a driver that was killed has not ended yet
                if not left:
                    raise
                time.sleep(1)

    def report(self) -> tuple[int, list[str]]:
        """Rows done of the block under way, and what was said before its first row since this was last asked."""
        told, lines = self._told, self._told.lines[:]
        del told.lines[: len(lines)]
        return sum(told.at_work[-1:]), lines

    def stop(self) -> bool:
        """Finish the rows in flight; whether any are."""
        try:
            return ask_all()
        except KeyboardInterrupt:
            return False


def block_path(blocks: str | os.PathLike[str], shard: Shard) -> str:
    """The directory of a block."""
    return os.path.join(blocks, f"{shard.number:06d}")


def _reads(path: File, word: str) -> bool:
    try:
        return path.exists() and path.read_text(encoding="utf-8") == word
    except OSError:
        return False
