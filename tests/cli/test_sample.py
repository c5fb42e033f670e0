"""`synth sample`, as a person runs it."""

import json
from pathlib import Path

import pytest

from tests.cli.running import load, start_and_kill, synth

COMMAND: list[object] = ["sample", "--engine", "transformers", "--device", "cpu", "--model", "samples/model"]


def test_killed_and_continued_it_writes_the_same_rows(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = [*COMMAND, "-n", 120, "--length", 32, "--concurrency", 8]
    start_and_kill([*command, "-o", tmp_path / "killed"], tmp_path / "killed" / "journal.jsonl", rows=20)
    assert synth(*command, "-o", tmp_path / "killed") == 0
    assert "attempts are done" in capfd.readouterr().err
    assert synth(*command, "-o", tmp_path / "whole") == 0
    rows = [{row["id"]: row["input_ids"] for row in load(tmp_path / name)} for name in ("killed", "whole")]
    assert len(rows[0]) == 120 and rows[0].keys() == rows[1].keys()
    assert sum(rows[0][name] != rows[1][name] for name in rows[0]) <= 1  # rounding: a token flips once in a while


def test_rows_are_piped_on(capfd: pytest.CaptureFixture[str]) -> None:
    assert synth(*COMMAND, "-n", 3, "--length", 16, "--stop-at-end", "--start", "<|user|>") == 0
    rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert len(rows) == 3 and all(
        row.keys() == {"id", "method", "model", "text", "input_ids", "labels"} for row in rows
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--length", 600], "--length 600: the window of samples/model holds 512 tokens"),
        (["--length", 64, "--max-length", 32], "--length 64: the window of samples/model holds 32 tokens"),
        (["--temperature", 0], "--temperature 0 would give the same row"),
        (["--prefix", "Question: "], "No such option"),
    ],
)
def test_bad_settings_are_one_line(arguments: list[object], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert synth(*COMMAND, "-n", 3, *arguments) == 2
    said = capfd.readouterr().err
    assert message in said and "ready in" not in said
