"""Interpreters beside this one."""

import subprocess
from pathlib import Path

import pytest

import filters
from synth.interpreter import python


def test_files_of_the_user_stand_for_no_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their own modules are found where this process finds them."""
    for name in ("filters", "random", "synth"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the user')")
    (tmp_path / "one_of_the_users.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(".")
    code = "import random, synth, one_of_the_users, filters; print(filters.__path__[0])"
    done = subprocess.run(python(code), capture_output=True, text=True, timeout=300)
    assert (done.stdout.strip(), done.stderr) == (next(iter(filters.__path__)), "")
