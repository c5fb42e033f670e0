"""Blocks that one call makes, one after another: what it prepares (input, models, verifier) serves them all."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import NoReturn

from synth.data.output import Output
from synth.data.run.record import RunRecord
from synth.data.run.shard import Shard
from synth.errors import BusyError


class Series:
    """A function of an output, under way in a thread of its own, where it waits for the next block."""

    def __init__(self, function: Callable[[Output], object]) -> None:
        self._function = function
        self._thread: threading.Thread | None = None

    def make(self, block: Output) -> None:
        """Have one more block made.

        Raises:
            BaseException: whatever the function does. It is called anew for the next block then, except where another
                process is writing this one (BusyError).
        """
        if self._thread is None or not self._thread.is_alive():
            self._blocks: SimpleQueue[Output] = SimpleQueue()  # without what another call has left
            self._ends: SimpleQueue[BaseException | None] = SimpleQueue()
            self._thread = threading.Thread(target=self._call, daemon=True)
            self._thread.start()
        self._blocks.put(block)
        if (error := self._ends.get()) is not None:
            if not isinstance(error, BusyError):
                self._thread.join()
            raise error

    def _call(self) -> None:
        try:
            self._function(_Series("blocks", shard=Shard(1, None), blocks=self._blocks, ends=self._ends))
        except BaseException as error:  # it is raised where the block was asked for
            self._ends.put(error)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Series(Output):
    """The output of the function: what makes it is called for every block that comes."""

    blocks: "SimpleQueue[Output]"
    ends: "SimpleQueue[BaseException | None]"

    def refuse_early(self, record: Callable[[], RunRecord]) -> None:
        """Nothing is there: every block is opened by itself."""

    def each(self, make: Callable[[Output], RunRecord]) -> NoReturn:
        """See `Output.each`."""
        while True:
            block = self.blocks.get()
            try:
                make(block)
            except BusyError as error:
                self.ends.put(error)
            else:
                self.ends.put(None)
