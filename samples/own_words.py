"""One task data set, four ways: human, restated, mended and own answers, and how likely the model finds each.

Runs `synth paraphrase`, `minimum-change` and `self-output` on the sample model's new skill, then scores every verified
answer under the same model, and prints the table of samples/README.md.

    python samples/own_words.py [--tasks 300] [--style natural|alien]
"""

import argparse
import asyncio
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random

import datasets
import transformers

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from samples import skills
from synth.chat import format_for
from synth.engines.base import EngineOptions
from synth.engines.transformers import open_transformers
from synth.methods.answers import Speaker
from synth.row import Message

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


async def score(found: dict[str, list[list[Message]]]) -> dict[str, tuple[float, float]]:
    """Perplexity per token (the answers' ends included) and the share of hard tokens, of each set of conversations."""
    chat = format_for(MODEL)
    engine = await open_transformers(MODEL, chat.tokenizer, EngineOptions(device="cpu"))
    speaker = Speaker(engine, chat, MODEL)
    scores = {}
    for name, conversations in found.items():
        spans = await asyncio.gather(*map(speaker.logprobs, conversations))
        tokens = [float(value) for span in spans for value in span]
        hard = sum(value < -math.log(HARD) for value in tokens) / len(tokens)
        scores[name] = math.exp(-sum(tokens) / len(tokens)), hard
    await engine.close()
    return scores


def main() -> None:
    """Run the trial and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=300)
    parser.add_argument("--style", choices=("natural", "alien"), default="natural")
    arguments = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
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
        human = [json.loads(line) for line in tasks.read_text().splitlines()]
        found = {"human": [[_turn("user", row["question"]), _turn("assistant", row["answer"])] for row in human]}
        for name, path in paths.items():
            rows = datasets.load_from_disk(str(path)).to_list()
            found[name] = [row["messages"] for row in rows if row["method"] != "gold"]
    print(f"{arguments.tasks} tasks, human answers in the style `{arguments.style}`\n")
    print("| answers | verified right | perplexity | hard tokens |")
    print("|---|---:|---:|---:|")
    for name, (perplexity, hard) in asyncio.run(score(found)).items():
        print(f"| {name} | {len(found[name])} | {perplexity:.2f} | {hard:.1%} |")


def _turn(role: str, content: str) -> Message:
    return {"role": role, "content": content}


if __name__ == "__main__":
    main()
