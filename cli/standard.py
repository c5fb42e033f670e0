"""Prepares standard input, output and error, which may be closed, full, or in a limited encoding."""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

_WAYS = {0: os.O_RDONLY, 1: os.O_RDONLY, 2: os.O_WRONLY}
"""How the null device takes the place of a stream that is closed: from 1, opened for reading, any write fails."""

NO_PLACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})
"""Errors of a write to standard output, other than a missing reader."""


def prepare() -> None:
    """Fill in streams that are closed, so that no file is opened in their place, and make text of any letters pass.

    What is piped on is UTF-8, whatever the terminal's encoding; a terminal shows a question mark for what it has not.
    """
    for number, way in _WAYS.items():
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, way)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            if stream.isatty():
                stream.reconfigure(errors="replace")
            else:
                stream.reconfigure(encoding="utf-8", errors="replace")


def abandon() -> None:
    """Discard further standard output: Python flushes it once more at exit, which must not fail again."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def complaint(error: OSError) -> tuple[str, int]:
    """The operating system's error in one line, and the exit status: 2 where another path would help."""
    if error.filename is None and error.errno in NO_PLACE:
        return f"cannot write standard output: {error.strerror}", 1
    reason = error.strerror or str(error).strip().partition("\n")[0] or type(error).__name__
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    return f"{where}{reason}", 1 if error.errno in NO_PLACE else 2


@contextmanager
def claimed_stdout() -> Iterator[BinaryIO]:
    """Standard output for rows alone: whatever libraries print there meanwhile goes to standard error."""
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    stream = open(saved, "wb", closefd=False)  # noqa: SIM115
    try:
        yield stream
        stream.flush()
    finally:
        with suppress(OSError):
            stream.close()
        sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)
