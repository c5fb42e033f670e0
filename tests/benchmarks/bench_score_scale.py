"""`synth score-tokens` from 1,000 to 100,000 rows, and at a vocabulary of 150,000: time and memory.

The first table is the whole command on the sample model (rows of 10 to 60 tokens): its cost must be linear in tokens
and its peak memory flat. The second is a model of 150,000 tokens' vocabulary (float32, random weights) on rows of 4,096
tokens. Memory is the peak of the process above what it held once the model was loaded.

    python tests/benchmarks/bench_score_scale.py [--most 100000]
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks.bench_score_tokens import ROOT, WORDS, token_lists, write_rows

CHILD = """
import re, sys, time
from pathlib import Path
from synth.api import score_tokens as scoring
from cli.main import main

held = []
whole = scoring.open_scorer
def memory(name):
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
def opened(*arguments):
    found = whole(*arguments)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far: that of loading
    held.append((memory("VmRSS"), time.perf_counter()))
    return found
scoring.open_scorer = opened
try:
    main(sys.argv[1:])
except SystemExit as stop:
    assert not stop.code
print(time.perf_counter() - held[0][1], (memory("VmHWM") - held[0][0]) / 1024)
"""


def measure(model: Path, rows: Path, *options: str) -> tuple[float, float]:
    """Seconds after the model was loaded, and MiB above it at the peak."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["score-tokens", str(rows), "--model", str(model), "--train-on", "all", "--quiet"]
        command += ["-o", str(Path(folder, "out")), *options]
        done = subprocess.run([sys.executable, "-c", CHILD, *command], capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr[-3000:])
        seconds, mebibytes = map(float, done.stdout.split())
        return seconds, mebibytes


def wide_model(folder: Path) -> None:
    import shutil

    import torch
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=150_000,
        hidden_size=512,
        intermediate_size=1_408,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=8_192,
        bos_token_id=1,
        eos_token_id=2,
    )
    transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    for file in (ROOT / "samples" / "model").iterdir():
        if "token" in file.name or file.suffix == ".jinja":
            shutil.copy(file, folder / file.name)


def write_long_rows(path: Path, count: int, model: Path) -> None:
    """Rows of exactly 4,096 tokens."""
    from synth.chat.derive import format_for

    chat = format_for(str(model))
    chance = random.Random(2)
    with open(path, "w") as file:
        for _ in range(count):
            words = [chance.choice(WORDS.split()) for _ in range(4_096)]
            low, high = 0, len(words)
            while low < high:
                middle = (low + high + 1) // 2
                turns = [
                    {"role": "user", "content": "Go on."},
                    {"role": "assistant", "content": " ".join(words[:middle])},
                ]
                fits = len(chat.encode(turns).input_ids) <= 4_096
                low, high = (middle, high) if fits else (low, middle - 1)
            turns[1]["content"] = " ".join(words[:low])
            file.write(json.dumps({"messages": turns}) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=100_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model, rows = ROOT / "samples" / "model", Path(folder, "rows.jsonl")
        print("   rows      tokens  seconds  tokens/s  peak MiB", flush=True)
        for count in (1_000, 10_000, 100_000):
            if count <= arguments.most:
                write_rows(rows, count, 10, 60)
                tokens = sum(map(len, token_lists(model, rows)))
                seconds, mebibytes = measure(model, rows)
                print(
                    f"{count:>7,} {tokens:>11,} {seconds:>8.1f} {tokens / seconds:>9,.0f} {mebibytes:>9,.0f}",
                    flush=True,
                )
        wide = Path(folder, "wide")
        wide_model(wide)
        print("\nvocabulary 150,000, rows of 4,096 tokens (the logits of one row: 2,344 MiB)")
        print("   rows   peak MiB", flush=True)
        for count in (2, 8, 32):
            write_long_rows(rows, count, wide)
            print(f"{count:>7} {measure(wide, rows)[1]:>10,.0f}", flush=True)


if __name__ == "__main__":
    main()
