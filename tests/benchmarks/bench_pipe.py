"""Processor seconds of three commands in a pipe on a few rows, where starting is all that costs.

Beside them what any process pays that loads a model: torch and transformers imported, and the model read.

python tests/benchmarks/bench_pipe.py [--rounds 5] [--rows 30]
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

MODEL = str(Path(__file__).parents[2] / "samples" / "model")
LIBRARIES = f"from transformers import AutoModelForCausalLM as A, AutoTokenizer as T; T.from_pretrained({MODEL!r}); "
LIBRARIES += f"A.from_pretrained({MODEL!r})"


def pipe(commands: list[list[str]]) -> tuple[list[float], float]:
    """User and system seconds of each command, and seconds by the clock until the last has ended."""
    began = time.perf_counter()
    processes: list[subprocess.Popen[bytes]] = []
    for command in commands:
        before = processes[-1].stdout if processes else None
        after = subprocess.DEVNULL if len(processes) == len(commands) - 1 else subprocess.PIPE
        processes.append(subprocess.Popen(command, stdin=before, stdout=after, stderr=subprocess.DEVNULL))
        if before is not None:
            before.close()
    spent = []
    for process in processes:
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            raise SystemExit(f"{process.args!r} failed")
        spent.append(usage.ru_utime + usage.ru_stime)
    return spent, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=30)
    given = parser.parse_args()
    synth = str(Path(sys.executable).with_name("synth"))
    stages = {
        "synth magpie": [synth, "magpie", "--model", MODEL, "-n", str(given.rows), "--quiet"],
        "synth filter --dedup near": [synth, "filter", "--dedup", "near", "--quiet"],
        "synth score-tokens": [synth, "score-tokens", "--model", MODEL, "--quiet"],
    }
    rounds = []
    for _ in range(given.rounds):
        spent, clock = pipe(list(stages.values()))
        (libraries,), _ = pipe([[sys.executable, "-c", LIBRARIES]])
        rounds.append([*spent, sum(spent), clock, libraries])
    names = [*stages, "the pipe", "the pipe, by the clock", "torch, transformers, model"]
    print(f"{given.rows} rows, {os.cpu_count()} cores, {given.rounds} rounds, processor seconds")
    print(f"{'':<27} {'median':>6} {'least':>6} {'most':>6}")
    for name, values in zip(names, zip(*rounds, strict=True), strict=True):
        print(f"{name:<27} {statistics.median(values):>6.1f} {min(values):>6.1f} {max(values):>6.1f}")


if __name__ == "__main__":
    main()
