import json
import os
import subprocess
from functools import partial
from pathlib import Path

import pytest

from tests.cli.running import SYNTH
from tests.conftest import Here

ROWS = [
    {"id": index, "question": f"What is {index}+1?", "answer": str(index + 1), "level": index} for index in range(50)
]


@pytest.fixture
def export(here: Here) -> Here:
    """Runs the command in this process."""
    return partial(here, "export")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def lines(output: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in output.splitlines()]


def test_through_every_format_and_back(export: Here, source: Path, tmp_path: Path) -> None:
    expected = [
        {
            "id": str(row["id"]),
            "messages": [
                {"role": "user", "content": row["question"]},
                {"role": "assistant", "content": row["answer"]},
            ],
            "reference": row["answer"],
            "level": row["level"],
        }
        for row in ROWS
    ]
    before = source
    for name in ("one", "two.parquet", "three.arrow", "four.jsonl"):
        done = export(before, "-o", tmp_path / name)
        assert done.returncode == 0, done.stderr
        assert done.stdout == ""
        assert f"50 rows → {tmp_path / name}" in done.stderr
        before = tmp_path / name
    assert lines(export(before).stdout) == expected


def test_plain_texts_are_copied(export: Here, tmp_path: Path) -> None:
    (tmp_path / "texts.jsonl").write_text('{"text": "It was dark.", "source": "a"}\n')
    for before, name in (("texts.jsonl", "t.parquet"), ("t.parquet", "t")):
        assert export(tmp_path / before, "-o", tmp_path / name).returncode == 0
    [row] = lines(export(tmp_path / "t").stdout)
    assert (row["text"], row["source"]) == ("It was dark.", "a")


def test_pipe_and_limit(export: Here, source: Path) -> None:
    first = export(source, "--limit", "7", "--quiet")
    assert first.stderr == ""
    command = [*SYNTH, "export", "--limit", "3"]
    second = subprocess.run(command, input=first.stdout, capture_output=True, text=True, timeout=300)
    assert lines(second.stdout) == lines(first.stdout)[:3]
    assert len(lines(first.stdout)) == 7
    assert "3 rows → standard output" in second.stderr


def test_what_was_recognised_is_said(export: Here, source: Path) -> None:
    assert "conversation read from: question, answer" in export(source).stderr


def test_named_columns(export: Here, source: Path) -> None:
    done = export(source, "--limit", "1", "--prompt-column", "answer", "--reference-column", "level")
    assert lines(done.stdout)[0]["messages"] == [
        {"role": "user", "content": "1"},
        {"role": "assistant", "content": "0"},
    ]


def test_nothing_is_replaced_without_force(export: Here, source: Path, tmp_path: Path) -> None:
    for name in ("out", "out.parquet"):
        assert export(source, "-o", tmp_path / name).returncode == 0
        done = export(source, "-o", tmp_path / name, "--limit", "1")
        assert done.returncode == 2
        assert "--force" in done.stderr
        assert len(lines(export(tmp_path / name).stdout)) == 50
        assert export(source, "-o", tmp_path / name, "--limit", "1", "--force").returncode == 0
        assert len(lines(export(tmp_path / name).stdout)) == 1
        assert export(tmp_path / name, "-o", tmp_path / name, "--force").returncode == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"prompt": "x"}\n{"prompt": \n', "in.jsonl, line 2: not JSON"),
        ('{"goal": "x"}\n', "no conversation recognised in the columns goal (string)"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_output(
    export: Here, source: Path, tmp_path: Path, content: str, message: str
) -> None:
    source.write_text(content)
    done = export(source, "-o", tmp_path / "out.parquet")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr
    assert [item.name for item in tmp_path.iterdir()] == ["in.jsonl"]


def test_missing_input(export: Here, tmp_path: Path) -> None:
    done = export(tmp_path / "none.jsonl")
    assert done.returncode == 2
    assert done.stderr == f"synth: {tmp_path / 'none.jsonl'} does not exist\n"


def test_a_terminal_is_no_input() -> None:
    terminal, side = os.openpty()
    command = [*SYNTH, "export"]
    done = subprocess.run(command, stdin=side, capture_output=True, text=True, timeout=300)
    os.close(terminal)
    os.close(side)
    assert done.returncode == 2
    assert done.stderr == "synth: no input: name a file or a data set, or pipe rows in\n"


@pytest.mark.parametrize("limit", ["-1", "9" * 20, "1" * 5000, "x"])
def test_limits_that_are_none(export: Here, limit: str) -> None:
    done = export("in.jsonl", "--limit", limit)
    assert done.returncode == 2 and "Invalid value for '--limit'" in done.stderr and "Traceback" not in done.stderr


def test_a_damaged_part_found_late_leaves_no_output(export: Here, tmp_path: Path, source: Path) -> None:
    assert export(source, "-o", tmp_path / "one").returncode == 0
    state = json.loads((tmp_path / "one" / "state.json").read_text())
    state["_data_files"].append({"filename": "data-00001.arrow"})
    (tmp_path / "one" / "state.json").write_text(json.dumps(state))
    (tmp_path / "one" / "data-00001.arrow").write_bytes(b"junk")
    done = export(tmp_path / "one", "-o", tmp_path / "out.jsonl")
    assert done.returncode == 2
    assert "data-00001.arrow is damaged or cut short" in done.stderr
    assert not (tmp_path / "out.jsonl").exists()
    assert export(tmp_path / "one", "--limit", "50").returncode == 0  # what is asked for is whole


def test_head_ends_it_quietly(source: Path) -> None:
    source.write_text("".join(json.dumps({"prompt": "x" * 1000}) + "\n" for _ in range(20_000)))
    command = [*SYNTH, "export", str(source)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    assert json.loads(process.stdout.readline())
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(300) in (0, 1)
