"""One task data set, four ways: human, restated, mended and own answers, and how likely the model finds each.

Runs `synth paraphrase`, `minimum-change` and `self-output` on the sample model's new skill, then scores every verified
answer under the same model, and prints the table of samples/README.md.

    python samples/own_words.py [--tasks 300] [--style natural|alien]
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random

import datasets

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from samples import skills

MODEL = str(Path(__file__).parent / "model")
HARD = 2.5
"""Perplexity above which a token counts as hard (arXiv 2501.14315)."""


def write_tasks(file: Path, count: int, style: str) -> None:
    """The new skill's training questions, with answers as people might have written them."""
    chance = Random(f"own words {style}")
    with open(file, "w", encoding="utf-8") as lines:
        for question, answer in skills.suite("two_step", "train", count):
            human = skills.human_answer(chance, answer, style)
            lines.write(json.dumps({"question": question, "answer": human}) + "\n")


def synth(*arguments: object) -> None:
    """Run one command as a person would."""
    command = [sys.executable, "-c", "from cli.main import main; main()", *map(str, arguments)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


def scores(rows: Path, folder: Path) -> tuple[int, float, float]:
    """Verified rows, their perplexity per token (the answers' ends included), and the share of hard tokens."""
    synth("score-tokens", rows, "--model", MODEL, "--device", "cpu", "-o", folder)
    own = [row for row in datasets.load_from_disk(str(folder)) if row["method"] != "gold"]
    tokens = [value for row in own for value in row["logprobs"] if value is not None]
    hard = sum(value < -math.log(HARD) for value in tokens) / len(tokens)
    return len(own), math.exp(-sum(tokens) / len(tokens)), hard


def main() -> None:
    """Run the trial and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=300)
    parser.add_argument("--style", choices=("natural", "alien"), default="natural")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # more threads only get in each other's way at this size
    with tempfile.TemporaryDirectory() as folder:
        tasks = Path(folder, "tasks.jsonl")
        write_tasks(tasks, arguments.tasks, arguments.style)
        common = ["--model", MODEL, "--engine", "transformers", "--verifier", "math", "--max-tokens", 160]
        paths = {name: Path(folder, name) for name in ("paraphrase", "minimum-change", "self-output")}
        synth("paraphrase", tasks, *common, "-o", paths["paraphrase"])
        synth("minimum-change", tasks, *common, "-o", paths["minimum-change"])
        chosen = ["--samples", 8, "--select", "lowest-perplexity"]
        synth("self-output", tasks, *common, *chosen, "-o", paths["self-output"])
        print(f"{arguments.tasks} tasks, human answers in the style `{arguments.style}`\n")
        print("| answers | verified right | perplexity | hard tokens |")
        print("|---|---:|---:|---:|")
        for name, path in ({"human": tasks} | paths).items():
            rows, perplexity, hard = scores(path, Path(folder, f"{name}-scored"))
            print(f"| {name} | {rows} | {perplexity:.2f} | {hard:.1%} |", flush=True)


if __name__ == "__main__":
    main()
