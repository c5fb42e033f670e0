"""One worker of `filters.pool`: reads checks from standard input, writes verdicts to a pipe of its own, until its end.

Whatever a check prints goes to the bin. Replies are JSON: the parent never unpickles what a process says that has
seen a model's text.
"""

import ctypes
import json
import os
import pickle
import resource
import signal
import struct
import sys
from typing import Any, BinaryIO

from filters.verdict import UNSCORABLE, Check, Task, Verdict, VerifierError
from filters.verifiers.registry import checker

PR_SET_PDEATHSIG = 1

ADDRESS_SPACE = 8 * 2**30
"""Bytes that one worker may map; a check that needs more crashes, and is unscorable."""


def main() -> None:
    """Serve. The first request is the settings; `{"ready": true}` or `{"error": …}` answers it."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # in the middle of a check, too
    requests, replies = sys.stdin.buffer, os.fdopen(int(sys.argv[1]), "wb")
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = ADDRESS_SPACE if hard == resource.RLIM_INFINITY else min(ADDRESS_SPACE, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    settings = _read(requests)
    try:
        check = checker(settings)
    except VerifierError as error:
        _write(replies, {"error": str(error)})
        return
    _write(replies, {"ready": True})
    while (request := _read(requests)) is not None:
        response, task = request
        verdict = _verdict(check, settings.name, response, task)
        _write(replies, {"kind": verdict.kind, "answer": verdict.answer, "reason": verdict.reason})


def _verdict(check: Check, name: str, response: str, task: Task) -> Verdict:
    try:
        return check(response, task)
    except MemoryError:
        return Verdict(UNSCORABLE, None, "the check ran out of memory")
    except RecursionError:
        return Verdict(UNSCORABLE, None, "the check went too deep")
    except Exception as error:  # a verifier's defect must not end the run
        return Verdict(UNSCORABLE, None, f"{name} raised {type(error).__name__}: {str(error)[:200]}")


def _read(stream: BinaryIO) -> Any:
    """One request, pickled by the parent; None at the end."""
    head = stream.read(4)
    if len(head) < 4:
        return None
    return pickle.loads(stream.read(*struct.unpack("<I", head)))


def _write(stream: BinaryIO, reply: dict[str, object]) -> None:
    body = json.dumps(reply).encode()
    stream.write(struct.pack("<I", len(body)) + body)
    stream.flush()


if __name__ == "__main__":
    main()
