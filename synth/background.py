"""One event loop, in a thread of its own, for all that is asynchronous.

Engines and verifiers live on the loop that they were opened on. This one lasts as long as the process: so a model that
one call has opened serves the next, and calls are ordinary functions that work where another loop runs already, as in a
notebook.
"""

import asyncio
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


def wait_for(work: Coroutine[Any, Any, Result]) -> Result:
    """Run it on the loop, and wait until it has ended.

    Where the wait is broken off (KeyboardInterrupt), the work is cancelled, and has ended when this raises.
    """

    async def started() -> asyncio.Task[Result]:
        return asyncio.ensure_future(work)

    task = asyncio.run_coroutine_threadsafe(started(), _loop()).result()
    try:
        return asyncio.run_coroutine_threadsafe(_outcome(task), _loop()).result()
    except BaseException:
        asyncio.run_coroutine_threadsafe(_cancelled(task), _loop()).result()
        raise


async def _outcome(task: "asyncio.Task[Result]") -> Result:
    return await asyncio.shield(task)


async def _cancelled(task: "asyncio.Task[Any]") -> None:
    task.cancel()
    await asyncio.wait([task])
