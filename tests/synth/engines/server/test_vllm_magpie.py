"""`synth magpie` over vLLM's own server: another process, another engine, the same rows as ever."""

import json
from pathlib import Path

import pytest

from tests.conftest import Here

pytestmark = pytest.mark.vllm


def test_magpie(here: Here, vllm_url: str, model: str, tmp_path: Path) -> None:
    def magpie(name: str, concurrency: int) -> list[dict[str, object]]:
        command = ["magpie", "--model", model, "--engine", vllm_url, "-n", 120, "--question-tokens", 100]
        done = here(*command, "--max-tokens", 100, "--concurrency", concurrency, "-o", tmp_path / name)
        assert done.returncode == 0, done.stderr
        assert "token ids" in done.stderr  # prompts go as ids, not as text
        return [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]

    rows = magpie("one.jsonl", 64)
    assert len({row["id"] for row in rows}) == 120
    again = magpie("two.jsonl", 5)
    assert [row["id"] for row in rows] == [row["id"] for row in again]
    same = sum(one["messages"] == two["messages"] for one, two in zip(rows, again, strict=True))
    assert same >= 114  # vLLM's own rounding depends on what runs beside a request
