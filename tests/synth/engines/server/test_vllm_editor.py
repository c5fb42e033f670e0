"""Two models in one run: one here, one on a real server, named as MODEL@URL."""

import json
from pathlib import Path

import datasets
import pytest

from tests.conftest import Here


@pytest.mark.vllm
def test_an_editor_on_a_server(here: Here, vllm_url: str, model: str, tmp_path: Path) -> None:
    rows = []
    for n in range(12):
        a, b, c = 3 + n, 2 + n % 7, 2 + n % 5
        question = f"Otto buys {a} packs of {b} shells and hands {c} shells to Sami. How many shells does Otto keep?"
        rows.append({"question": question, "answer": f"{a} * {b} = {a * b}. {a * b} - {c} = {a * b - c}."})
    (tmp_path / "tasks.jsonl").write_text("\n".join(map(json.dumps, rows)))
    command = ["minimum-change", tmp_path / "tasks.jsonl", "--verifier", "math", "--max-tokens", 100]
    command += ["--model", model, "--engine", "transformers", "--editor", f"{model}@{vllm_url}"]
    done = here(*command, "--temperature", 1.2, "-o", tmp_path / "edits")
    assert done.returncode == 0, done.stderr
    assert "engine transformers" in done.stderr and "engine server" in done.stderr
    record = json.loads((tmp_path / "edits" / "run.json").read_text())
    assert record["settings"]["editor"]["engine"] == "server" and record["settings"]["engine"] == "transformers"
    mended = [row for row in datasets.load_from_disk(str(tmp_path / "edits")) if row["method"] == "minimum-change"]
    assert mended, done.stderr
    for row in mended:
        # Written by the editor; scored, before and after, under the model that will be trained.
        assert row["logprob"] is None and row["logprob_before"] < 0 and row["logprob_after"] < 0
