"""Two servers against one, and against one of them that fails: how long the same requests take.

A simulated server (another process) does a fixed number of requests at once, each in a fixed time, so that what is
measured is who gets which request, not the machine. A request that a faulty server loses has taken its place and its
time there, but for those that it leaves hanging. With three in ten lost, a server does 0.7 of its work: the least time
follows from that, and the last column says how many times as long it took.

    python -m tests.benchmarks.bench_servers [--rounds 3] [--requests 512]
"""

import argparse
import asyncio
import multiprocessing
import random
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from synth.engines.base import EngineOptions, Sampling
from synth.engines.server.engine import open_server
from tests.synth.conftest import build_tokenizer
from tests.synth.engines.misbehaving import (
    Behaviour,
    Body,
    MisbehavingServer,
    answer_text,
    content,
    cut,
    hang,
    reply,
    status,
)

SERVICE, SLOTS, SHARE = 0.5, 16, 0.3
PROMPT = list(range(10, 60))
OTHER_MODEL = "answers of another model"
FAULTS: dict[str, Behaviour | None] = {
    "": None,
    "errors (500)": status(500),
    "busy (429)": status(429),
    "cuts connections": cut,
    "hangs": hang,
    "empty choices": content({"choices": []}),
    OTHER_MODEL: content({"choices": [{"text": "x", "finish_reason": "stop"}], "model": "other"}),
    "lies about tokens": None,
}


def answer(body: Body) -> Any:
    logprobs = {"token_logprobs": [-1.0], "top_logprobs": [{"a": -1.0}]} if "logprobs" in body else None
    return answer_text(f" {body['seed']}", logprobs=logprobs, token_ids=PROMPT)(body) | {"model": "tiny"}


def serve(urls: Any, kind: str, seed: int) -> None:
    """A simulated server; it is honest to the questions of one token with which it is looked at."""

    async def run() -> None:
        dice, slots, fault = random.Random(seed), asyncio.Semaphore(SLOTS), FAULTS[kind]

        async def behave(server: MisbehavingServer, writer: asyncio.StreamWriter, body: Body) -> None:
            lost = body["max_tokens"] > 1 and dice.random() < SHARE
            if lost and fault is hang:
                return await hang(server, writer, body)
            async with slots:
                await asyncio.sleep(SERVICE if body["max_tokens"] > 1 else 0)
            if lost and fault is not None:
                return await fault(server, writer, body)
            wrong = {"prompt_tokens": 10**7, "completion_tokens": -1} if lost and kind.startswith("lies") else {}
            return await reply(writer, (found := answer(body)) | {"usage": found["usage"] | wrong})

        async with MisbehavingServer() as server:
            server.always = behave
            urls.put(server.url)
            await asyncio.Event().wait()

    asyncio.run(run())


@contextmanager
def serving(kind: str, seed: int) -> Any:
    urls: Any = multiprocessing.Queue()
    process = multiprocessing.Process(target=serve, args=(urls, kind, seed), daemon=True)
    process.start()
    try:
        yield urls.get()
    finally:
        process.terminate()


async def seconds(urls: Sequence[str], requests: int) -> float:
    """Time of all requests, every one of which has to be answered rightly."""
    engine = await open_server(list(urls), None, build_tokenizer(), EngineOptions(concurrency=2 * SLOTS * len(urls)))
    while any(server.state == "new" for server in engine.usage.servers):
        await asyncio.sleep(0.05)
    began = time.perf_counter()
    asked = (engine.generate(PROMPT, Sampling(max_tokens=50, seed=seed)) for seed in range(requests))
    completions = await asyncio.gather(*asked)
    took = time.perf_counter() - began
    assert [one.text for [one] in completions] == [f" {seed}" for seed in range(requests)]
    await engine.close()
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=512)
    options = parser.parse_args()
    faults = [kind for kind in FAULTS if kind]
    alone = [kind for kind in faults if kind != OTHER_MODEL]  # a gateway may name what it likes
    settings = [("",), ("", "")] + [(kind,) for kind in alone] + [("", kind) for kind in faults]
    print(f"{SLOTS} requests at once, {SERVICE} s each, a server; {options.requests} requests; medians of seconds")
    medians: dict[tuple[str, ...], float] = {}
    for kinds in settings:
        took = []
        for number in range(options.rounds):
            with ExitStack() as stack:
                urls = [stack.enter_context(serving(kind, number)) for kind in kinds]
                took.append(asyncio.run(seconds(urls, options.requests)))
        medians[kinds] = statistics.median(took)
        does = sum(1 - SHARE * (kind not in ("", "lies about tokens")) for kind in kinds)
        least = medians[("",)] / does
        what = f"{len(kinds)} server{'s' * (len(kinds) > 1)}" + (f", one of which {SHARE:.0%}: " if kinds[-1] else "")
        print(f"{what + kinds[-1]:58} {medians[kinds]:6.2f}  {medians[kinds] / least:5.2f} x", flush=True)
    print(f"two servers are {medians[('',)] / medians[('', '')]:.2f} times one")


if __name__ == "__main__":
    main()
