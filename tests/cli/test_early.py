"""Changed settings are refused at once: before a model library is imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.running import synth

WITHOUT_LIBRARIES = """
import sys
sys.modules["torch"] = sys.modules["transformers"] = None
from cli.main import main
main()
"""


@pytest.mark.parametrize(
    ("command", "change", "name"),
    [
        (["self-output", "IN", "--verifier", "exact", "--samples", "1", "--max-tokens", "2"], ["--seed", "7"], "seed"),
        (["score-tokens", "IN"], ["--mask-above", "2.5"], "mask"),
        (["eval", "IN", "--verifier", "exact", "--max-tokens", "2"], ["--temperature", "0.5"], "temperature"),
    ],
)
@pytest.mark.parametrize("output", ["out", "out.jsonl.partial"])
def test_changed_settings(
    tmp_path: Path, model: str, command: list[str], change: list[str], name: str, output: str
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"question": "a?", "answer": "b"}\n')
    whole = [str(source) if word == "IN" else word for word in command]
    whole += ["--model", model, "--engine", "transformers", "-o", str(tmp_path / "out")]
    assert synth(*whole) == 0
    if output != "out":
        if command[0] == "eval":
            pytest.skip("an evaluation is a directory")
        (tmp_path / "out").rename(tmp_path / output)
        whole[-1] += ".jsonl"
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_LIBRARIES, *whole, *change],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2 and "other settings" in done.stderr and name in done.stderr, done.stderr
