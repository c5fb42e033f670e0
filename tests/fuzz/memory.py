"""How much memory a command takes at most: in this process, in its children, or in a process of its own."""

import resource
import subprocess
import sys
from pathlib import Path

ALONE = """
import atexit, resource, sys
from pathlib import Path

def tell():
    taken = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print("peak", max(int(taken.split()[1]), children), file=sys.__stderr__)

atexit.register(tell)
from cli.main import main
main()
"""


def peak() -> int:
    """Bytes this process has held at most since `forget_peak`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def forget_peak() -> None:
    """Count from here."""
    Path("/proc/self/clear_refs").write_text("5")


def children_peak() -> int:
    """Bytes that any child has held at most, which has ended since this process began."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


def peak_of_a_fresh_process(arguments: list[str]) -> int:
    """Bytes that a command takes at most, with all it imports; it is given ten minutes.

    Not what `wait4` says: a child's count begins with what its parent held as it was started.
    """
    done = subprocess.run(
        [sys.executable, "-c", ALONE, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=600,
        check=False,
    )
    return int(done.stderr.rpartition("peak ")[2]) * 1024
