"""What the server engine itself costs: CPU time and rate of requests against a server that answers at once.

The server (another process) gives every request a completion of 50 token ids. Beside the engine runs plain httpx
with one pooled client and a semaphore, the usual way to write such a thing, which parses the JSON and does nothing
else.

    python -m tests.benchmarks.bench_server_engine [--requests 2000]
"""

import argparse
import asyncio
import multiprocessing
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from synth.engines.base import EngineOptions, Sampling
from synth.engines.server.engine import open_server
from tests.synth.conftest import build_tokenizer
from tests.synth.engines.misbehaving import MisbehavingServer, answer_text

PROMPT = list(range(10, 60))


def serve(urls: Any) -> None:
    async def run() -> None:
        async with MisbehavingServer(answer=answer_text(" fine", token_ids=PROMPT)) as server:
            urls.put(server.url)
            await asyncio.Event().wait()

    asyncio.run(run())


@contextmanager
def serving() -> Iterator[str]:
    urls: Any = multiprocessing.Queue()
    process = multiprocessing.Process(target=serve, args=(urls,), daemon=True)
    process.start()
    try:
        yield urls.get()
    finally:
        process.terminate()


async def measure(name: str, concurrency: int, requests: int, ask: Callable[[int], Awaitable[object]]) -> None:
    await asyncio.gather(*(ask(seed) for seed in range(concurrency)))  # open the connections
    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(ask(seed) for seed in range(requests)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{name:8} {concurrency:5} at once  {cpu / requests * 1e3:6.2f} ms CPU a request  {requests / wall:6.0f}/s")


async def engine(url: str, concurrency: int, requests: int) -> None:
    opened = await open_server(url, None, build_tokenizer(), EngineOptions(concurrency=concurrency))
    await measure(
        "engine", concurrency, requests, lambda seed: opened.generate(PROMPT, Sampling(max_tokens=50, seed=seed))
    )
    await opened.close()


async def plain(url: str, concurrency: int, requests: int) -> None:
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    slots = asyncio.Semaphore(concurrency)
    async with httpx.AsyncClient(limits=limits, timeout=None) as client:

        async def ask(seed: int) -> object:
            body = {"prompt": PROMPT, "max_tokens": 50, "seed": seed}
            async with slots:
                return (await client.post(f"{url}/v1/completions", json=body)).json()

        await measure("httpx", concurrency, requests, ask)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000)
    requests = parser.parse_args().requests
    with serving() as url:
        for concurrency in (16, 64, 256, 1024):
            asyncio.run(plain(url, concurrency, requests))
            asyncio.run(engine(url, concurrency, requests))


if __name__ == "__main__":
    main()
