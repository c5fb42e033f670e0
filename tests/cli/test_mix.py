"""`synth mix`, as a person runs it."""

import json
from pathlib import Path

import datasets
import pyarrow as pa
import pytest

from cli.main import main
from synth.data.run.directory import RunDirectory


def run(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capfd.readouterr()
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    out, err = capfd.readouterr()
    assert isinstance(stop.value.code, int)
    return stop.value.code, out, err


def write(path: Path, prefix: str, count: int) -> Path:
    lines = [json.dumps({"question": f"{prefix} {n}?", "answer": f"{n}"}) + "\n" for n in range(count)]
    path.write_text("".join(lines))
    return path


def test_from_end_to_end(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    target, replay = write(tmp_path / "own.jsonl", "t", 200), write(tmp_path / "replay.jsonl", "a", 50)
    with replay.open("a") as file:
        file.write(json.dumps({"question": "t 3?", "answer": "3"}) + "\n")
    command = ["mix", target, "--replay", f"{replay}:5%"]
    status, _, err = run(capfd, *command, "-o", tmp_path / "train")
    assert status == 0, err
    rows = datasets.load_from_disk(str(tmp_path / "train"))
    assert len(rows) == 210 and rows["source"].count("replay") == 10
    assert "10  replay (5.0% of the target's rows; 1 that the target asks, too, left out)" in err
    record = json.loads((tmp_path / "train" / "run.json").read_text())
    assert record["parts"][1] == {
        "name": "replay",
        "available": 51,
        "duplicates": 1,
        "unreadable": 0,
        "rows": 10,
        "tokens": 0,
    }
    assert (record["accepted"], record["rejected"]) == (210, 1)
    assert "| replay | 51 | 1 | 10 | 0 |" in (tmp_path / "train" / "README.md").read_text()
    [left_out] = datasets.load_from_disk(str(tmp_path / "train" / "rejected"))
    assert left_out["messages"][0]["content"] == "t 3?" and left_out["reason"] == "duplicate of a target row"
    status, _, err = run(capfd, *command, "-o", tmp_path / "train")
    assert status == 0 and "already holds 210 rows" in err
    status, _, err = run(capfd, "mix", target, "--replay", f"{replay}:6%", "-o", tmp_path / "train")
    assert status == 2 and "other settings" in err
    status, out, _ = run(capfd, *command, "--quiet")
    assert status == 0 and len(out.splitlines()) == 210


@pytest.mark.parametrize(
    ("replay", "words"),
    [
        ("replay.jsonl", "how much"),
        ("replay.jsonl:lots", "no share"),
        ("replay.jsonl:0%", "above 0"),
        ("replay.jsonl:0", "above 0"),
        ("replay.jsonl:5", "write 5% or 0.05"),
        ("replay.jsonl:1.5", "write 1.5% or 0.015 for 1.5 percent, 150% for 1.5 times"),
        ("replay.jsonl:1", "write 1% or 0.01"),
        ("replay.jsonl:-5%", "no share"),
        ("replay.jsonl:10000000000000%", "no share"),
        ("replay.jsonl:nan", "no share"),
        ("replay.jsonl:1e999", "no share"),
        ("replay.jsonl:%", "no share"),
        ("replay.jsonl:50%", "--oversample"),
        ("nothing.jsonl:5%", "does not exist"),
    ],
)
def test_bad_settings(tmp_path: Path, capfd: pytest.CaptureFixture[str], replay: str, words: str) -> None:
    target = write(tmp_path / "own.jsonl", "t", 200)
    write(tmp_path / "replay.jsonl", "a", 50)
    status, _, err = run(capfd, "mix", target, "--replay", tmp_path / replay, "-o", tmp_path / "train")
    assert status == 2 and words in err and not (tmp_path / "train").exists()


def test_nothing_but_the_targets_own_rows(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    target = write(tmp_path / "own.jsonl", "t", 20)
    status, _, err = run(capfd, "mix", target, "--replay", f"{target}:5%", "--oversample")
    assert status == 2 and "0 rows (20 more are the target's)" in err and "there is nothing to replay" in err


def test_tokens_without_conversations(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "tokens.jsonl"
    target.write_text(json.dumps({"input_ids": [1, 2], "labels": [1, 2]}) + "\n")
    status, _, err = run(capfd, "mix", target, "--replay", f"{target}:5%")
    assert status == 2 and "tokens without the conversations they are of" in err


def test_standard_input_is_one_set(capfd: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capfd, "mix", "-", "--replay", "-:5%")
    assert status == 2 and "standard input is one set" in err


@pytest.mark.parametrize("restart", [(), ("--restart",)])
def test_the_input_is_never_overwritten(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], restart: tuple[str, ...]
) -> None:
    """Neither a file nor what an earlier run wrote, which --restart would throw away."""
    target, replay = write(tmp_path / "own.jsonl", "t", 20), write(tmp_path / "replay.jsonl", "a", 5)
    before = target.read_text()
    status, _, err = run(capfd, "mix", target, "--replay", f"{replay}:5%", "-o", tmp_path / "." / "own.jsonl", *restart)
    assert status == 2 and "is the input itself" in err and target.read_text() == before
    assert run(capfd, "mix", target, "--replay", f"{replay}:5%", "-o", tmp_path / "train")[0] == 0
    status, _, err = run(
        capfd, "mix", tmp_path / "train", "--replay", f"{replay}:5%", "-o", tmp_path / "train", *restart
    )
    assert status == 2 and "is the input itself" in err
    assert len(datasets.load_from_disk(str(tmp_path / "train"))) == 21
    for source, output in (("replay.jsonl", replay), ("train", tmp_path / "train")):
        status, _, err = run(capfd, "mix", target, "--replay", f"{tmp_path / source}:5%", "-o", output, *restart)
        assert status == 2 and "is the input itself" in err
    assert len(replay.read_text().splitlines()) == 5
    assert len(datasets.load_from_disk(str(tmp_path / "train"))) == 21


def test_interrupted_before_the_duplicates_are_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    target, replay = write(tmp_path / "own.jsonl", "t", 200), write(tmp_path / "replay.jsonl", "a", 50)
    with replay.open("a") as file:
        file.write("".join(json.dumps({"question": f"t {n}?", "answer": "3"}) + "\n" for n in range(5)))
    command = ["mix", target, "--replay", f"{replay}:5%", "-o", tmp_path / "train"]
    extend = RunDirectory.extend

    def interrupted(self: RunDirectory, accepted: pa.RecordBatch, rejected: pa.RecordBatch) -> None:
        if rejected.num_rows:
            raise KeyboardInterrupt
        extend(self, accepted, rejected)

    monkeypatch.setattr(RunDirectory, "extend", interrupted)
    status, _, err = run(capfd, *command)
    assert status == 1 and "stopped; run this again to continue" in err
    monkeypatch.undo()
    assert run(capfd, *command)[0] == 0
    assert len(datasets.load_from_disk(str(tmp_path / "train"))) == 210
    left_out = datasets.load_from_disk(str(tmp_path / "train" / "rejected"))
    assert [row["messages"][0]["content"] for row in left_out] == [f"t {n}?" for n in range(5)]


def test_rows_with_a_reason_of_their_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Such as those that another command rejected."""
    target = tmp_path / "own.jsonl"
    target.write_text(json.dumps({"question": "t?", "answer": "1", "reason": "theirs"}) + "\n")
    replay = write(tmp_path / "replay.jsonl", "a", 5)
    replay.write_text(replay.read_text() + target.read_text())
    status, _, err = run(capfd, "mix", target, "--replay", f"{replay}:100%", "-o", tmp_path / "train")
    assert status == 0, err
    [left_out] = datasets.load_from_disk(str(tmp_path / "train" / "rejected"))
    assert (left_out["reason"], left_out["input_reason"]) == ("duplicate of a target row", "theirs")
