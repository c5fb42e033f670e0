"""`synth train` where libraries of an extra are not installed: all but what needs them works."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

WITHOUT = """
import sys
from importlib.machinery import PathFinder

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, *others):
        return None if name.split(".")[0] in ("bitsandbytes", "peft", "torchao") else super().find_spec(name, *others)

sys.meta_path[:] = [Hiding if finder is PathFinder else finder for finder in sys.meta_path]
from cli.main import main
main()
"""


def without(*arguments: object) -> subprocess.CompletedProcess[str]:
    """`synth train …` where nothing of the extras can be imported."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, "train", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=300,
    )


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("tasks") / "tasks.jsonl"
    rows = [{"question": f"What is {n} + 1?", "answer": str(n + 1), "verifier": "exact"} for n in range(12)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_a_model_is_trained_whole_without_any_of_them(tasks: Path, model: str, tmp_path: Path) -> None:
    done = without(tasks, "--model", model, "--kl", 0.1, "--steps", 2, "--eval", tasks, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "run.json").read_text())["finished"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--lora", 4), "--lora needs peft, which is not installed: pip install -e '.[adapters]'"),
        (("--peft", "any.json", "--quantise", "4bit"), "--peft needs peft"),
        (("--weights", "bfloat16"), "--weights bfloat16 needs torchao, which is not installed"),
        (("--optimizer", "adamw-8bit"), "--optimizer adamw-8bit needs torchao, which is not installed"),
    ],
)
def test_what_needs_one_is_refused_in_a_line(
    tasks: Path, model: str, tmp_path: Path, options: tuple[object, ...], said: str
) -> None:
    done = without(tasks, "--model", model, *options, "-o", tmp_path / "out")
    assert done.returncode == 2 and said in done.stderr.splitlines()[-1], done.stderr
    assert not (tmp_path / "out").exists()
