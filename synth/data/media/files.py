"""Files of sound and pictures that a manifest names: found beside it, and opened only if they are ordinary files."""

import os
import stat
from pathlib import Path
from typing import BinaryIO


class FileFault(Exception):
    """A file, or what a manifest says of it, that cannot be used. The message becomes the row's reason."""


def open_media(path: Path) -> BinaryIO:
    """Open a file for reading.

    What is no ordinary file is refused: reading a pipe or a device might never end.

    Raises:
        FileFault: it is missing, empty, not readable or no ordinary file.
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
