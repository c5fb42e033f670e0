"""`synth train` where libraries of an extra are not installed: all but what needs them works."""

import json
import os
import subprocess
import sys
from pathlib import Path

WITHOUT = """
import contextlib, io, json, sys
from importlib.machinery import PathFinder

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, *others):
        return None if name.split(".")[0] in ("bitsandbytes", "peft", "torchao") else super().find_spec(name, *others)

sys.meta_path[:] = [Hiding if finder is PathFinder else finder for finder in sys.meta_path]
from cli.main import _run
for command in json.loads(sys.argv[1]):
    with contextlib.redirect_stderr(io.StringIO()) as said:
        status = _run(command)
    print(json.dumps([status, said.getvalue()]), flush=True)
"""
"""One process for all commands, as most of the time of each would be its imports."""

REFUSED: list[tuple[tuple[object, ...], str]] = [
    (("--lora", 4), "--lora needs peft, which is not installed: pip install -e '.[adapters]'"),
    (("--peft", "any.json", "--quantise", "4bit"), "--peft needs peft"),
    (("--weights", "bfloat16"), "--weights bfloat16 needs torchao, which is not installed"),
    (("--optimizer", "adamw-8bit"), "--optimizer adamw-8bit needs torchao, which is not installed"),
]


def test_what_needs_one_is_refused_in_a_line_and_a_model_is_trained_whole_without_any(
    model: str, tmp_path: Path
) -> None:
    tasks = tmp_path / "tasks.jsonl"
    rows = [{"question": f"What is {n} + 1?", "answer": str(n + 1), "verifier": "exact"} for n in range(12)]
    tasks.write_text("".join(json.dumps(row) + "\n" for row in rows))
    train = ["train", tasks, "--model", model]
    commands = [[*train, *options, "-o", tmp_path / f"refused-{at}"] for at, (options, _) in enumerate(REFUSED)]
    commands.append([*train, "--kl", 0.1, "--steps", 2, "--eval", tasks, "-o", tmp_path / "out"])
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, json.dumps([list(map(str, command)) for command in commands])],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    *refused, (status, err) = map(json.loads, done.stdout.splitlines())
    for (_, said), (wrong, told) in zip(REFUSED, refused, strict=True):
        assert wrong == 2 and said in told.splitlines()[-1], told
    assert status == 0, err
    assert json.loads((tmp_path / "out" / "run.json").read_text())["finished"]
    assert sorted(tmp_path.iterdir()) == [tmp_path / "out", tasks]
