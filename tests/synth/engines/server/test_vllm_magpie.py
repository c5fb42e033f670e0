"""`synth magpie` over vLLM's own server: another process, another engine, the same rows as ever."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.vllm


def test_magpie(vllm_url: str, tmp_path: Path) -> None:
    def magpie(name: str, concurrency: int) -> list[dict[str, object]]:
        command = [sys.executable, "-c", "from cli.main import main; main()", "magpie", "--model", "samples/model"]
        command += ["--engine", vllm_url, "-n", "120", "--question-tokens", "100", "--max-tokens", "100"]
        command += ["--concurrency", str(concurrency), "-o", str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert "token ids" in done.stderr  # prompts go as ids, not as text
        return [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]

    rows = magpie("one.jsonl", 64)
    assert len({row["id"] for row in rows}) == 120
    again = magpie("two.jsonl", 5)
    assert [row["id"] for row in rows] == [row["id"] for row in again]
    same = sum(one["messages"] == two["messages"] for one, two in zip(rows, again, strict=True))
    assert same >= 114  # vLLM's own rounding depends on what runs beside a request
