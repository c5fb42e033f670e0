"""How a person stops a run, and the loop that runs are on."""

import asyncio
import os
import signal
import threading
import time

import pytest

from synth.background import wait_for
from synth.stop import Stop


def test_nobody_is_there_to_answer() -> None:
    with pytest.raises(KeyboardInterrupt), Stop().on_signals():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_each_time_and_handlers_are_given_back(number: signal.Signals) -> None:
    before, stop, asked = signal.getsignal(number), Stop(), []
    with stop.on_signals(), stop.answered_by(lambda: asked.append(stop.asked)):
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
    assert asked == [True, True] and signal.getsignal(number) == before


def test_elsewhere_than_in_the_main_thread_signals_are_left_alone() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def look() -> None:
        with Stop().on_signals():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [before]


def test_work_is_waited_for_where_a_loop_runs_already() -> None:
    async def double(number: int) -> int:
        await asyncio.sleep(0)
        return 2 * number

    async def notebook() -> int:
        return wait_for(double(21))

    assert asyncio.run(notebook()) == 42


def test_errors_come_through() -> None:
    async def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        wait_for(fails())


def test_work_that_is_not_waited_for_any_more_has_ended() -> None:
    ended = threading.Event()

    async def slow() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)  # as this has begun
            await asyncio.sleep(60)
        finally:
            ended.set()

    with pytest.raises(KeyboardInterrupt):
        wait_for(slow())
    assert ended.is_set()
