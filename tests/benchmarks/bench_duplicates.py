"""Time and peak memory of near-duplicate removal, beside datasketch and rensa, and of decontamination.

Rows are like Alpaca's, made by program: one of 40 instructions and words drawn by Zipf's law, 60 words on average; one
in twenty repeats an earlier row with a few words changed. Every measurement is a process of its own that reads the rows
from a file; the median of three counts. datasketch and rensa do the same work on the same rows (three-word shingles,
128 permutations, threshold 0.7, query before insert), without a comparison of whole sets. `rensa signatures` makes the
signatures alone, from the hashes of shingles that ours are made of, as rows that bands can be cut from, and
`signatures` does so with numpy.

python tests/benchmarks/bench_duplicates.py [--rows 52000] [--rounds 3] [--large] [--data FOLDER]
python tests/benchmarks/bench_duplicates.py --filter 1000000,3000000,10000000 [--folder /tmp]

With --filter, `synth filter --dedup near` as a whole is measured instead, from a Parquet file to a dataset directory,
by the number of rows: they are made on the fly, and need 2 KiB of disk each, temporary files among it.

rensa and datasketch are not among the project's dependencies: `pip install rensa datasketch`.

With --data, a folder with gsm8k, math500, humaneval and mbpp, decontamination is against these and not against 3,000
items made by program.
"""

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import polars as pl
from pyarrow import parquet

from filters.contamination import Item, answer_column, as_written, contaminated, question_column
from filters.duplicates import SHINGLE_WORDS, near_duplicates
from filters.minhash import band_keys, bands, shingle_sets
from filters.words import split

MILLION = 1_000_000
TARGETS = {  # seconds, MiB
    "near duplicates 52,000": (15, 1536),
    "near duplicates 1,000,000": (300, 8192),
    "decontamination 100,000": (20, None),
}
BENCHMARKS = {"gsm8k": "test", "math500": "test", "humaneval": "HumanEval", "mbpp": "mbpp"}


def make_rows(count: int, file: Path) -> None:
    """Rows with a prompt, an answer and their text."""
    rows = some_rows(count, 0, [])
    rows.with_columns(text=pl.col("prompt") + "\n" + pl.col("answer")).write_parquet(file)


def make_many_rows(count: int, file: Path) -> None:
    """Rows with a prompt and an answer, a million at a time; they repeat rows of earlier millions, too."""
    earlier: list[tuple[str, str]] = []
    with ExitStack() as stack:
        writer: parquet.ParquetWriter | None = None
        for number in range(-(-count // MILLION)):
            table = some_rows(min(MILLION, count - number * MILLION), number, earlier).to_arrow()
            writer = writer or stack.enter_context(parquet.ParquetWriter(file, table.schema, compression="zstd"))
            writer.write_table(table)


def some_rows(count: int, seed: int, earlier: list[tuple[str, str]]) -> pl.DataFrame:
    """Rows with a prompt and an answer; every twentieth repeats an earlier one, three words changed.

    Every second of these repeats one of `earlier` where there are any, to which some of the rows are added.
    """
    chance = np.random.default_rng(seed)
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
            number = int(chance.integers(0, row))
            prompt, answer = prompts[number], answers[number]
            if row % 40 == 39 and earlier:
                prompt, answer = earlier[int(chance.integers(0, len(earlier)))]
            changed = answer.split()
            for _ in range(min(3, len(changed) // 12)):
                changed[int(chance.integers(len(changed)))] = "changed"
            prompts.append(prompt.upper())
            answers.append(" ".join(changed))
        else:
            mine = drawn[ends[row] - lengths[row] : ends[row]]
            prompts.append(f"{instructions[int(chance.integers(40))]}: {' '.join(mine[:8])}?")
            answers.append(" ".join(mine[8:]))
    earlier += zip(prompts[::50], answers[::50], strict=True)
    ids = [f"{seed}-{row}" if seed else str(row) for row in range(count)]
    return pl.DataFrame({"id": ids, "prompt": prompts, "answer": answers})


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


def rensa_duplicates(texts: list[str]) -> int:
    """How many rows rensa drops; its bands are chosen as ours are."""
    from rensa import RMinHashDeduplicator

    count, _ = bands(0.7)
    deduplicator = RMinHashDeduplicator(threshold=0.7, num_perm=128, use_lsh=True, num_bands=power_of_two(count))
    sets = []
    for number, text in enumerate(texts):
        words = re.findall(r"\w+", text.lower())
        last = max(1, len(words) - SHINGLE_WORDS + 1)
        sets.append((str(number), [" ".join(words[at : at + SHINGLE_WORDS]) for at in range(last)]))
    return int(deduplicator.add_pairs(sets).count(False))


def power_of_two(count: int) -> int:
    """The least power of two that is not less: rensa's bands divide its 128 permutations."""
    return 1 << (count - 1).bit_length()


def signatures(rows: pl.DataFrame, library: str) -> tuple[float, float]:
    """Seconds, and processor seconds, for the signatures of all rows, their shingles being there."""
    count, width = bands(0.7)
    pieces = [shingle_sets(piece, SHINGLE_WORDS) for piece in split(rows["text"], operators=True)]
    factors = np.random.default_rng(0).integers(0, 1 << 63, (count, width), np.uint64) * np.uint64(2) + np.uint64(1)
    began, before = time.perf_counter(), time.process_time()
    for hashes, lengths in pieces:
        if library == "rensa":
            from rensa import RMinHash

            offsets = np.concatenate([[0], np.cumsum(lengths)])
            matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes.tolist(), offsets.tolist(), 128, 0)
            np.array(matrix.to_rows(), np.uint64)
        else:
            band_keys(hashes, lengths, factors)
    return time.perf_counter() - began, time.process_time() - before


def measure(task: str, file: Path, data: Path | None) -> dict[str, float]:
    """One measurement in this process; the peak is that of the process, the rows among it."""
    rows = pl.read_parquet(file)
    items, answers = make_items(data) if task == "decontamination" else ([], [])
    texts = rows["text"].to_list() if task in ("datasketch", "rensa") else []
    failed = 0
    began, before = time.perf_counter(), time.process_time()
    if task == "near duplicates":
        failed = len(rows) - near_duplicates(rows).null_count()
    elif task == "decontamination":
        failed = len(rows) - contaminated(rows, items, answers).null_count()
    elif texts:
        failed = datasketch_duplicates(texts) if task == "datasketch" else rensa_duplicates(texts)
    seconds, processor = time.perf_counter() - began, time.process_time() - before
    if task.endswith("signatures"):
        seconds, processor = signatures(rows, task.removesuffix("signatures").strip())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"rows": len(rows), "failed": failed, "seconds": seconds, "processor": processor, "peak": peak}


def measure_filter(rows: int, file: Path) -> dict[str, float]:
    """As `measure`, of the whole command on the first rows of a file."""
    import synth

    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        began, before = time.perf_counter(), time.process_time()
        kept = synth.filter(
            file,
            [synth.filters.NearDuplicates()],
            output=Path(folder, "out"),
            limit=rows,
            prompt_column="prompt",
            reference_column="answer",
            progress=synth.SILENT,
        )
        seconds, processor = time.perf_counter() - began, time.process_time() - before
        failed = rows - len(kept)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"rows": rows, "failed": failed, "seconds": seconds, "processor": processor, "peak": peak}


def in_its_own_process(task: str, rows: int, file: Path, data: Path | None) -> dict[str, float]:
    """One measurement, of rows that are made if they are not there."""
    call = [sys.executable, __file__, "--rows", str(rows), *(["--data", str(data)] if data else []), "--one"]
    if not file.exists():
        subprocess.run([*call, "make", str(file)], check=True)
    done = subprocess.run([*call, task, str(file)], check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def filter_many(counts: list[int], folder: Path | None) -> None:
    """`synth filter` on ever more rows of one file."""
    print(HEADER)
    with tempfile.TemporaryDirectory(dir=folder) as made:
        file = Path(made, "rows.parquet")
        make = ["--rows", str(max(counts)), "--one", "make many", str(file)]
        subprocess.run([sys.executable, __file__, *make], check=True)
        for rows in counts:
            result = in_its_own_process("filter", rows, file, None)
            print(line("synth filter", **result), flush=True)
            if result["peak"] > 8192:
                sys.exit(f"{rows:,} rows: more than 8,192 MiB")


HEADER = f"{'task':<16} {'rows':>10} {'failed':>7} {'seconds':>8} {'processor':>10} {'rows/s':>9} {'peak MiB':>9}"


def line(task: str, rows: float, failed: float, seconds: float, processor: float, peak: float) -> str:
    return (
        f"{task:<16} {rows:>10,} {failed:>7,} {seconds:>8.2f} {processor:>10.2f} {rows / seconds:>9,.0f} {peak:>9,.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=52_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--large", action="store_true", help="also a million rows")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--filter", type=lambda text: [int(part) for part in text.split(",")], metavar="ROWS,…")
    parser.add_argument("--folder", type=Path, help="where the rows of --filter go; temporary files go to TMPDIR")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        task, file = arguments.one
        if task == "make":
            make_rows(arguments.rows, Path(file))
        elif task == "make many":
            make_many_rows(arguments.rows, Path(file))
        elif task == "filter":
            print(json.dumps(measure_filter(arguments.rows, Path(file))))
        else:
            print(json.dumps(measure(task, Path(file), arguments.data)))
        return
    if arguments.filter:
        filter_many(arguments.filter, arguments.folder)
        return
    others = ("datasketch", "rensa", "signatures", "rensa signatures")
    plan = [(task, arguments.rows) for task in ("near duplicates", *others)]
    plan += [("decontamination", 100_000)] + [("near duplicates", 1_000_000)] * arguments.large
    print(f"{os.cpu_count()} cores")
    print(HEADER)
    processors: dict[tuple[str, int], float] = {}
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        measured: dict[tuple[str, int], list[dict[str, float]]] = {}
        for number in range(arguments.rounds):  # by turns: what else the machine does meets all of them
            for task, rows in plan:
                if number == 0 or rows == arguments.rows:
                    file = Path(folder, f"{rows}.parquet")
                    measured.setdefault((task, rows), []).append(in_its_own_process(task, rows, file, arguments.data))
        for (task, rows), results in measured.items():
            seconds, processor, peak = (
                statistics.median(result[name] for result in results) for name in ("seconds", "processor", "peak")
            )
            processors[task, rows] = processor
            print(line(task, rows, results[0]["failed"], seconds, processor, peak))
            most_seconds, most_peak = TARGETS.get(f"{task} {rows:,}", (None, None))
            if (most_seconds and seconds > most_seconds) or (most_peak and peak > most_peak):
                missed.append(f"{task} of {rows:,} rows: more than {most_seconds} s or {most_peak} MiB")
    ours = processors["near duplicates", arguments.rows]
    for library in ("datasketch", "rensa"):
        print(f"{library}: {processors[library, arguments.rows] / ours:.1f} times the processor seconds of ours")
    if processors["datasketch", arguments.rows] < 5 * ours:
        missed.append("less than 5 times datasketch")
    sys.exit("\n".join(missed) or None)


if __name__ == "__main__":
    main()
