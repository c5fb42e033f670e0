"""`kill -9` at random moments of real `synth iterate` loops, each given again until it is done, against one in peace.

python tests/benchmarks/bench_iterate.py [--kills 20] [--tasks 60] [--engine transformers]

The loop is a sequence of two tasks, two rounds each, of the sample model on one core: a kill may hit any step of it.
All of `rounds.json` is compared but for the seconds: scores of every suite, KL, acceptance, rows, steps.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from samples import skills

SYNTH = [sys.executable, "-c", "from cli.main import main; main()"]
STEPS = ("scores", "replay", "answers", "model", "earlier", "mixed")
"""Directories of a loop's steps."""


def write_tasks(folder: Path, size: int) -> list[str]:
    """Tasks and suites; what is said of them on the command line."""
    for skill in ("two_step", "arithmetic"):
        for split, rows in (("train", size), ("test", 20)):
            lines = [
                json.dumps({"question": question, "answer": answer, "verifier": "math"}) + "\n"
                for question, answer in skills.suite(skill, split, rows)
            ]
            (folder / f"{skill}-{split}.jsonl").write_text("".join(lines))
    tasks = ",".join(str(folder / f"{skill}-train.jsonl") for skill in ("two_step", "arithmetic"))
    suites = [word for skill in ("two_step", "arithmetic") for word in ("--new", str(folder / f"{skill}-test.jsonl"))]
    return ["iterate", "--tasks", tasks, *suites, "--verifier", "math"]


def found_in(folder: Path) -> dict[str, Any]:
    """What a loop found, apart from the time that it took and where its models are."""
    found: dict[str, Any] = json.loads((folder / "rounds.json").read_text(encoding="utf-8"))
    for one in found["rounds"]:
        del one["seconds"]
        if one["scores"]:
            del one["scores"]["model"]
    return found


def newest(folder: Path) -> tuple[float, str]:
    """When something in a directory was written last, and in which step."""
    found = (0.0, "")
    for path, _, files in os.walk(folder):
        for file in files:
            try:
                written = os.stat(os.path.join(path, file)).st_mtime
            except FileNotFoundError:
                continue
            step = next((name for name in STEPS if name in Path(path).relative_to(folder).parts), "the loop's own")
            found = max(found, (written, step))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--tasks", type=int, default=60)
    parser.add_argument("--engine", default="transformers")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    moments, folder = random.Random(arguments.seed), Path(tempfile.mkdtemp(prefix="synth-iterate-"))
    command = [*SYNTH, *write_tasks(folder, arguments.tasks), "--model", "samples/model", "--engine", arguments.engine]
    command += ["--rounds", "2", "--patience", "2", "--samples", "2", "--max-tokens", "80", "--eval-tokens", "80"]
    command += ["--replay-rows", "20", "--steps", "6", "--batch-tokens", "600", "--lr", "1e-3", "--quiet"]
    command += ["--train-arg", "save_every=2", "--train-arg", "dtype=float32"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    quiet = {"env": environment, "stdout": subprocess.DEVNULL}
    whole, began = folder / "whole", time.monotonic()
    subprocess.run([*command, "-o", str(whole)], check=True, **quiet)  # type: ignore[call-overload]
    longest = (time.monotonic() - began) / 8
    hit: Counter[str] = Counter()
    same = differ = 0
    while hit.total() < arguments.kills:
        out = folder / f"{same + differ}"
        while True:
            before = newest(out)[0]
            child = subprocess.Popen([*command, "-o", str(out)], **quiet)  # type: ignore[call-overload]
            while child.poll() is None and newest(out)[0] == before:
                time.sleep(0.02)  # a kill while it loads its libraries would test nothing
            if hit.total() < arguments.kills:
                time.sleep(moments.uniform(0, longest))
                child.kill()
            if child.wait() != -signal.SIGKILL:
                assert child.returncode == 0, f"it ended by itself with {child.returncode}"
                break
            hit[newest(out)[1]] += 1
        if found_in(out) == found_in(whole):
            same += 1
        else:
            differ += 1
        shutil.rmtree(out)
    where = ", ".join(f"{count} in {step}" for step, count in hit.most_common())
    print(
        f"{hit.total()} kills ({where}) over {same + differ} loops: {same} with the same rounds, {differ} with others"
    )
    shutil.rmtree(folder)
    sys.exit(differ > 0)


if __name__ == "__main__":
    main()
