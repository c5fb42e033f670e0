"""The lock of a directory, with real processes that race for it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from synth.data.run import lock
from synth.data.run.lock import lock_directory, unlock_directory
from synth.errors import UsageError

PROCESSES = 4

COUNT = """
import sys, time
from pathlib import Path
from synth.errors import UsageError
from synth.data.run.lock import lock_directory, unlock_directory

folder, number = Path(sys.argv[1]), sys.argv[2]
(folder / f"ready-{number}").touch()
while len(list(folder.glob("ready-*"))) < int(sys.argv[3]):
    time.sleep(0.001)
for _ in range(200):
    while True:
        try:
            lock = lock_directory(folder / "d")
            break
        except UsageError:
            time.sleep(0)
    (folder / "counter").write_text(str(int((folder / "counter").read_text()) + 1))
    unlock_directory(folder / "d", lock)
"""

RUN = """
import sys, time
from pathlib import Path
from synth.errors import UsageError
from synth.data.output import Output
from synth.data.run.record import RunRecord
from synth.data.row import BASE, Outcome, Row

def run(path, made):
    while True:
        try:
            run = Output(str(path)).open(RunRecord("test", {}), BASE)
            break
        except UsageError as error:
            if "writing to" not in str(error):
                assert f"{path} exists" in str(error), error
                return
    for index in range(run.next, 3):
        outcome = Outcome(Row(str(index), [{"role": "user", "content": "q"}], "test"))
        run.keep(index, outcome)
        run.commit(outcome)
        with open(made, "a") as file:
            file.write(f"{index}\\n")
    run.finish()

folder, number = Path(sys.argv[1]), sys.argv[2]
for turn in range(4):
    (folder / f"ready-{turn}-{number}").touch()
    while len(list(folder.glob(f"ready-{turn}-*"))) < int(sys.argv[3]):
        time.sleep(0.001)
    run(folder / f"{turn}{sys.argv[4]}", folder / f"made-{turn}")
"""


def at_once(script: str, folder: Path, *more: str) -> None:
    """Run a script in several processes that begin together."""
    environment = os.environ | {"PYTHONPATH": str(Path(lock.__file__).parents[3])}
    command = [sys.executable, "-c", script, str(folder)]
    children = [
        subprocess.Popen([*command, str(number), str(PROCESSES), *more], env=environment) for number in range(PROCESSES)
    ]
    try:
        assert [child.wait(300) for child in children] == [0] * PROCESSES
    finally:
        for child in children:
            child.kill()


def test_one_process_at_a_time_though_the_lock_is_removed_each_time(tmp_path: Path) -> None:
    (tmp_path / "counter").write_text("0")
    at_once(COUNT, tmp_path)
    assert (tmp_path / "counter").read_text() == str(200 * PROCESSES)
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("suffix", ["", ".jsonl"])
def test_a_run_that_finished_in_between_is_found_finished(tmp_path: Path, suffix: str) -> None:
    """Of several processes one makes the rows; the others come to a finished run, and leave it as it is."""
    at_once(RUN, tmp_path, suffix)
    for turn in range(4):
        assert (tmp_path / f"made-{turn}").read_text() == "0\n1\n2\n", turn
        assert (tmp_path / f"{turn}{suffix}").exists() and not (tmp_path / f"{turn}{suffix}.partial").exists()


def test_a_lock_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / ".lock").symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="symbolic links"):
        lock_directory(tmp_path / "d")


def test_the_lock_of_another_process_is_left_where_a_directory_was_made_anew(tmp_path: Path) -> None:
    mine = lock_directory(tmp_path / "d")
    shutil.rmtree(tmp_path / "d")
    theirs = lock_directory(tmp_path / "d")
    unlock_directory(tmp_path / "d", mine)
    with pytest.raises(UsageError, match="another run is writing"):
        lock_directory(tmp_path / "d")
    unlock_directory(tmp_path / "d", theirs)
    assert not (tmp_path / "d").exists()
