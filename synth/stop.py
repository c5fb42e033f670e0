"""Stopping a run: Ctrl-C (or SIGTERM) once finishes the rows in flight, twice abandons them."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_UNDER_WAY: "list[Stop]" = []
"""Those that something under way in this process answers to."""


def ask_all() -> bool:
    """Request that all that is under way in this process stops, as one signal would; whether anything is.

    For a process that is told so in another way than by a signal.
    """
    asked = list(_UNDER_WAY)
    for stop in asked:
        stop.ask()
    return bool(asked)


class Stop:
    """A request to end a run early; it may be made from any thread."""

    def __init__(self) -> None:
        self._answer: Callable[[], None] | None = None
        self.asked = False

    def ask(self) -> None:
        """Request a stop; a second request abandons what is in flight.

        Raises:
            KeyboardInterrupt: nothing is under way that could be finished first, or it cannot be broken off
                otherwise.
        """
        if self._answer is None:
            raise KeyboardInterrupt
        self.asked = True
        self._answer()

    @contextmanager
    def answered_by(self, answer: Callable[[], None]) -> Iterator[None]:
        """While the body runs, `answer` is called at every request."""
        self._answer = answer
        _UNDER_WAY.append(self)
        try:
            yield
        finally:
            _UNDER_WAY.remove(self)
            self._answer = None

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """While the body runs, SIGINT and SIGTERM make the request; only in the main thread, which handles signals."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask(_number: int, _frame: FrameType | None) -> None:
            self.ask()

        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
