"""Processor seconds of this tree and of an earlier commit, by turns, on plain data and a template without thoughts.

Each side is a process of its own on one thread, which does one path after the other when it is asked to; ratios are
medians of the rounds' own ratios. Rows are two turns of some 600 characters.

    python tests/benchmarks/bench_before.py --before e781281 [--rounds 5] [--rows 100000]
"""

import argparse
import gc
import importlib
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

TREE = Path(__file__).parents[2]
THREADS = {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
WORDS = ("the", "model", "answers", "in", "its", "own", "words", "forgets", "nothing", "it", "knew", "7", "π", "=")
CONVERSATIONS = 300


def conversations(count: int) -> list[dict[str, object]]:
    """Rows of one question and its answer."""
    draw = random.Random(0)
    texts = [" ".join(draw.choices(WORDS, k=draw.randint(20, 90))) for _ in range(5000)]
    return [
        {"messages": [{"role": role, "content": draw.choice(texts)} for role in ("user", "assistant")]}
        for _ in range(count)
    ]


def paths(folder: Path) -> dict[str, Callable[[], object]]:
    """What is measured, by name."""
    import synth
    from synth.data.read import open_rows
    from synth.engines.loading import load_tokenizer

    try:
        derive = importlib.import_module("synth.chat.derive").chat_format
    except ImportError:  # where it was
        derive = importlib.import_module("synth.chat.format").chat_format
    tokenizer = load_tokenizer(str(TREE / "samples" / "model"))
    chat = derive(tokenizer)
    turns = [row["messages"] for row in conversations(CONVERSATIONS)]

    def read(name: str, times: int) -> None:
        rows = open_rows(str(folder / name))
        for _ in range(times):
            for _ in rows.batches():
                pass

    def into(make: Callable[[str], object]) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            make(f"{place}/out")

    arrow = str(folder / "rows.arrow")
    found: dict[str, Callable[[], object]] = {
        "derive a chat format": lambda: derive(tokenizer),
        "encode conversations": lambda: [chat.encode(one) for one in turns],
        "prompts for answers": lambda: [chat.answer_prompt(one[:1]) for one in turns],  # type: ignore[index]
    }
    for name in ("rows.arrow", "rows.parquet", "rows.jsonl"):
        found[f"read {name}"] = lambda name=name: read(name, 1)  # type: ignore[misc]
        found[f"read {name}, twice"] = lambda name=name: read(name, 2)  # type: ignore[misc]
    return found | {
        "export to JSON lines": lambda: into(lambda out: synth.export(arrow, f"{out}.jsonl")),
    }


def serve(folder: Path) -> None:
    """Do what standard input names, and print the processor seconds."""
    found = paths(folder)
    told = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(json.dumps(list(found)), file=told, flush=True)
    for line in sys.stdin:
        gc.collect()
        began = _spent()
        found[line.strip()]()
        print(_spent() - began, file=told, flush=True)


def _spent() -> float:
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", help="the earlier commit")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve)
        return
    import synth

    with tempfile.TemporaryDirectory() as name:
        folder, earlier = Path(name), Path(name) / "before"
        subprocess.run(["git", "-C", TREE, "worktree", "add", "-q", "--detach", earlier, given.before], check=True)
        try:
            rows = conversations(given.rows)
            for target in ("rows.arrow", "rows.parquet", "rows.jsonl"):
                synth.export(rows, folder / target)
            command = [sys.executable, __file__, "--serve", name]
            sides = [
                subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                    env=os.environ | THREADS | {"PYTHONPATH": str(tree)},
                )
                for tree in (earlier, TREE)
            ]
            compare(sides, given.rounds)
        finally:
            subprocess.run(["git", "-C", TREE, "worktree", "remove", "--force", earlier], check=True)


def compare(sides: list["subprocess.Popen[str]"], rounds: int) -> None:
    """Print medians of both sides, after one round that is not counted."""
    asked, told = [side.stdin for side in sides], [side.stdout for side in sides]
    names = [json.loads(out.readline()) for out in told if out][-1]
    print(f"{'processor ms':<26} {'before':>8} {'now':>8} {'ratio':>6}")
    for name in names:
        pairs = []
        for _ in range(rounds + 1):
            pair = []
            for write, answer in zip(asked, told, strict=True):
                assert write and answer
                print(name, file=write, flush=True)
                pair.append(float(answer.readline()))
            pairs.append(pair)
        before, now = (1000 * statistics.median(side) for side in zip(*pairs[1:], strict=True))
        ratio = statistics.median(now / before for before, now in pairs[1:])
        print(f"{name:<26} {before:>8.1f} {now:>8.1f} {ratio:>6.2f}", flush=True)
    for write in asked:
        if write:
            write.close()


if __name__ == "__main__":
    main()
