"""One worker of the pool: reads checks from standard input, writes verdicts to a pipe of its own, until its end.

Whatever a check prints is discarded. Replies are JSON: the parent never unpickles data from a process that has
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

ADDRESS_SPACE = 4 * 2**30
"""Bytes that one worker may map; a check that needs more crashes, and is unscorable."""


def main() -> None:
    """Serve. The first request is the settings; `{"ready": true}` or `{"error": …}` answers it."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # in the middle of a check, too
    requests, replies = _private_pipes(int(sys.argv[1]))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = ADDRESS_SPACE if hard == resource.RLIM_INFINITY else min(ADDRESS_SPACE, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    places, pickled = _read(requests)
    sys.path += [place for place in places if place not in sys.path]
    try:
        settings = pickle.loads(pickled)
        check = checker(settings)
    except VerifierError as error:
        _write(replies, {"error": str(error)})
        return
    except Exception as error:  # a module or a library that is missing, or broken
        _write(replies, {"error": f"it does not start: {type(error).__name__}: {error}"})
        return
    _write(replies, {"ready": True})
    while (request := _read(requests)) is not None:
        response, task = request
        verdict = _verdict(check, settings.name, response, task)
        answer, reason = (None if text is None else str(text) for text in (verdict.answer, verdict.reason))
        _write(replies, {"kind": verdict.kind, "answer": answer, "reason": reason})


def _private_pipes(replies: int) -> tuple[BinaryIO, BinaryIO]:
    """Where requests come from and replies go. A check that reads standard input finds nothing there.

    No process that a check starts has either of them, so none keeps them open when this one dies.
    """
    requests = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.set_inheritable(replies, False)
    return os.fdopen(requests, "rb"), os.fdopen(replies, "wb")


def _verdict(check: Check, name: str, response: str, task: Task) -> Verdict:
    try:
        return check(response, task)
    except MemoryError:
        return Verdict(UNSCORABLE, None, "the check ran out of memory")
    except RecursionError:
        return Verdict(UNSCORABLE, None, "the check went too deep")
    except Exception as error:  # a defect of a verifier must not end the run
        said = " ".join(str(error)[:200].split())
        return Verdict(UNSCORABLE, None, f"{name} raised {type(error).__name__}: {said}")


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
