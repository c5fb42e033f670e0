"""Opens the audio and image files that a manifest lists: relative to it, and only if they are regular files."""

import os
import stat
from pathlib import Path
from typing import BinaryIO


class FileFault(Exception):
    """A file, or its entry in the manifest, cannot be used. The message becomes the row's reason."""


def open_media(path: Path) -> BinaryIO:
    """Open a file for reading.

    Anything but a regular file is refused: reading a pipe or a device might never end.

    Raises:
        FileFault: it is missing, empty, unreadable or not a regular file.
    """
    try:
        # Opening a pipe would wait for a writer, but for O_NONBLOCK; the handle is looked at, not the name, since
        # another file may have that a moment later.
        file = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")  # noqa: SIM115 (the caller's)
    except FileNotFoundError as error:
        raise FileFault(f"file missing: {path}") from error
    except IsADirectoryError as error:
        raise FileFault(f"no ordinary file: {path}") from error
    except (OSError, ValueError) as error:  # ValueError: a null byte, which no name has
        raise FileFault(f"file not readable: {error}") from error
    about = os.fstat(file.fileno())
    if stat.S_ISREG(about.st_mode) and about.st_size:
        return file
    file.close()
    raise FileFault(f"{'file empty' if stat.S_ISREG(about.st_mode) else 'no ordinary file'}: {path}")
