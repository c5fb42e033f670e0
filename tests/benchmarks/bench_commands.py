"""Processor time of whole commands, start and imports included, in this tree and in an earlier commit, by turns.

Rows are two turns of some 600 characters, without thoughts, as are the sample model's template and answers. Two
threads; ratios are medians of the rounds' own ratios.

    python -m tests.benchmarks.bench_commands --before 75f87ac [--rounds 3] [--rows 60000]
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.bench_before import TREE, conversations

MODEL = ["--model", str(TREE / "samples" / "model")]
ENGINE = [*MODEL, "--engine", "transformers", "--device", "cpu", "--max-tokens", "60"]
COMMANDS = {
    "filter": ["filter", "rows.parquet", "--filter", "length:min=1"],
    "mix": ["mix", "rows.jsonl", "--replay", "some.jsonl:0.5%"],
    "export": ["export", "rows.parquet", "--for", "trl"],
    "score-tokens": ["score-tokens", "some.jsonl", *MODEL],
    "magpie": ["magpie", *ENGINE, "-n", "400"],
    "paraphrase": ["paraphrase", "some.jsonl", *ENGINE, "--limit", "200"],
    "train": ["train", "some.jsonl", *MODEL, "--device", "cpu", "--steps", "10", "--batch-tokens", "2048"],
}
"""In the folder of the rows; each writes `out`."""


def spent(tree: Path, arguments: list[str], folder: Path) -> tuple[float, float]:
    """Seconds of the processor and by the clock that a command takes."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    command = [sys.executable, "-c", "from cli.main import main; main()", *arguments, "-o", "out"]
    environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "2"}
    began = time.perf_counter()
    with open(folder / "said", "w") as said:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{arguments[0]} failed in {tree}: {(folder / 'said').read_text()[-500:]}")
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", required=True, help="the earlier commit")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=60_000)
    given = parser.parse_args()
    import synth

    with tempfile.TemporaryDirectory() as name:
        folder, earlier = Path(name), Path(name) / "before"
        rows = [json.dumps(row) + "\n" for row in conversations(given.rows)]
        (folder / "rows.jsonl").write_text("".join(rows))
        (folder / "some.jsonl").write_text("".join(row.replace("the", "that") for row in rows[:500]))
        synth.export(folder / "rows.jsonl", folder / "rows.parquet", progress=synth.SILENT)
        subprocess.run(["git", "-C", TREE, "worktree", "add", "-q", "--detach", earlier, given.before], check=True)
        print(f"{'':<14} {'processor s':>15} {'':>6} {'by the clock':>15}")
        print(f"{'':<14} {'before':>8} {'now':>6} {'ratio':>6} {'before':>8} {'now':>6} {'ratio':>6}")
        try:
            for command, arguments in COMMANDS.items():
                sides: dict[Path, list[tuple[float, float]]] = {earlier: [], TREE: []}
                for number in range(given.rounds):
                    for tree in list(sides)[:: 1 if number % 2 else -1]:
                        sides[tree].append(spent(tree, arguments, folder))
                line = f"{command:<14}"
                for before, now in zip(*(zip(*side, strict=True) for side in sides.values()), strict=True):
                    ratio = statistics.median(one / other for other, one in zip(before, now, strict=True))
                    line += f" {statistics.median(before):>8.2f} {statistics.median(now):>6.2f} {ratio:>6.2f}"
                print(line, flush=True)
        finally:
            subprocess.run(["git", "-C", TREE, "worktree", "remove", "--force", earlier], check=True)


if __name__ == "__main__":
    main()
