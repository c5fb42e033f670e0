"""Peak memory of the runner and the store as a run grows, the model aside: rows are made up, not drawn.

python tests/benchmarks/bench_memory.py [--rows 10000 100000 1000000]
"""

import argparse
import asyncio
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

from synth.background import wait_for
from synth.data.row import BASE, Outcome, Row
from synth.data.run.directory import RunDirectory
from synth.data.run.record import RunRecord
from synth.generation.acceptance import Acceptance, Rules
from synth.generation.runner import Run
from synth.methods.magpie import magpie_rows


async def invent(row: Row) -> Outcome:
    """A conversation of about 900 characters, one in twenty rejected; finishes in no order."""
    chance = random.Random(row.id)
    for _ in range(chance.randrange(4)):
        await asyncio.sleep(0)
    words = [f"{chance.randrange(10**6):x}" for _ in range(150)]
    row.messages += [
        {"role": "user", "content": " ".join(words[:30])},
        {"role": "assistant", "content": " ".join(words[30:])},
    ]
    return Outcome(row, "question too short" if chance.random() < 0.05 else None)


def run(rows: int) -> dict[str, float]:
    """One run in this process; peak resident memory before it and after it, in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        sink = RunDirectory.open(Path(folder, "d"), RunRecord("magpie", {}), BASE)
        source = magpie_rows({}, "m")
        wanted = Acceptance(sink, rows, Rules(unique=True))
        whole = Run(invent, lambda at: islice(source(at), rows * 2), sink, [], 256, wanted)
        wait_for(whole.go())
        sink.finish()
        assert sink.record.accepted == rows
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"before": before, "peak": peak, "seconds": time.perf_counter() - began}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(run(arguments.rows[0])))
        return
    print(f"{'rows':>10} {'peak MiB':>9} {'to first':>9} {'rows/s':>8}")
    first = None
    for rows in arguments.rows:
        command = [sys.executable, __file__, "--one", "--rows", str(rows)]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        first = first or found["peak"]
        print(f"{rows:>10,} {found['peak']:>9.0f} {found['peak'] / first:>9.2f} {rows / found['seconds']:>8,.0f}")


if __name__ == "__main__":
    main()
