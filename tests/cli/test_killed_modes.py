"""Runs in both modes that were killed: continued, they give the rows of an uninterrupted run, thoughts included."""

import json
from collections import Counter
from pathlib import Path

import pytest

from samples.skills.registry import suite
from tests.cli.running import load, start_and_kill
from tests.conftest import ROOT, Here

HYBRID = ["--model", ROOT / "samples" / "hybrid", "--engine", "transformers", "--device", "cpu", "--mode", "both"]
FEW = ["--max-tokens", 60, "--thought-tokens", 80, "--concurrency", 4]


@pytest.mark.parametrize("method", ["magpie", "self-output"])
def test_a_killed_run_in_both_modes_gives_the_same_rows(here: Here, tmp_path: Path, method: str) -> None:
    command: list[object] = ["magpie", *HYBRID, *FEW, "-n", 24, "--turns", 2]
    if method == "self-output":
        tasks = tmp_path / "tasks.jsonl"
        asked = ({"question": question, "answer": answer} for question, answer in suite("arithmetic", "dev", 24))
        tasks.write_text("\n".join(map(json.dumps, asked)))
        command = [method, tasks, *HYBRID, *FEW, "--verifier", "number", "--samples", 2, "--fallback", "gold"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert here(*command, "-o", whole).returncode == 0
    start_and_kill([*command, "-o", killed], killed / "journal.jsonl", rows=7)
    done = here(*command, "-o", killed)
    assert done.returncode == 0, done.stderr
    rows, again = load(whole), load(killed)
    assert min(Counter(row["mode"] for row in rows if row["method"] == method).values()) > 4
    thought = {row["mode"]: [turn["reasoning_content"] for turn in row["messages"]] for row in rows}
    assert any(thought["thinking"]) and not any(thought["plain"])
    assert [row["id"] for row in rows] == [row["id"] for row in again]
    # A sum in another order may round otherwise, and draw another token.
    told = [
        [(row[name] for name in ("mode", "template_args", "messages", "drawn")) for row in run] for run in (rows, again)
    ]
    assert sum([*one] != [*other] for one, other in zip(*told, strict=True)) <= 1
