"""What is left of processes that were started as vLLM starts its own, when the one that started them is killed."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

STARTED = """
import multiprocessing, os, signal, subprocess, sys, time
from synth.engines.vllm.processes import Watchdog

def work(ready):
    subprocess.Popen(["sleep", "600"])
    ready.release()
    time.sleep(600)

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    ready = context.Semaphore(0)
    watchdog = Watchdog()
    with watchdog.told():
        process = context.Process(target=work, args=[ready])
        process.start()
        ready.acquire()
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("kind", ["fork", "spawn"])
def test_killed_while_they_start_they_end_and_what_they_started(kind: str, tmp_path: Path) -> None:
    """All of them have its standard output: to read that to its end is to wait for them."""
    (tmp_path / "started.py").write_text(STARTED)
    command = [sys.executable, str(tmp_path / "started.py"), kind]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=300)
    assert done.returncode == -signal.SIGKILL
