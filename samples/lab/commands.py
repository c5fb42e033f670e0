"""Running `synth` as a person would, one thread a process, so that two runs share a small machine."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MODEL = str(ROOT / "samples" / "model")
ENGINE = ("--engine", "transformers", "--device", "cpu")
MAX_TOKENS = "160"


def synth(*arguments: object, log: Path) -> str:
    """Run one command; returns what it printed. What it says to people goes to a log.

    Raises:
        RuntimeError: it failed; the message is what it said last.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    words = [str(argument) for argument in arguments]
    with open(log, "a", encoding="utf-8") as lines:
        lines.write(f"$ synth {' '.join(words)}\n")
        lines.flush()
        done = subprocess.run(
            [sys.executable, "-m", "cli", *words], stdout=subprocess.PIPE, stderr=lines, text=True, env=environment
        )
    if done.returncode:
        last = log.read_text(encoding="utf-8").strip().splitlines()[-1]
        raise RuntimeError(f"synth {words[0]} failed: {last} (all it said is in {log})")
    return done.stdout


def read_json(file: Path) -> Any:
    """A JSON file's value."""
    return json.loads(file.read_text(encoding="utf-8"))
