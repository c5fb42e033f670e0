"""`kill -9` at random moments of a real `synth magpie` run, each time continued, against an uninterrupted run.

With `--shards`, of a run in so many shards, which are joined at the end.

python tests/benchmarks/bench_kill.py [--kills 20] [--rows 1500] [--engine transformers] [--shards 4]
"""

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import datasets
import pyarrow as pa

SYNTH = [sys.executable, "-c", "from cli.main import main; main()"]
COMMAND = [*SYNTH, "magpie", "--quiet", "--question-tokens", "120"]


def rows_of(path: Path) -> dict[str, str]:
    loaded = datasets.load_from_disk(str(path))
    ids = loaded["id"][:]
    assert len(set(ids)) == len(ids), "an id is doubled"
    return dict(zip(ids, map(str, loaded["messages"]), strict=True))


def readable(path: Path) -> int:
    """Reads every landed shard of a killed run to its end; how many there are."""
    shards = [*path.glob("data-*.arrow"), *path.glob("rejected/data-*.arrow")]
    for shard in shards:
        with pa.memory_map(str(shard)) as file:
            pa.ipc.open_stream(file).read_all()
    return len(shards)


def wait_for_rows(journal: Path, child: "subprocess.Popen[bytes]") -> None:
    """Until the run makes rows: a kill while it loads its model would test nothing."""
    size = journal.stat().st_size if journal.exists() else 0
    while child.poll() is None:
        time.sleep(0.02)
        if journal.exists() and journal.stat().st_size > size:
            return
        size = min(size, journal.stat().st_size) if journal.exists() else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="samples/model")
    parser.add_argument("--engine", default="transformers")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    moments = random.Random(arguments.seed)
    folder = Path(tempfile.mkdtemp(prefix="synth-kill-"))
    command = [*COMMAND, "--model", arguments.model, "--engine", arguments.engine, "-n", str(arguments.rows)]
    command += ["--max-tokens", "120", "-o"]
    began = time.monotonic()
    subprocess.run([*command, str(folder / "whole")], check=True)
    whole = time.monotonic() - began
    of = arguments.shards
    shards = {folder / f"killed-{number}": ["--shard", f"{number}/{of}"] for number in range(1, of + 1)}
    if of == 1:
        shards = {folder / "killed": []}
    kills, seen = 0, 0
    for number in range(arguments.kills):
        killed = [*shards][number % of]
        if (killed / "run.json").exists():
            continue
        again = [*command, str(killed), *shards[killed]]
        child = subprocess.Popen([*again, "--concurrency", str(moments.choice((16, 64, 256)))])
        wait_for_rows(killed / "journal.jsonl", child)
        time.sleep(moments.uniform(0, 1.5) * whole / (arguments.kills + 5))
        child.send_signal(signal.SIGKILL)
        kills += child.wait() == -signal.SIGKILL
        if killed.exists():
            seen = readable(killed)
            journal = killed / "journal.jsonl"
            kept = journal.read_bytes().count(b"\n") if journal.exists() else 0
            print(f"kill {kills}: {seen} shards, {kept} rows in the journal", flush=True)
    for killed, part in shards.items():
        subprocess.run([*command, str(killed), *part], check=True)
    joined = folder / "killed"
    if of > 1:
        subprocess.run([*SYNTH, "join", *map(str, shards), "--quiet", "-o", str(joined)], check=True)
    expected, found = rows_of(folder / "whole"), rows_of(joined)
    same_ids = list(expected) == list(found)
    texts = sum(expected[name] != found.get(name) for name in expected)
    print(
        f"{kills} kills over {arguments.rows} rows, {of} shards ({arguments.engine}): "
        f"{'the same ids in the same order' if same_ids else 'IDS DIFFER'}, {texts} texts differ"
    )
    shutil.rmtree(folder)
    sys.exit(not same_ids)


if __name__ == "__main__":
    main()
