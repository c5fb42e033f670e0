"""`synth filter`, as a person runs it."""

import json
import subprocess
from pathlib import Path

import datasets
import pyarrow as pa
import pytest
from pyarrow import parquet

from cli.main import main
from synth.data.read import open_rows
from synth.data.run.directory import RunDirectory
from tests.cli.running import SYNTH


def run(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capfd.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(["filter", *(str(argument) for argument in arguments)])
    out, err = capfd.readouterr()
    assert isinstance(stop.value.code, int)
    return stop.value.code, out, err


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Ten rows: the last equals the first, and one answers with one letter."""
    lines = [{"question": f"What is {n}?", "answer": f"The answer is {n}.", "level": n % 2} for n in range(9)]
    lines[4]["answer"] = "4"
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in [*lines, lines[0]]))
    return file


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*.arrow"))}


def test_from_end_to_end(tmp_path: Path, rows: Path, capfd: pytest.CaptureFixture[str]) -> None:
    steps = ["--filter", "duplicates", "--filter", "length:min=3", "--keep", "top:level,2", "--keep", "random:1"]
    status, out, err = run(capfd, rows, *steps, "-o", tmp_path / "clean")
    assert (status, out) == (0, ""), err
    assert "1. duplicates: 1 of 10 removed (10.0%)" in err and "3. top:level,2: 2 of 8 kept (25.0%)" in err
    assert f"1 of 10 rows in {tmp_path / 'clean'}" in err
    [row] = datasets.load_from_disk(str(tmp_path / "clean"))
    assert row["level"] == 1 and row["messages"][1]["content"].startswith("The answer")
    rejected = datasets.load_from_disk(str(tmp_path / "clean" / "rejected"))
    assert len(rejected) == 9 and rejected[3]["reason"] == "length / too short: answer of 1 characters"
    record = json.loads((tmp_path / "clean" / "run.json").read_text())
    assert record["reasons"] == {
        "top / not chosen": 6,
        "length / too short": 1,
        "duplicates / exact duplicate": 1,
        "random / not chosen": 1,
    }
    assert record["settings"]["steps"][2:] == ["keep top:level,2", "keep random:1"]
    assert "| top / not chosen | 6 |" in (tmp_path / "clean" / "README.md").read_text()
    status, _, err = run(capfd, rows, *steps, "-o", tmp_path / "clean")
    assert status == 0 and "already holds 1 rows" in err
    status, _, err = run(capfd, rows, *steps[2:], *steps[:2], "-o", tmp_path / "clean")
    assert status == 2 and "other settings" in err


def test_shorter_names_are_steps_in_their_order(tmp_path: Path, rows: Path, capfd: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "target.jsonl"
    target.write_text('{"question": "What is 3?", "answer": "Three."}\n')
    short = ["--against", target, "--keep", "longest:8", "--dedup", "exact:of=prompt", "--filter", "length:3"]
    short += ["--dedup", "near:0.9", "--decontaminate", target, "--language", "en,zh"]
    assert run(capfd, rows, *short, "-o", tmp_path / "short")[0] == 0
    steps = json.loads((tmp_path / "short" / "run.json").read_text())["settings"]["steps"]
    assert steps == [
        f"filter against:{target}",
        "keep longest:8",
        "filter duplicates:of=prompt",
        "filter length:3",
        "filter near-duplicates:0.9",
        f"filter contamination:{target}",
        "filter language:en,zh",
    ]
    long = [word for step in steps for word in (f"--{step.split()[0]}", step.split()[1])]
    assert run(capfd, rows, *long, "-o", tmp_path / "long")[0] == 0
    assert contents(tmp_path / "short") == contents(tmp_path / "long")


def test_the_same_bytes_for_the_same_order_and_seed(
    tmp_path: Path, rows: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    steps = ["--filter", "near-duplicates:threshold=0.99", "--keep", "stratified:level,6", "--keep", "random:3"]
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert run(capfd, rows, *steps, "--seed", seed, "-o", tmp_path / name)[0] == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b") != contents(tmp_path / "c")
    assert len(contents(tmp_path / "a")) == 2


def test_an_interrupted_run_goes_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [str(n) for n in range(20_000)]  # more than one batch
    parquet.write_table(pa.table({"question": texts, "answer": texts}), tmp_path / "rows.parquet")
    command = [tmp_path / "rows.parquet", "--filter", "length:min=3", "--quiet", "-o"]
    assert run(capfd, *command, tmp_path / "whole")[0] == 0
    extend = RunDirectory.extend

    def interrupted(self: RunDirectory, accepted: pa.RecordBatch, rejected: pa.RecordBatch) -> None:
        if self.next:
            raise KeyboardInterrupt
        extend(self, accepted, rejected)

    monkeypatch.setattr(RunDirectory, "extend", interrupted)
    assert run(capfd, *command, tmp_path / "parts")[0] == 1
    monkeypatch.undo()
    assert 0 < json.loads((tmp_path / "parts" / "progress.json").read_text())["next"] < 20_000
    assert run(capfd, *command, tmp_path / "parts")[0] == 0
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_a_filter_that_removes_everything(tmp_path: Path, rows: Path, capfd: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capfd, rows, "--filter", "length:min=5000", "--filter", "duplicates", "-o", tmp_path / "none")
    assert status == 0 and "nothing is left: all 10 rows were removed" in err
    assert "2. duplicates: no row was left to look at" in err
    assert len(datasets.load_from_disk(str(tmp_path / "none"))) == 0
    assert len(datasets.load_from_disk(str(tmp_path / "none" / "rejected"))) == 10
    assert "nothing is left" in (tmp_path / "none" / "README.md").read_text()
    status, _, _ = run(capfd, tmp_path / "none", "--filter", "duplicates", "-o", tmp_path / "again.jsonl")
    assert status == 0 and (tmp_path / "again.jsonl").read_text() == ""


def test_a_set_is_never_written_over_itself(tmp_path: Path, rows: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = rows.read_text()
    status, _, err = run(capfd, rows, "--filter", "length:min=5000", "--restart", "-o", tmp_path / "." / "rows.jsonl")
    assert status == 2 and "is the input itself" in err and rows.read_text() == before


def test_what_is_read_is_never_replaced(tmp_path: Path, rows: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Rejected rows are filtered again where they lie, and what they are compared with stays, too."""
    folder, file, other = tmp_path / "run", tmp_path / "run.jsonl", tmp_path / "other.jsonl"
    other.write_text('{"question": "What is one of the things?", "answer": "a"}\n')
    for output in (folder, file):
        assert run(capfd, rows, "--filter", "length:min=3", "-o", output)[0] == 0
    step = ["--filter", "length:min=1", "--restart", "-o"]
    for source, output in ((folder / "rejected", folder), (tmp_path / "run.rejected.jsonl", file)):
        status, _, err = run(capfd, source, *step, output)
        assert status == 2 and "which is read; choose another -o" in err
        assert run(capfd, source, *step, tmp_path / "again.jsonl")[0] == 0
        assert len((tmp_path / "again.jsonl").read_text().splitlines()) == 1
    assert len(datasets.load_from_disk(str(folder))) == 9 and len(file.read_text().splitlines()) == 9
    status, _, err = run(capfd, rows, "--against", other, "--restart", "-o", other)
    assert status == 2 and "is the input itself" in err and other.stat().st_size


def test_no_file_is_written_into_a_directory_that_is_read(
    tmp_path: Path, rows: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It would replace one of its files, or be read as another; a run of its own beneath it does neither."""
    step = ["--filter", "length:min=1", "--restart", "-o"]
    tables, folder = tmp_path / "tables", tmp_path / "run"
    tables.mkdir()
    parquet.write_table(pa.table({"question": ["Why?", "How?"], "answer": ["So.", "Thus."]}), tables / "a.parquet")
    assert run(capfd, rows, *step, folder)[0] == 0
    before = {file: file.read_bytes() for file in (tables / "a.parquet", *sorted(folder.glob("*.arrow")))}
    for file in (*before, tables / "b.parquet"):
        status, _, err = run(capfd, file.parent, *step, file)
        assert status == 2 and f"lies in {file.parent}, which is read; choose another -o" in err
    assert {file: file.read_bytes() for file in before} == before and not (tables / "b.parquet").exists()
    for _ in range(2):
        assert run(capfd, folder, *step, folder / "filtered")[0] == 0


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        (["-", "--against", "-"], 2, "standard input is one set"),
        (["-", "--filter", "duplicates:against=-"], 2, "standard input is one set"),
        (["ROWS", "--filter", "duplicates:against=-", "--against", "-"], 2, "standard input is one set"),
        (["ROWS", "--filter", "duplicates:against=-"], 0, "10 of 10 removed"),
        (["ROWS", "--against", "-"], 0, "10 of 10 removed"),
    ],
)
def test_standard_input_is_one_set(rows: Path, command: list[str], status: int, words: str) -> None:
    arguments = [str(rows) if argument == "ROWS" else argument for argument in command]
    piped = b"".join(
        json.dumps({"messages": row["messages"]}).encode() + b"\n"
        for batch in open_rows(str(rows)).batches()
        for row in batch.to_pylist()
    )
    done = subprocess.run([*SYNTH, "filter", *arguments], input=piped, capture_output=True, timeout=300)
    assert done.returncode == status and words in done.stderr.decode(), done.stderr.decode()


def test_files_and_standard_output(tmp_path: Path, rows: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(capfd, rows, "--filter", "duplicates", "-o", tmp_path / "clean.jsonl")[0] == 0
    assert len((tmp_path / "clean.jsonl").read_text().splitlines()) == 9
    assert '"reason":"duplicates / exact duplicate' in (tmp_path / "clean.rejected.jsonl").read_text()
    status, out, err = run(capfd, rows, "--filter", "duplicates", "--quiet")
    assert (status, err) == (0, "") and len(out.splitlines()) == 9
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    status, out, err = run(capfd, empty, "--filter", "duplicates")
    assert (status, out) == (0, "") and "the input has no rows" in err


def test_explain(tmp_path: Path, rows: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = rows.read_text().replace('"4"', '"\\u001b[31m4"')
    rows.write_text(text)
    steps = ["--filter", "length:min=10", "--filter", "duplicates"]
    status, out, _ = run(capfd, rows, *steps, "--explain")
    assert status == 0
    lines = out.splitlines()
    assert lines[0] == "1. length:min=10  1 of 10 removed (10.0%)"
    assert lines[1].split() == ["1", "too", "short"] and "row 4: answer of 6 characters" in lines[2]
    assert lines[4].strip() == r"answer  \x1b[31m4"
    assert "the other" in out and "row 0" in out
    status, out, err = run(capfd, rows, *steps, "--explain", "-o", tmp_path / "clean")
    assert status == 0 and not out and "row 4: answer of" in err and "8 of 10 rows" in err


def test_list(capfd: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capfd, "--list")
    assert status == 0
    for words in (
        "near-duplicates:threshold=0.7,of=text",
        "contamination:FILE,…",
        "top:COLUMN,ROWS",
        "module:function",
    ):
        assert words in out
    assert max(map(len, out.splitlines())) <= 100


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nothing to do"),
        (["--filter", "duplicate"], "did you mean duplicates"),
        (["--dedup", "nearly"], "write exact, near or semantic:MODEL"),
        (["--dedup", "semantic"], "model is missing"),
        (["--language", "xx"], "no such language: xx"),
        (["--keep", "top:nothing,3"], "no column nothing"),
        (["--filter", "near-duplicates:0"], "a similarity threshold is above 0"),
    ],
)
def test_bad_settings(
    tmp_path: Path, rows: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    status, _, err = run(capfd, rows, *arguments, "-o", tmp_path / "clean")
    assert status == 2 and words in err and not (tmp_path / "clean").exists()
