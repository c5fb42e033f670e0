"""The scripts for several machines, each machine a process here: shards, killed and run again, joined."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.running import SYNTH

SAMPLES = Path(__file__).parents[2] / "samples"
SBATCH = """#!/bin/bash
# Of Slurm: every job of an array at once, and a job that depends on it only where none of them failed.
for argument; do
    case $argument in
        --array=1-*) last=${argument#--array=1-} ;;
        --dependency=afterok:1) [ ! -e failed ] || exit 0 ;;
        --wrap) wrapped=1 ;;
        --*) ;;
        *) break ;;
    esac
    shift
done
[ -z "${wrapped:-}" ] || exec bash -c "$1"
rm -f failed
for ((job = 1; job <= last; job++)); do
    SLURM_ARRAY_TASK_ID=$job "$@" >/dev/null || touch failed &
done
wait
echo 1
"""
SSH = """#!/bin/bash
# Another machine: its shell gets the words that follow the host's name as one line.
shift
exec bash -c "$*"
"""


@pytest.fixture
def machines(tmp_path: Path) -> dict[str, str]:
    """The environment in which `sbatch` and `ssh` run what they are given here; and tasks with answers."""
    (tmp_path / "bin").mkdir()
    python = " ".join([sys.executable, *(f"'{word}'" for word in SYNTH[1:])])
    for name, text in {"sbatch": SBATCH, "ssh": SSH, "synth": f'#!/bin/bash\nexec {python} "$@"\n'}.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"What is {number} + 1?"},
                {"role": "assistant", "content": f"The answer is {number + 1}."},
            ],
            "reference": str(number + 1 + (number % 5 == 0)),
        }
        for number in range(25)
    ]
    (tmp_path / "the tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "HOSTS": "one two"}


def test_the_scripts_make_what_one_process_makes(tmp_path: Path, machines: dict[str, str]) -> None:
    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(words, cwd=tmp_path, env=machines, capture_output=True, text=True, timeout=300)

    command = ["verify", "the tasks.jsonl", "--verifier", "number"]
    whole = run("synth", *command, "-o", "whole")
    assert whole.returncode == 0, whole.stderr
    slurm = [str(SAMPLES / "slurm.sh"), "by slurm", "2", *command]
    (tmp_path / "by slurm.parts").mkdir()
    (tmp_path / "by slurm.parts" / "2").write_text("in the way")  # the second shard fails
    run(*slurm)
    assert not (tmp_path / "by slurm").exists() and (tmp_path / "by slurm.parts" / "1" / "run.json").exists()
    (tmp_path / "by slurm.parts" / "2").unlink()
    for again in (run(*slurm), run(str(SAMPLES / "ssh.sh"), "by ssh", *command)):
        assert again.returncode == 0, again.stderr
    for joined in ("by slurm", "by ssh"):
        for name in ("data-00000.arrow", "dataset_info.json"):
            assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / joined / name).read_bytes()
        assert len(json.loads((tmp_path / joined / "run.json").read_text())["joined"]) == 2
    machines["ROWS"] = "20"  # is for the joining alone, which says that this run has all rows and no target
    for script in (slurm, [str(SAMPLES / "ssh.sh"), "by ssh", *command]):
        assert "-n: a run of synth verify has no target" in run(*script).stderr
