"""`synth magpie` on vLLM under a terminal's Ctrl-C, which reaches vLLM's processes, too."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import datasets
import pytest

from tests.cli.running import of_libraries

pytestmark = pytest.mark.vllm


def test_ctrl_c_finishes_the_rows_in_flight(tmp_path: Path) -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed")
    path = tmp_path / "d"
    command = [sys.executable, "-c", "from cli.main import main; main()", "magpie", "--model", "samples/model"]
    command += ["--engine", "vllm", "--engine-arg", "enforce-eager=true", "--concurrency", "64"]  # nothing is compiled
    command += ["-n", "100000", "-o", str(path)]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 300
    while run.poll() is None and time.monotonic() < deadline:
        if (path / "journal.jsonl").exists() and (path / "journal.jsonl").stat().st_size:
            break
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does: the whole group
    _, said = run.communicate(timeout=300)
    assert run.returncode == 1
    assert "finishing 128 rows in flight" in said and "run this again" in said
    assert "Error" not in said and not of_libraries(said)
    assert len(datasets.load_from_disk(str(path))) >= 50
