"""Programs a second through the `code` verifier on one core, beside bubblewrap with a new interpreter for each program.

python tests/benchmarks/bench_sandbox.py [--programs 300] [--rounds 5]
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

from filters.execution.sandbox import sandbox_command
from filters.verdict import Task, VerifierSettings
from filters.verifiers.registry import checker

TASK = Task(columns={"tests": ["assert f(2) == 4", "assert f(3) == 9"]})


def ours(programs: int) -> float:
    check = checker(VerifierSettings("code"))
    assert check("def f(x): return x * x", TASK).kind == "right"
    began = time.perf_counter()
    for number in range(programs):
        verdict = check(f"```python\ndef f(x):\n    return x * x + {number % 2}\n```", TASK)
        assert verdict.kind == ("wrong" if number % 2 else "right")
    return programs / (time.perf_counter() - began)


def cold(programs: int) -> float:
    command = [*sandbox_command([sys.base_prefix, sys.prefix]), sys.executable, "-I", "-S", "-c"]
    began = time.perf_counter()
    for number in range(programs):
        program = f"def f(x):\n    return x * x + {number % 2}\nassert f(2) == 4\nassert f(3) == 9"
        done = subprocess.run([*command, program], capture_output=True)
        assert (done.returncode == 0) == (number % 2 == 0)
    return programs / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    core = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    rates = [(ours(arguments.programs), cold(arguments.programs)) for _ in range(arguments.rounds)]
    warm, new = map(statistics.median, zip(*rates, strict=True))
    print(f"{arguments.programs} trivial programs with two tests each, one core, medians of {arguments.rounds} rounds")
    print(f"code verifier (two confined processes a program)        {warm:6.0f} programs/s")
    print(f"bubblewrap and a new interpreter (program and tests in one) {new:6.0f} programs/s")


if __name__ == "__main__":
    main()
