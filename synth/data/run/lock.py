"""One process at a time writes a directory: the lock is a file in it that is there only while it is held."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from synth.errors import UsageError

NAME = ".lock"
ATTEMPTS = 1_000
"""Each is lost only to another process that leaves the directory at that very moment."""


def lock_directory(path: Path) -> int:
    """Claim a directory for this process, making it where it is missing; `unlock_directory` gives it back.

    Who held the lock before unlinks its file as it leaves, so a file that was opened in time may be locked too late: a
    lock counts only on the file that bears the name now.

    Raises:
        UsageError: another process has it.
        OSError: the directory cannot be written.
    """
    for attempts_left in reversed(range(ATTEMPTS)):
        try:
            path.mkdir(parents=True, exist_ok=True)
            handle = os.open(path / NAME, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW)
        except (FileExistsError, FileNotFoundError):
            if not attempts_left:
                raise
            continue  # the process before has removed the directory just now
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _bears_the_name(path, handle):
                return handle
        except BlockingIOError as error:
            os.close(handle)
            raise UsageError(f"another run is writing to {path}; wait for it, or choose another `output`") from error
        except OSError:
            os.close(handle)
            raise
        os.close(handle)
    raise UsageError(f"other runs are writing to {path}; wait for them, or choose another `output`")


def unlock_directory(path: Path, handle: int) -> None:
    """Give a directory back, and remove it if nothing is in it."""
    if _bears_the_name(path, handle):  # not where the directory was removed, and another process has made it anew
        (path / NAME).unlink()
    os.close(handle)
    with suppress(OSError):  # there is something in it
        path.rmdir()


def _bears_the_name(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path / NAME))
    except FileNotFoundError:
        return False
