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


OWN = ["self-output", "IN", "--verifier", "exact", "--samples", "1", "--max-tokens", "2"]


@pytest.mark.parametrize(
    ("command", "change", "name", "output"),
    [
        (OWN, ["--seed", "7"], "seed", "out"),
        (OWN, ["--seed", "7"], "seed", "out.jsonl.partial"),
        (["score-tokens", "IN"], ["--mask-above", "2.5"], "mask", "out"),
        (["eval", "IN", "--verifier", "exact", "--max-tokens", "2"], ["--temperature", "0.5"], "temperature", "out"),
    ],
)
def test_changed_settings(
    tmp_path: Path, model: str, command: list[str], change: list[str], name: str, output: str
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"question": "a?", "answer": "b"}\n')
    whole = [str(source) if word == "IN" else word for word in command]
    whole += ["--model", model, "--engine", "transformers", "-o", str(tmp_path / "out")]
    assert synth(*whole) == 0
    if output != "out":
        (tmp_path / "out").rename(tmp_path / output)
        whole[-1] += ".jsonl"
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_LIBRARIES, *whole, *change],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2 and "other settings" in done.stderr and name in done.stderr, done.stderr
