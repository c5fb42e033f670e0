"""What a step of vLLM costs, and what of it are seeds of rows, decoding to text, log-probabilities and synth.

Every request draws the same number of tokens and nothing ends it, so that all of them run side by side from the first
step to the last: the milliseconds of a step are the time of a call over the tokens of a request. `LLM.generate` runs in
one process, with one engine for all its ways of asking, which alternate; synth's engine runs in another. Behind each
time stands the processor time of the process in front and of vLLM's own, which tells who keeps whom waiting.

    python -m tests.benchmarks.bench_seeds [--size 20M | --model DIR] [--rows 64 512] [--tokens 64] [--rounds 3]
"""

import argparse
import asyncio
import json
import operator
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

from tests.benchmarks.bench_score_tokens import ROOT, build
from tests.benchmarks.llamas import SHAPES

VLLM_WAYS: dict[str, dict[str, Any]] = {
    "LLM.generate": {},
    "LLM.generate, a seed a row": {"seed": 1},
    "LLM.generate, a seed a row, no text": {"seed": 1, "detokenize": False},
    "LLM.generate, a seed a row, logprobs": {"seed": 1, "logprobs": 0},
}
SYNTH_WAYS: dict[str, dict[str, Any]] = {"synth": {}, "synth, logprobs": {"logprob": True}}


def vllm_side(model: str, options: argparse.Namespace) -> dict[str, list[list[float]]]:
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
    from vllm import LLM, SamplingParams

    gpu = has_gpu()
    llm = LLM(
        model=model,
        dtype="auto" if gpu else "float32",
        max_num_seqs=max(options.rows),
        max_model_len=options.tokens + 64,
        enable_chunked_prefill=None if gpu else False,  # for the reason in vllm/arguments.py
        use_tqdm_on_load=False,
    )

    def call(rows: int, given: dict[str, Any]) -> None:
        params = [
            SamplingParams(
                temperature=1.0,
                max_tokens=options.tokens,
                ignore_eos=True,
                **{name: value + number if name == "seed" else value for name, value in given.items()},
            )
            for number in range(rows)
        ]
        llm.generate([{"prompt_token_ids": [5, 6, 7, 8]}] * rows, params, use_tqdm=False)

    return measured(VLLM_WAYS, call, options)


def synth_side(model: str, options: argparse.Namespace) -> dict[str, list[list[float]]]:
    from synth.chat.derive import format_for
    from synth.engines.base import EngineOptions, Sampling
    from synth.engines.vllm.engine import open_vllm

    loop = asyncio.new_event_loop()
    settings = EngineOptions(concurrency=max(options.rows), max_length=options.tokens + 64)
    engine = loop.run_until_complete(open_vllm(model, format_for(model).tokenizer, settings))

    def call(rows: int, given: dict[str, Any]) -> None:
        async def all_at_once() -> None:
            asked = (Sampling(max_tokens=options.tokens, seed=number, **given) for number in range(rows))
            await asyncio.gather(*(engine.generate([5, 6, 7, 8], sampling) for sampling in asked))

        loop.run_until_complete(all_at_once())

    found = measured(SYNTH_WAYS, call, options)
    loop.run_until_complete(engine.close())
    return found


def measured(ways: dict[str, dict[str, Any]], call: Any, options: argparse.Namespace) -> dict[str, list[list[float]]]:
    """By way and number of rows, milliseconds of a step and of processors in it, for each round after a first one."""
    found = defaultdict[str, list[list[float]]](list)
    for number in range(options.rounds + 1):
        for name, given in ways.items():
            for rows in options.rows:
                began, busy = time.perf_counter(), processor_seconds()
                call(rows, given)
                spent = [time.perf_counter() - began, *map(operator.sub, processor_seconds(), busy)]
                if number:
                    found[f"{name}|{rows}"].append([1000 * seconds / options.tokens for seconds in spent])
    return found


def processor_seconds() -> list[float]:
    """Of this process, and of those that vLLM has started."""
    here = psutil.Process()
    return [sum(here.cpu_times()[:2]), sum(sum(one.cpu_times()[:2]) for one in here.children(recursive=True))]


def has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SHAPES, help="a model of random weights, instead of --model")
    parser.add_argument("--model", default=str(ROOT / "samples" / "model"))
    parser.add_argument("--rows", type=int, nargs="+", default=[64, 512])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=("vllm", "synth"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps((vllm_side if options.side == "vllm" else synth_side)(options.model, options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        if options.size:
            build(options.size, Path(folder), "bfloat16" if has_gpu() else "float32")
        model = folder if options.size else options.model
        where = f"{os.cpu_count()} cores, {'GPU' if has_gpu() else 'no GPU'}"
        print(
            f"{options.size or Path(model).name}, {where}; "
            "ms a step, medians (fastest; processor in front, of vLLM's own)"
        )
        print(f"{'rows at once':38}" + "".join(f"{rows:>34}" for rows in options.rows), flush=True)
        for side, ways in (("vllm", VLLM_WAYS), ("synth", SYNTH_WAYS)):
            command = [sys.executable, "-m", "tests.benchmarks.bench_seeds", *sys.argv[1:]]
            command += ["--side", side, "--model", model]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{side} failed:\n{done.stderr[-3000:]}")
            show(json.loads(done.stdout.splitlines()[-1]), ways, options.rows)


def show(found: dict[str, list[list[float]]], ways: Iterable[str], numbers: list[int]) -> None:
    """Print the lines of a side that is done."""
    for name in ways:
        cells = []
        for rows in numbers:
            times, front, own = zip(*found[f"{name}|{rows}"], strict=True)
            middle = [statistics.median(one) for one in (times, front, own)]
            cells.append(f"{middle[0]:.2f} ({min(times):.2f}; {middle[1]:.2f}, {middle[2]:.2f})")
        print(f"{name:38}" + "".join(f"{cell:>34}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
