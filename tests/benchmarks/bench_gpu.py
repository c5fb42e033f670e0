"""All measurements that need a GPU, one after another, for a machine that is there for some minutes.

Each is a benchmark of this folder in a process of its own, with the time that is left for it; what it printed is shown
and written down as soon as it ends. One that fails, or runs out of time, is said to be not measured, with what it had
printed until then, and the next is begun. The order is that of their weight: training first.

    python tests/benchmarks/bench_gpu.py [--minutes 14] [--only train magpie] [--model DIR] [--out gpu.txt]

All may take 13 minutes. Where a machine runs one command for ten, there are two calls, the second for what is left:

    python tests/benchmarks/bench_gpu.py --minutes 9 --only train magpie exactness score-tokens --out first.txt
    python tests/benchmarks/bench_gpu.py --minutes 5 --only step engine --out second.txt

`--model` is the model that writes (a chat model of 135 million parameters, say); without it the sample model does.
`--small` tries the list itself on a CPU, with sizes that say nothing of speed.
"""

import argparse
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Measurement:
    """One of them.

    Attributes:
        name: what is measured.
        command: the benchmark and its arguments, as after `python` in a shell.
        small: arguments instead of these, to try it on a CPU.
        seconds: it may take, start-up included.
    """

    name: str
    command: str
    small: str
    seconds: int


def measurements(model: str) -> list[Measurement]:
    """All of them, the weightiest first; the seconds of the first five come to 520."""
    bench, model = "-m tests.benchmarks.bench_", shlex.quote(model)
    sides = "--sides 'synth,trl packing'"
    little = f"{bench}train --model sample --steps 1 --tokens 512 {sides} --rounds 1"
    cuda = "--device cuda --rounds 1"
    attention, graphs = "tests/synth/training/test_attention.py", "tests/synth/engines/hf/test_fixed_step.py"
    scored = f"{bench}score_tokens --sides synth,limit,vllm"
    magpie = f"{bench}magpie --model {model} --no-seeds --rounds 1"
    seeds = f"{bench}seeds --model {model} --rounds 1"
    engine = f"{bench}transformers_engine --model {model}"
    return [
        Measurement("train, 1B Llama", f"{bench}train --model 1B --steps 30 {sides} {cuda}", little, 120),
        Measurement("magpie on vLLM", f"{magpie} --concurrency 512", f"{magpie} --rows 16 --limit 8", 170),
        Measurement(
            "train, 135M Llama",
            f"{bench}train --model 135M --steps 60 --tokens 32768 {sides} {cuda}",
            little,
            50,
        ),
        Measurement(
            "exactness of packed attention and of graphs",
            f"-m pytest -q -rs {attention} {graphs}",
            f"-m pytest -q {attention} -k deep_model",
            40,
        ),
        Measurement(
            "score-tokens, 1B Llama",
            f"{scored} --size 1B --rows 4000 --dtype bfloat16 {cuda}",
            f"{scored} --size 2M --rows 20 --rounds 1",
            140,
        ),
        Measurement(
            "a step of vLLM: seeds, text, log-probabilities, synth",
            f"{seeds} --rows 512 --tokens 64",
            f"{seeds} --rows 4 --tokens 4",
            150,
        ),
        Measurement("transformers engine", f"{engine} --device cuda", f"{engine} --rows 4", 90),
    ]


def measure(one: Measurement, small: bool, seconds: float) -> str:
    """What a measurement printed, or why there is none."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, "-u", *shlex.split(one.small if small else one.command)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        printed, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # an engine has processes of its own, which would keep the card's memory
        printed, errors = process.communicate()
        return f"not measured: {seconds:.0f} s were not enough; so far:\n{printed}{errors[-2000:]}"
    if process.returncode:
        return f"not measured (exit status {process.returncode}):\n{printed}{errors[-2000:]}"
    return printed


def main() -> None:
    """Run what there is time for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=14)
    parser.add_argument("--only", nargs="+", default=[""], help="measurements whose name contains one of these")
    parser.add_argument("--model", default="samples/model")
    parser.add_argument("--out", type=Path, default=Path("gpu.txt"))
    parser.add_argument("--small", action="store_true")
    arguments = parser.parse_args()
    ends = time.monotonic() + 60 * arguments.minutes
    with open(arguments.out, "w", encoding="utf-8") as file:
        for one in measurements(arguments.model):
            if not any(word in one.name for word in arguments.only):
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
