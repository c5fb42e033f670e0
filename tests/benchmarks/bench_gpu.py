"""All measurements that need a GPU, one after another, for a machine that is there for some minutes.

Each is a benchmark of this folder in a process of its own, with the time that is left for it; what it printed is shown
and written down as soon as it ends. One that fails, or runs out of time, is said to be not measured, and the next is
begun. The order is that of their weight: training first.

    python tests/benchmarks/bench_gpu.py [--minutes 10] [--only train] [--model DIR] [--out gpu.txt]

`--model` is the model that writes (a chat model of 135 million parameters, say); without it the sample model does.
`--small` tries the list itself on a CPU, with sizes that say nothing of speed.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]


@dataclass(frozen=True)
class Measurement:
    """One of them.

    Attributes:
        name: what is measured.
        command: the benchmark and its arguments.
        small: arguments instead of these, to try it on a CPU.
        seconds: it may take, start-up included.
    """

    name: str
    command: tuple[str, ...]
    small: tuple[str, ...]
    seconds: int


def measurements(model: str) -> list[Measurement]:
    """All of them."""
    cuda = ("--device", "cuda", "--rounds", "1")
    once = ("--rounds", "1")
    return [
        Measurement(
            "exactness of packed attention and of graphs",
            (
                "-m",
                "pytest",
                "-q",
                "-rs",
                "tests/synth/training/test_attention.py",
                "tests/synth/engines/hf/test_fixed_step.py",
            ),
            ("-m", "pytest", "-q", "tests/synth/training/test_attention.py", "-k", "deep_model"),
            90,
        ),
        Measurement(
            "train, 1B Llama",
            ("bench_train.py", "--model", "1b", "--steps", "30", "--sides", "synth,trl packing", *cuda),
            ("bench_train.py", "--model", "sample", "--steps", "1", "--tokens", "512", "--sides", "synth", *once),
            200,
        ),
        Measurement(
            "train, 135M Llama",
            ("bench_train.py", "--model", "135m", "--steps", "60", "--tokens", "32768", *cuda),
            ("bench_train.py", "--model", "sample", "--steps", "1", "--tokens", "512", "--sides", "trl packing", *once),
            150,
        ),
        Measurement(
            "score-tokens, 1B Llama",
            ("bench_score_tokens.py", "--size", "1B", "--dtype", "bfloat16", *cuda),
            ("bench_score_tokens.py", "--size", "2M", "--rows", "20", "--sides", "synth,limit", *once),
            200,
        ),
        Measurement(
            "magpie on vLLM",
            ("bench_magpie.py", "--model", model, "--concurrency", "512", "--rounds", "1"),
            ("bench_magpie.py", "--model", model, "--rows", "16", "--limit", "8", *once),
            240,
        ),
        Measurement(
            "a step of vLLM: seeds, text, log-probabilities, synth",
            ("-m", "tests.benchmarks.bench_seeds", "--model", model, "--tokens", "128"),
            ("-m", "tests.benchmarks.bench_seeds", "--model", model, "--rows", "4", "--tokens", "4", *once),
            240,
        ),
        Measurement(
            "exactness of steps replayed as graphs",
            ("-m", "pytest", "-q", "-rs", "tests/synth/engines/hf/test_fixed_step.py"),
            ("-m", "pytest", "-q", "tests/synth/engines/hf/test_fixed_step.py", "-k", "llama"),
            60,
        ),
        Measurement(
            "a step of vLLM, with and without seeds",
            ("-m", "tests.benchmarks.bench_seeds", "--model", model, "--rows", "512", "--rounds", "1"),
            ("-m", "tests.benchmarks.bench_seeds", "--model", model, "--rows", "4", "--tokens", "4", *once),
            200,
        ),
        Measurement(
            "transformers engine",
            ("bench_transformers_engine.py", "--device", "cuda"),
            ("bench_transformers_engine.py", "--rows", "4"),
            120,
        ),
    ]


def measure(one: Measurement, small: bool, seconds: float) -> str:
    """What a measurement printed, or why there is none."""
    script, *rest = one.small if small else one.command
    command = [sys.executable, *([script] if script == "-m" else [str(FOLDER / script)]), *rest]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        printed, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # an engine has processes of its own, which would keep the card's memory
        printed, errors = process.communicate()
        return f"not measured: {seconds:.0f} s were not enough; so far:\n{(printed + errors)[-2000:]}"
    if process.returncode:
        return f"not measured (exit status {process.returncode}):\n{(printed + errors)[-2000:]}"
    return printed


def main() -> None:
    """Run what there is time for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--only", default="", help="measurements whose name contains this")
    parser.add_argument("--model", default="samples/model")
    parser.add_argument("--out", type=Path, default=Path("gpu.txt"))
    parser.add_argument("--small", action="store_true")
    arguments = parser.parse_args()
    ends = time.monotonic() + 60 * arguments.minutes
    with open(arguments.out, "w", encoding="utf-8") as file:
        for one in measurements(arguments.model):
            if arguments.only not in one.name:
                continue
            left = ends - time.monotonic()
            began = time.monotonic()
            found = (
                measure(one, arguments.small, min(left, one.seconds)) if left > 20 else "not measured: no time left\n"
            )
            text = f"## {one.name} ({time.monotonic() - began:.0f} s)\n\n{found.rstrip()}\n\n"
            print(text, end="", flush=True)
            file.write(text)
            file.flush()


if __name__ == "__main__":
    main()
