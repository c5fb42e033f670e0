"""Rows that cannot be read: every command that reads rejects them with the reason, and goes on with the others."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import load, synth

MODEL = Path(__file__).parents[2] / "samples" / "model"
USER = {"role": "user", "content": "What is 2 + 3?"}
ANSWER = {"role": "assistant", "content": "5"}
CALL = {"function": {"name": "add", "arguments": "{2"}}

ROWS: list[dict[str, Any]] = [
    {"id": "good", "messages": [USER, ANSWER]},
    {"id": "null", "messages": [USER, {"role": "assistant", "content": None}]},
    {"id": "call", "messages": [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}, ANSWER]},
    {"id": "none", "messages": None},
    {"id": "picture", "messages": [USER | {"content": [{"type": "image_url", "image_url": {"url": "x"}}]}, ANSWER]},
    {"id": "parts", "messages": [USER | {"content": [{"type": "text", "text": "What is 1 + 3?"}]}, ANSWER]},
]
REASONS = {"null": "no content", "call": "tool call", "none": "no conversation", "picture": "not text"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(row | {"verifier": "exact"}) + "\n" for row in ROWS))
    return path


RUN: dict[str, list[object]] = {
    "filter": ["--filter", "length:min=1"],
    "verify": ["--verifier", "exact"],
    "score-tokens": ["--model", MODEL],
    "self-output": ["--model", MODEL, "--engine", "transformers", "--verifier", "exact", "--fallback", "gold"],
}


@pytest.mark.parametrize("command", RUN)
def test_the_rows_are_rejected(tmp_path: Path, source: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--samples", 1, "--max-tokens", 8] if command == "self-output" else []
    assert synth(command, source, *RUN[command], *more, "-o", tmp_path / "out") == 0
    said = "4 of 6 rows cannot be read and are rejected; row 1: no content: turn 2 (assistant) has none"
    assert said in capsys.readouterr().err
    assert [row.get("parent") or row["id"] for row in load(tmp_path / "out")] == ["good", "parts"]
    rejected = {row.get("parent") or row["id"]: row["reason"] for row in load(tmp_path / "out" / "rejected")}
    assert {name: reason.partition(":")[0] for name, reason in rejected.items()} == REASONS
    assert not any(
        "synth:" in name for folder in ("out", "out/rejected") for row in load(tmp_path / folder) for name in row
    )


def test_mix_never_takes_them(tmp_path: Path, source: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"id": "own", "messages": [USER | {"content": "Hi"}, ANSWER]}) + "\n")
    assert synth("mix", source, "--replay", f"{other}:50%", "-o", tmp_path / "a") == 0
    assert synth("mix", other, "--replay", f"{source}:200%", "-o", tmp_path / "b") == 0
    for folder in ("a", "b"):
        assert {row["id"] for row in load(tmp_path / folder)} == {"good", "parts", "own"}
        rejected = {row["id"]: row["reason"].partition(":")[0] for row in load(tmp_path / folder / "rejected")}
        assert rejected == REASONS


def test_the_others_are_copied_shown_and_reported(
    tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "4 of 6 rows cannot be read and are left out; row 1: no content: turn 2 (assistant) has none"
    for arguments in (["export", source, "-o", "a.jsonl"], ["export", source, "--for", "jsonl", "-o", "b.jsonl"]):
        assert synth(*arguments[:-1], tmp_path / str(arguments[-1])) == 0
        assert said in capsys.readouterr().err
        assert len(load(tmp_path / str(arguments[-1]))) == 2
    assert synth("show", source, "-n", 6) == 0
    shown = capsys.readouterr().out
    assert shown.count("cannot be read: ") == 4 and "calls add, and what it passes" in " ".join(shown.split())
    assert synth("report", source, "-o", tmp_path / "r.html") == 0
    assert said in capsys.readouterr().err


def test_training_leaves_them_out(tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert synth("train", source, "--model", MODEL, "-o", tmp_path / "out", "--dry-run") == 0
    out = capsys.readouterr().out
    assert all(f"left out: 1 rows, {reason}" in out for reason in REASONS.values())


@pytest.mark.parametrize(
    "command",
    [
        ["export"],
        ["export", "--for", "trl", "-o", "out"],
        ["filter", "--filter", "length:min=1"],
        ["mix", "--replay", "in.jsonl:5%"],
        ["train", "--model", MODEL, "-o", "out", "--dry-run"],
        ["score-tokens", "--model", MODEL],
        ["report", "-o", "r.html"],
        ["eval", "--model", MODEL, "-o", "out"],
    ],
)
def test_a_file_of_nothing_else(
    tmp_path: Path, command: list[object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[1:4]))
    assert synth(command[0], "in.jsonl", *command[1:]) == 2
    err = capsys.readouterr().err
    assert "none of its 3 rows can be read; row 0: no content: turn 2 (assistant) has none" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["input_ids", "labels"])
@pytest.mark.parametrize("value", [None, ["1", "2"], "12"])
def test_tokens_that_are_none(tmp_path: Path, name: str, value: Any, capsys: pytest.CaptureFixture[str]) -> None:
    row = ROWS[0] | {"input_ids": [1, 2], "labels": [-100, 2], "logprobs": [None, -1.0]} | {name: value}
    (tmp_path / "in.jsonl").write_text(json.dumps(row) + "\n")
    assert synth("export", tmp_path / "in.jsonl", "--for", "trl", "-o", tmp_path / "out") == 2
    assert f"column {name} of {tmp_path}/in.jsonl is" in capsys.readouterr().err
