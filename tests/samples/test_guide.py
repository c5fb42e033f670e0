"""The examples of the guide's section "Growing synth" are complete, short, and run on the sample model."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from samples.skills.registry import suite
from tests.cli.running import Command

ROOT = Path(__file__).parents[2]
MOST_LINES = 20

SECTION = (ROOT / "samples" / "guide.md").read_text(encoding="utf-8").partition("\n## Growing synth\n")[2]
EXAMPLES = dict(re.findall(r"^### An? ([a-z ]+)\n(.*?)(?=^### |^## |\Z)", SECTION, flags=re.MULTILINE | re.DOTALL))
"""What each subsection says, by what it adds."""


def block(text: str, language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    assert found, f"no {language}"
    return found[1]


def test_there_is_one_of_each() -> None:
    assert list(EXAMPLES) == [
        "verifier",
        "filter",
        "selection",
        "method",
        "method from nothing",
        "engine",
        "export format",
        "trainer",
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader of the guide would be: the sample model, tasks, and the files of the examples."""
    place = tmp_path_factory.mktemp("guide")
    (place / "samples").symlink_to(ROOT / "samples")
    tasks = [{"question": question, "answer": answer} for question, answer in suite("arithmetic", "dev", 8)]
    (place / "tasks.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks), encoding="utf-8")
    for text in EXAMPLES.values():
        name = re.search(r"`(\w+\.py)`", text)
        assert name, text
        (place / name[1]).write_text(block(text, "python"), encoding="utf-8")
    return place


@pytest.mark.parametrize("what", EXAMPLES)
def test_an_example_is_short_and_runs(what: str, folder: Path) -> None:
    """In the order of the guide: the filter and the selection work on what the verifier let through."""
    text = EXAMPLES[what]
    assert len([line for line in block(text, "python").splitlines() if line.strip()]) <= MOST_LINES
    command = shlex.split(block(text, "sh").partition(" > ")[0])
    assert command[0] == "synth"
    with Command(*command[1:], folder=folder) as process:
        assert process.wait() == 0, process.said
        assert re.search(r"^[1-9]\d*( of \d+)? rows (in|as) ", process.said, flags=re.MULTILINE), process.said


def test_each_is_given_as_a_function_from_python(folder: Path) -> None:
    """A script in the reader's directory, with everything at its top level, as people write them."""
    (folder / "ours.jsonl").unlink(missing_ok=True)
    code = block(SECTION.partition("\n### From Python\n")[2], "py")
    imports = [f"from {file.stem} import *" for file in folder.glob("*.py")]
    (folder / "script.py").write_text("\n".join(["import synth", *imports, code]), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "script.py"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
