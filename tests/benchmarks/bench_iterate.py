"""`kill -9` at random moments of real `synth iterate` loops, each given again until it is done, against one in peace.

python -m tests.benchmarks.bench_iterate [--kills 20] [--tasks 60] [--engine transformers]

The loop is a sequence of two tasks, two rounds each, of the sample model on one core: a kill may hit any step of it.
All of `rounds.json` is compared but for the seconds: scores of every suite, KL, acceptance, rows, steps.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from samples import skills
from tests.benchmarks.bench_kill import ended, kill_all, started

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
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what it has started ends with it
    moments = random.Random(arguments.seed)
    hit: Counter[str] = Counter()
    same = differ = 0
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="synth-iterate-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.callback(kill_all)
        command = [*write_tasks(folder, arguments.tasks), "--model", "samples/model", "--engine", arguments.engine]
        command += ["--rounds", "2", "--patience", "2", "--samples", "2", "--max-tokens", "80", "--eval-tokens", "80"]
        command += ["--replay-rows", "20", "--steps", "6", "--batch-tokens", "600", "--lr", "1e-3", "--quiet"]
        command += ["--train-arg", "save_every=2", "--train-arg", "dtype=float32"]
        whole, began = folder / "whole", time.monotonic()
        ended(started(*command, "-o", whole), may_be_killed=False)
        seconds = time.monotonic() - began
        print(f"a loop in peace: {seconds:.0f} s, {len(found_in(whole)['rounds'])} rounds", flush=True)
        while hit.total() < arguments.kills:
            out = folder / f"{same + differ}"
            while killed_once(command, out, moments.uniform(0, seconds / 8), wanted=hit.total() < arguments.kills):
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
    sys.exit(differ > 0)


def killed_once(command: list[str], out: Path, seconds: float, *, wanted: bool) -> bool:
    """Give the command once more; whether it was killed, so long after it wrote something, before it was done."""
    before = newest(out)[0]
    child = started(*command, "-o", out)
    while wanted and child.is_alive() and newest(out)[0] == before:
        time.sleep(0.02)  # a kill while it reads its settings would test nothing
    if wanted:
        child.join(seconds)
        child.kill()
    return ended(child, may_be_killed=wanted)


if __name__ == "__main__":
    main()
