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
# Of Slurm: every job of an array at once, and then the job that depends on it.
for argument; do
    case $argument in
        --array=1-*) last=${argument#--array=1-} ;;
        --dependency=afterany:1) ;;
        --output=*join.log) exec 2>"${argument#--output=}" ;;
        --wrap) wrapped=1 ;;
        --*) ;;
        *) break ;;
    esac
    shift
done
[ -z "${wrapped:-}" ] || exec bash -c "$1"
for ((job = 1; job <= last; job++)); do
    SLURM_ARRAY_TASK_ID=$job "$@" >/dev/null &
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
    ssh = [str(SAMPLES / "ssh.sh"), "by ssh", *command]
    for name, script in (("by slurm", slurm), ("by ssh", ssh)):
        parts, log = tmp_path / f"{name}.parts", tmp_path / f"{name}.parts" / "join.log"
        parts.mkdir()
        (parts / "2").write_text("in the way")  # the second shard fails
        failed = run(*script)
        said = failed.stderr + (log.read_text() if log.exists() else "")
        assert script is slurm or failed.returncode == 2
        assert f"synth: {parts.name}/2 holds no shard" in said and "Traceback" not in said, said
        assert script is slurm or f"two did not do all of {parts.name}/2: synth: {parts.name}/2 is a file" in said, said
        assert not (tmp_path / name).exists() and (parts / "1" / "run.json").exists()
        (parts / "2").unlink()
        again = run(*script)
        assert again.returncode == 0, again.stderr
    for joined in ("by slurm", "by ssh"):
        for name in ("data-00000.arrow", "dataset_info.json"):
            assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / joined / name).read_bytes()
        assert len(json.loads((tmp_path / joined / "run.json").read_text())["joined"]) == 2
    machines["ROWS"] = "20"  # is for the joining alone, which says that this run has all rows and no target
    for script in (slurm, ssh):
        said = run(*script).stderr + (tmp_path / "by slurm.parts" / "join.log").read_text()
        assert "-n: a run of synth verify has no target" in said
