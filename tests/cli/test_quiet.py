"""What people see is ours: nothing that the libraries below have to say of each other."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.cli.running import of_libraries
from tests.conftest import MODEL

HERE = ["--model", MODEL, "--engine", "transformers", "--device", "cpu", "--max-tokens", "40"]
ALL = "import json, sys; from cli.main import _run; sys.exit(max(_run(command) for command in json.loads(sys.argv[1])))"


def test_the_commands_of_a_session_pass_on_no_warning(tmp_path: Path) -> None:
    tasks = tmp_path / "tasks.jsonl"
    rows = [{"question": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(2, 8)]
    tasks.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    replay, own, mixed, tuned = (str(tmp_path / name) for name in ("replay", "own", "mixed", "tuned"))
    training = ["--model", MODEL, "--device", "cpu", "--steps", "2", "--batch-tokens", "512"]
    commands = [
        ["template", "--model", MODEL],
        ["magpie", *HERE, "-n", "8", "-o", replay],
        ["show", replay, "-n", "1"],
        ["score-tokens", replay, "--model", MODEL, "--device", "cpu", "-o", f"{tmp_path}/scored"],
        ["self-output", str(tasks), *HERE, "--verifier", "math", "--fallback", "gold", "-o", own],
        ["mix", own, "--replay", f"{replay}:20%", "-o", mixed],
        ["train", mixed, *training, "--gradient-checkpointing", "-o", tuned],
        ["train", mixed, *training, "--lora", "4", "-o", f"{tmp_path}/adapted"],
        ["eval", f"new={tasks}", "--verifier", "math", *HERE, "--model", f"tuned={tuned}", "-o", f"{tmp_path}/scores"],
        ["report", f"{tmp_path}/scores", "-o", f"{tmp_path}/report.html"],
        ["export", mixed, "--for", "trl", "-o", f"{tmp_path}/exported"],
    ]
    kept_quiet = ("TRANSFORMERS_", "HF_", "TOKENIZERS_", "TQDM_")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(kept_quiet)}
    done = subprocess.run(
        [sys.executable, "-c", ALL, json.dumps(commands)],
        capture_output=True,
        text=True,
        timeout=300,
        env=plain | {"HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert not of_libraries(done.stdout + done.stderr)
    assert "8 rows" in done.stderr
