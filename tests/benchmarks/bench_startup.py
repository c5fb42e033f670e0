"""How long `synth --help` and the commands' own help take from the shell, beside a bare Python.

python tests/benchmarks/bench_startup.py [--runs 20]
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from cli.main import COMMANDS


def milliseconds(command: list[str], runs: int) -> tuple[float, float]:
    """Median and worst of some runs, after one that warms the disk cache."""
    times = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times[1:]), max(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    synth = str(Path(sys.executable).with_name("synth"))
    rows = {"python -c pass": [sys.executable, "-c", "pass"], "synth --help": [synth, "--help"]}
    rows |= {f"synth {name} --help": [synth, name, "--help"] for name in COMMANDS}
    print(f"{'command':<24} {'median ms':>9} {'worst ms':>9}")
    for name, command in rows.items():
        median, worst = milliseconds(command, runs)
        print(f"{name:<24} {median:>9.0f} {worst:>9.0f}")


if __name__ == "__main__":
    main()
