"""Time and peak memory of near-duplicate removal, beside datasketch, and of decontamination.

Rows are like Alpaca's, made by program: one of 40 instructions and words drawn by Zipf's law, 60 words on average; one
in twenty repeats an earlier row with a few words changed. Every measurement is a process of its own that reads the rows
from a file. datasketch does the same work on a part of the same rows (three-word shingles, 128 permutations, threshold
0.7, query before insert), without a comparison of whole sets.

python tests/benchmarks/bench_duplicates.py [--rows 52000] [--large] [--data FOLDER]

With --data, a folder with gsm8k, math500, humaneval and mbpp, decontamination is against these and not against 3,000
items made by program.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from filters.contamination import Item, answer_column, as_written, contaminated, question_column
from filters.duplicates import SHINGLE_WORDS, near_duplicates

TARGETS = {  # seconds, MiB
    "near duplicates 52,000": (15, 1536),
    "near duplicates 1,000,000": (300, 8192),
    "decontamination 100,000": (20, None),
}
BENCHMARKS = {"gsm8k": "test", "math500": "test", "humaneval": "HumanEval", "mbpp": "mbpp"}


def make_rows(count: int, file: Path) -> None:
    """Rows with a prompt, an answer and their text; every twentieth repeats an earlier one, three words changed."""
    chance = np.random.default_rng(0)
    words = np.array([f"word{number:x}" for number in range(30_000)], dtype=object)
    weight = 1 / np.arange(10, 30_010)
    instructions = [" ".join(chance.choice(words[:500], 8)) for _ in range(40)]
    lengths = np.clip(chance.lognormal(3.73, 0.7, count), 8, 2000).astype(int)
    drawn = words[chance.choice(30_000, lengths.sum(), p=weight / weight.sum())]
    ends = np.cumsum(lengths)
    prompts: list[str] = []
    answers: list[str] = []
    for row in range(count):
        if row % 20 == 19:
            earlier = int(chance.integers(0, row))
            changed = answers[earlier].split()
            for _ in range(min(3, len(changed) // 12)):
                changed[int(chance.integers(len(changed)))] = "changed"
            prompts.append(prompts[earlier].upper())
            answers.append(" ".join(changed))
        else:
            mine = drawn[ends[row] - lengths[row] : ends[row]]
            prompts.append(f"{instructions[int(chance.integers(40))]}: {' '.join(mine[:8])}?")
            answers.append(" ".join(mine[8:]))
    rows = pl.DataFrame({"id": [str(row) for row in range(count)], "prompt": prompts, "answer": answers})
    rows.with_columns(text=pl.col("prompt") + "\n" + pl.col("answer")).write_parquet(file)


def make_items(data: Path | None) -> tuple[list[Item], list[Item]]:
    """What the four benchmarks ask and their answers, or as many questions made by program."""
    items: list[Item] = []
    answers: list[Item] = []
    if data is None:
        chance = np.random.default_rng(1)
        return [
            ("made", number, " ".join(f"w{word}" for word in chance.integers(0, 9000, 45))) for number in range(3000)
        ], []
    for name, file in BENCHMARKS.items():
        rows = [json.loads(line) for line in (data / name / f"{file}.jsonl").read_text(encoding="utf-8").splitlines()]
        column = question_column(rows[0])
        items += [(name, number, row[column]) for number, row in enumerate(rows)]
        if solved := answer_column(rows[0]):
            answers += [(name, number, text) for number, row in enumerate(rows) for text in as_written(row[solved])]
    return items, answers


def datasketch_duplicates(texts: list[str]) -> int:
    """How many rows datasketch drops."""
    from datasketch import MinHash, MinHashLSH

    lsh = MinHashLSH(threshold=0.7, num_perm=128)
    sets = []
    for text in texts:
        words = re.findall(r"\w+", text.lower())
        last = max(1, len(words) - SHINGLE_WORDS + 1)
        sets.append({" ".join(words[at : at + SHINGLE_WORDS]).encode() for at in range(last)})
    dropped = 0
    for number, signature in enumerate(MinHash.generator(sets, num_perm=128)):
        if lsh.query(signature):
            dropped += 1
        else:
            lsh.insert(number, signature, check_duplication=False)
    return dropped


def measure(task: str, file: Path, data: Path | None) -> dict[str, float]:
    """One measurement in this process; the peak is that of the process, the rows among it."""
    rows = pl.read_parquet(file)
    items, answers = make_items(data) if task == "decontamination" else ([], [])
    texts = rows["text"].to_list() if task == "datasketch" else []
    began = time.perf_counter()
    if task == "near duplicates":
        failed = len(rows) - near_duplicates(rows).null_count()
    elif task == "decontamination":
        failed = len(rows) - contaminated(rows, items, answers).null_count()
    else:
        failed = datasketch_duplicates(texts)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"rows": len(rows), "failed": failed, "seconds": seconds, "peak": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=52_000)
    parser.add_argument("--large", action="store_true", help="also a million rows")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        task, file = arguments.one
        if task == "make":
            make_rows(arguments.rows, Path(file))
        else:
            print(json.dumps(measure(task, Path(file), arguments.data)))
        return
    plan = [("near duplicates", arguments.rows), ("near duplicates", 5000), ("datasketch", 5000)]
    plan += [("decontamination", 100_000)] + [("near duplicates", 1_000_000)] * arguments.large
    print(f"{os.cpu_count()} cores")
    print(f"{'task':<16} {'rows':>9} {'failed':>7} {'seconds':>8} {'rows/s':>9} {'peak MiB':>9}")
    rates: dict[tuple[str, int], float] = {}
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        for task, rows in plan:
            file = Path(folder, f"{rows}.parquet")
            call = [sys.executable, __file__, "--rows", str(rows), "--one"]
            data = ["--data", str(arguments.data)] if arguments.data else []
            if not file.exists():
                subprocess.run([*call, "make", str(file)], check=True)
            done = subprocess.run([*call, task, str(file), *data], check=True, capture_output=True, text=True)
            result = json.loads(done.stdout)
            rates[task, rows] = rows / result["seconds"]
            print(
                f"{task:<16} {rows:>9,} {result['failed']:>7,} {result['seconds']:>8.2f} {rates[task, rows]:>9,.0f}"
                f" {result['peak']:>9,.0f}",
                flush=True,
            )
            seconds, peak = TARGETS.get(f"{task} {rows:,}", (None, None))
            if (seconds and result["seconds"] > seconds) or (peak and result["peak"] > peak):
                missed.append(f"{task} of {rows:,} rows: more than {seconds} s or {peak} MiB")
    times = rates["near duplicates", 5000] / rates["datasketch", 5000]
    print(f"near duplicates: {times:.1f} times the rows a second of datasketch")
    if times < 5:
        missed.append("less than 5 times datasketch")
    sys.exit("\n".join(missed) or None)


if __name__ == "__main__":
    main()
