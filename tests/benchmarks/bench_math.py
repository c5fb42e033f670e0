"""The `math` verifier in its worker pool, beside one process of bare math-verify, on the same pairs in one run.

Pairs are answers of published data against their own reference and against another row's. The rival does what
math-verify's documentation shows: parse both texts, verify.

    python tests/benchmarks/bench_math.py --data DIRECTORY   (with gsm8k/ and math500/)
"""

import argparse
import asyncio
import json
import logging
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

from filters.execution.pool import open_pool
from filters.verdict import Task, VerifierSettings

Pairs = list[tuple[str, str]]


def gsm8k(data: Path, count: int) -> Pairs:
    rows = [json.loads(line)["answer"] for line in (data / "gsm8k" / "train.jsonl").read_text().splitlines()]
    return pairs([(row, row.split("####")[1].strip()) for row in rows], count)


def math500(data: Path, count: int) -> Pairs:
    rows = [json.loads(line) for line in (data / "math500" / "test.jsonl").read_text().splitlines()]
    return pairs([(row["solution"], row["answer"]) for row in rows], count)


def pairs(rows: Pairs, count: int) -> Pairs:
    """Half of them answers with their own reference, half with another's."""
    chance = random.Random(0)
    own = chance.choices(rows, k=count // 2)
    return own + [(chance.choice(rows)[0], reference) for _, reference in own]


def bare(found: Pairs) -> float:
    """Seconds of math-verify in this process."""
    from math_verify import parse, verify

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    began = time.perf_counter()
    for response, reference in found:
        verify(
            parse(f"${reference}$", parsing_timeout=None), parse(response, parsing_timeout=None), timeout_seconds=None
        )
    return time.perf_counter() - began


async def pooled(found: Pairs, workers: int | None = None) -> float:
    """Seconds of the pool, its start not counted."""
    pool = await open_pool(VerifierSettings("math"), workers)
    await asyncio.gather(*(pool.check("1", Task("1")) for _ in range(8)))
    began = time.perf_counter()
    await asyncio.gather(*(pool.check(response, Task(reference)) for response, reference in found))
    seconds = time.perf_counter() - began
    await pool.close()
    return seconds


def in_process_of_its_own(name: str, data: Path, count: int) -> float:
    command = [sys.executable, __file__, "--bare", name, "--data", str(data), "--count", str(count)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bare", choices=("gsm8k", "math500"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    makers = {"gsm8k": gsm8k, "math500": math500}
    if arguments.bare:
        print(bare(makers[arguments.bare](arguments.data, arguments.count)))
        return
    print(f"{arguments.count} checks, {len(os.sched_getaffinity(0))} cores, medians of {arguments.rounds} rounds")
    print(f"{'data':8} {'math-verify/s':>14} {'1 worker/s':>11} {'pool/s':>8} {'ratio':>6}")
    for name, make in makers.items():
        found = make(arguments.data, arguments.count)
        rates: list[tuple[float, ...]] = []
        for _ in range(arguments.rounds):
            seconds = in_process_of_its_own(name, arguments.data, arguments.count)
            one, all_of_them = asyncio.run(pooled(found, 1)), asyncio.run(pooled(found))
            rates.append(tuple(arguments.count / took for took in (seconds, one, all_of_them)))
        theirs, single, ours = map(statistics.median, zip(*rates, strict=True))
        print(f"{name:8} {theirs:14,.0f} {single:11,.0f} {ours:8,.0f} {ours / theirs:6.2f}")


if __name__ == "__main__":
    main()
