"""Standard streams that are closed, full, or know few letters: one line, and the status of the contract."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.running import SYNTH

ROW = {"question": "Grüße – 你好? \U0001f9ea", "answer": "ä –"}


def shell(command: str, folder: Path, **environment: str) -> tuple[int, str, str]:
    """Run a command line in which `synth` is the command."""
    (folder / "rows.jsonl").write_text(json.dumps(ROW) + "\n")
    words = " ".join(f"'{word}'" for word in SYNTH)
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        ["bash", "-c", f'synth() {{ {words} "$@"; }}; {command}'],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": root} | environment,
        capture_output=True,
        timeout=300,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("where", [">/dev/full", ">&-"])
@pytest.mark.parametrize(
    "command", ["show rows.jsonl", "export rows.jsonl", "filter rows.jsonl --dedup exact", "--help"]
)
def test_output_that_cannot_be_written(tmp_path: Path, command: str, where: str) -> None:
    status, _, err = shell(f"synth {command} {where}", tmp_path)
    assert status == 1 and err.splitlines()[-1].startswith("synth: cannot write standard output: "), err
    assert "defect" not in err and "Traceback" not in err and "Exception ignored" not in err


def test_nothing_is_written_into_a_file_that_took_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    status, _, err = shell("synth export rows.jsonl -o out.jsonl <&- >&- 2>&-", tmp_path)
    assert (status, err) == (0, "")
    assert json.loads((tmp_path / "out.jsonl").read_text())["reference"] == ROW["answer"]
    assert json.loads((tmp_path / "rows.jsonl").read_text()) == ROW


def test_no_letters(tmp_path: Path) -> None:
    status, out, _ = shell("synth show rows.jsonl", tmp_path, PYTHONIOENCODING="ascii")
    assert status == 0 and ROW["question"] in out  # no terminal: UTF-8, as everything that is piped
    status, _, err = shell("synth show grüße–.jsonl", tmp_path, PYTHONIOENCODING="ascii")
    assert status == 2 and "does not exist" in err
    assert shell("synth show rows.jsonl", tmp_path, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")[0] == 0


@pytest.mark.parametrize("name", ["a" * 500, "~nobody/rows.jsonl", "rows.jsonl/rows.jsonl", "$(printf '\\xff').jsonl"])
def test_names_that_no_file_has(tmp_path: Path, name: str) -> None:
    status, _, err = shell(f"unset HOME; synth show {name}", tmp_path)
    assert status == 2 and len(err.splitlines()) == 1, err


def test_a_model_in_the_home_of_nobody(tmp_path: Path) -> None:
    for command in ("template --model '~nobody-of-that-name/m'", "merge '~nobody-of-that-name/m' m --ratio 0.5 -o out"):
        status, _, err = shell(f"synth {command}", tmp_path)
        assert status == 2 and "no such directory" in err and "defect" not in err
