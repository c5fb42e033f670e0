"""One process at a time writes a directory: the lock is a file in it that is there only while it is held.

The library filelock (4.3) does not serve here. On Unix it leaves its file behind when a lock is given back, so a run
that is refused would leave a directory with a file in it. Removing both would stay our work, and needs the descriptor
that filelock keeps to itself: without it a process whose directory was deleted and made anew by another would remove
the other's lock. And it takes 40 ms to import.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from synth.errors import BusyError

NAME = ".lock"
ATTEMPTS = 1_000
"""Attempts; each fails only when another process leaves the directory at that very moment."""


def lock_directory(path: Path) -> int:
    """Lock a directory for this process, and create it if it is missing; `unlock_directory` releases it.

    The process that held the lock before removes the file as it leaves. A file that was opened before that and locked
    after it is no longer there, so a lock counts only if the file that is locked is the one that bears the name now.

    Raises:
        BusyError: another process has it.
        OSError: the directory cannot be written.
    """
    for attempts_left in reversed(range(ATTEMPTS)):
        try:
            path.mkdir(parents=True, exist_ok=True)
            handle = os.open(path / NAME, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW)
        except (FileExistsError, FileNotFoundError):
            if not attempts_left:
                raise
            continue  # the process that held the lock has removed the directory just now
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _bears_the_name(path, handle):
                return handle
        except BlockingIOError as error:
            os.close(handle)
            raise BusyError(f"another run is writing to {path}; wait for it, or choose another `output`") from error
        except OSError:
            os.close(handle)
            raise
        os.close(handle)
    raise BusyError(f"other runs are writing to {path}; wait for them, or choose another `output`")


def unlock_directory(path: Path, handle: int) -> None:
    """Release a directory, and remove it if it is empty."""
    if _bears_the_name(path, handle):  # not where the directory was removed, and another process has made it anew
        (path / NAME).unlink()
    os.close(handle)
    with suppress(OSError):  # it is not empty
        path.rmdir()


def _bears_the_name(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path / NAME))
    except FileNotFoundError:
        return False
