"""`synth ssr` as a person runs it."""

import json
from pathlib import Path

import pytest

from tests.cli.running import load, start_and_kill, synth

ENGINE = ["--engine", "transformers", "--device", "cpu", "--question-tokens", "40", "--max-tokens", "60"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kept") / "kept.jsonl"
    lines = []
    for n in range(20):
        a, b = 40 + 2 * n, 3 + n
        question = f"Olga has {a} rolls and sells {b}. How many rolls are left?"
        lines.append(json.dumps({"question": question, "answer": f"{a} - {b} = {a - b}. The answer is {a - b}."}))
    path.write_text("\n".join(lines))
    return path


def test_exactly_as_many_as_wanted_and_the_same_after_a_kill(
    kept: Path, model: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "rehearsal"
    command = ["ssr", kept, "--model", model, *ENGINE, "-n", 9, "--candidates", 16, "--clusters", 5]
    assert synth(*command, "-o", out) == 0
    rows = load(out)
    assert len(rows) == 9 and {row["method"] for row in rows} == {"ssr"}
    written = {row["id"]: row for row in load(tmp_path / "rehearsal.inputs")}
    assert len(written) == 16
    for row in rows:
        assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"]
        assert row["messages"][:1] == written[row["parent"]]["messages"]
        assert 0 <= row["cluster"] < 5 and row["model"] == model
    assert len({row["messages"][0]["content"] for row in rows}) == 9
    assert synth(*command, "-o", out) == 0
    assert "already holds 9 rows" in capfd.readouterr().err
    assert synth(*command, "--temperature", 0.8, "-o", out) == 2
    assert "(temperature: 0.9, now 0.8)" in capfd.readouterr().err

    killed = tmp_path / "killed"
    start_and_kill([*command, "--concurrency", 2, "-o", killed], tmp_path / "killed.inputs" / "journal.jsonl", rows=5)
    assert synth(*command, "-o", killed) == 0
    again = load(tmp_path / "killed.inputs")
    assert sum(row["messages"] != written[row["id"]]["messages"] for row in again) <= 1  # rounding
    assert len(load(killed)) == 9


def test_too_few_answers_are_an_error(
    kept: Path, model: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["ssr", kept, "--model", model, *ENGINE, "-n", 3, "--candidates", 4]
    assert synth(*command, "--max-tokens", 1, "-o", tmp_path / "rows.jsonl") == 1
    told = capfd.readouterr().err
    assert "answer cut off" in told and "0 of the 3 rows wanted came out: give more --candidates" in told


def test_files_streams_and_what_cannot_work(
    kept: Path, model: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["ssr", kept, "--model", model, *ENGINE, "-n", 3, "--candidates", 6]
    assert synth(*command, "--input-model", model, "--embed", model, "--quiet") == 0
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == 3 and all("cluster" in json.loads(line) for line in lines)
    for bad, said in (
        (["-n", 7], "at least as many as the 7"),
        (["--limit", 1], "at least 2 are needed"),
        (["--temperature", 0], "--temperature above 0"),
        (["--model", tmp_path / "none"], "no such directory"),
        (["--input-model", tmp_path / "none"], "no such directory"),
        (["--embed", tmp_path / "none"], "no such directory"),
    ):
        assert synth(*command, *bad) == 2
        told = capfd.readouterr().err
        assert said in told and "loading" not in told
