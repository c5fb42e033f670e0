"""Rows through `synth` beside the bare Arrow and polars copy of the same data.

Each pair of formats runs in a process of its own, first bare (the shortest pyarrow or polars program that copies
the file, with the types given and nothing checked), then through `synth` (types found, every value validated, the
target synced before it gets its name; the bare copy is synced too). Memory is the peak of what the process holds
for itself (RssAnon): pages of a memory-mapped file are the system's, and can go at any time.

    python tests/benchmarks/bench_io.py --rows 1000000
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow as pa
from pyarrow import json as arrow_json
from pyarrow import parquet

from synth.data.read import open_rows
from synth.data.row import BASE
from synth.data.schema.shapes import recognise
from synth.data.write import open_writer

PAIRS = [
    ("rows.arrow", "out.arrow"),
    ("rows", "out"),
    ("rows.arrow", "out.parquet"),
    ("rows.parquet", "out.parquet"),
    ("rows.parquet", "out.jsonl"),
    ("rows.jsonl", "out.arrow"),
    ("rows.jsonl", "out.jsonl"),
    ("pairs.jsonl", "out.arrow"),
]
"""pairs.jsonl holds question/answer, which become messages: every row is looked at, column by column."""

PAIR = pa.schema([("question", pa.string()), ("answer", pa.string())])


def make_inputs(folder: Path, rows: int) -> None:
    """Conversations of two turns, about 600 characters a row."""
    draw = random.Random(0)
    words = [
        "the",
        "model",
        "answers",
        "in",
        "its",
        "own",
        "words",
        "and",
        "forgets",
        "nothing",
        "it",
        "knew",
        "7",
        "π",
    ]
    texts = [" ".join(draw.choices(words, k=draw.randint(20, 90))) for _ in range(5000)]
    names = ["rows.arrow", "rows.parquet", "rows.jsonl", "rows"]
    writers = [open_writer(str(folder / name), BASE) for name in names]
    pairs = open_writer(str(folder / "pairs.jsonl"), PAIR)
    for start in range(0, rows, 5000):
        count = min(5000, rows - start)
        question, answer = pa.array(draw.sample(texts, count)), pa.array(draw.sample(texts, count))
        columns = {
            "id": pa.array([f"{draw.getrandbits(128):032x}" for _ in range(count)]),
            "method": pa.array(["magpie"] * count),
            "model": pa.array(["Qwen/Qwen2.5-7B-Instruct"] * count),
            "logprob": pa.array([-100 * draw.random() for _ in range(count)]),
        }
        pair = pa.record_batch([question, answer], schema=PAIR)
        columns["messages"] = recognise(PAIR).convert(pair)["messages"]
        table = [columns.get(field.name, pa.nulls(count, field.type)) for field in BASE]
        for writer in writers:
            writer.write(pa.record_batch(table, schema=BASE))
        pairs.write(pair)
    for writer in (*writers, pairs):
        writer.close()


def through_synth(source: Path, target: Path) -> None:
    rows = open_rows(str(source))
    with open_writer(str(target), rows.schema, source=str(source)) as writer:
        for batch in rows.batches():
            writer.write(batch)


def bare(source: Path, target: Path) -> None:
    if source.suffix == ".jsonl":
        schema = (
            PAIR
            if source.stem == "pairs"
            else pa.schema([BASE.field(name) for name in ("id", "messages", "method", "model", "logprob")])
        )
        options = {
            "read_options": arrow_json.ReadOptions(block_size=2**23),
            "parse_options": arrow_json.ParseOptions(explicit_schema=schema),
        }
        batches = iter(arrow_json.open_json(source, **options))
    elif source.suffix == ".parquet":
        schema, batches = BASE, parquet.ParquetFile(source).iter_batches(16_384)
    elif source.is_dir():
        shards = (pa.ipc.open_stream(pa.memory_map(str(path))) for path in sorted(source.glob("*.arrow")))
        schema, batches = BASE, (batch for shard in shards for batch in shard)
    else:
        reader = pa.ipc.open_file(pa.memory_map(str(source)))
        schema, batches = BASE, map(reader.get_batch, range(reader.num_record_batches))
    with open(target, "wb") as file:
        if target.suffix == ".jsonl":
            for batch in batches:
                pl.DataFrame(batch).write_ndjson(file)
        else:
            opener: Callable[..., object] = {".arrow": pa.ipc.new_file, ".parquet": parquet.ParquetWriter}.get(
                target.suffix, pa.ipc.new_stream
            )
            with opener(file, schema) as writer:  # type: ignore[attr-defined]
                for batch in batches:
                    writer.write_batch(batch)
        file.flush()
        os.fsync(file.fileno())


def peak_of(stop: threading.Event, peak: list[int]) -> None:
    while not stop.wait(0.02):
        with open("/proc/self/status") as status:
            peak[0] = max(peak[0], next(int(line.split()[1]) for line in status if line.startswith("RssAnon")))


def measure(way: str, source: Path, target: Path) -> None:
    """In a process of its own: print seconds and peak memory (MiB)."""
    stop, peak = threading.Event(), [0]
    watcher = threading.Thread(target=peak_of, args=(stop, peak))
    watcher.start()
    start = time.perf_counter()
    (through_synth if way == "synth" else bare)(source, target)
    seconds = time.perf_counter() - start
    stop.set()
    watcher.join()
    print(json.dumps([seconds, peak[0] / 1024]))


def size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else path.stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(given.measure[0], *map(Path, given.measure[1:]))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_inputs(folder, given.rows)
        print(f"{given.rows:,} rows · bare | synth")
        print(f"{'':24}{'rows/s':>23}{'MB/s':>13}{'synth/bare':>12}{'peak MiB':>13}")
        for source, target in PAIRS:
            rates, peaks = {}, {}
            for way in ("bare", "synth"):
                out = folder / f"{way}-{target}"
                command = [sys.executable, __file__, "--measure", way, str(folder / source), str(out)]
                seconds, peaks[way] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
                rates[way] = given.rows / seconds
                subprocess.run(["rm", "-r", str(out)], check=True)
            megabytes = size(folder / source) / given.rows / 1e6
            print(
                f"{source + ' → ' + target:24}{rates['bare']:>11,.0f} |{rates['synth']:>10,.0f}"
                f"{rates['bare'] * megabytes:>6,.0f} |{rates['synth'] * megabytes:>5,.0f}"
                f"{rates['synth'] / rates['bare']:>12.2f}{peaks['bare']:>6,.0f} |{peaks['synth']:>5,.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
