"""One event loop, in a thread of its own, for all asynchronous work.

Engines and verifiers are bound to the loop they were opened on. This one lasts as long as the process, so a model that
one call has opened serves the next, and public functions also work where another loop is running already, as in a
notebook.
"""

import asyncio
import os
import threading
from collections.abc import Coroutine
from functools import cache
from typing import Any, TypeVar

Result = TypeVar("Result")


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="synth", daemon=True).start()
    return loop


os.register_at_fork(after_in_child=_loop.cache_clear)  # a fork has no threads but its own


def wait_for(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine on the loop, and wait for its result.

    If the wait is interrupted (KeyboardInterrupt), the coroutine is cancelled, and has ended when this raises.
    """
    # Known wherever the interrupt falls, also while the work is handed over.
    tasks: list[asyncio.Task[Result]] = []

    async def outcome() -> Result:
        tasks.append(asyncio.ensure_future(work))
        return await asyncio.shield(tasks[0])

    try:
        return asyncio.run_coroutine_threadsafe(outcome(), _loop()).result()
    except BaseException:
        asyncio.run_coroutine_threadsafe(_cancelled(tasks), _loop()).result()
        raise


async def awaited(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine on that loop, and await its result from another one."""
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, _loop()))


def begin(work: Coroutine[Any, Any, Any]) -> None:
    """Run a coroutine on the loop, and wait for nothing."""
    asyncio.run_coroutine_threadsafe(work, _loop())


async def _cancelled(tasks: "list[asyncio.Task[Any]]") -> None:
    """Cancel what has begun, and wait until it has ended."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
