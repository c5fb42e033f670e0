"""Small files of text that a person names beside the data: prompts, schemas, settings of an adapter."""

import errno
import os
from pathlib import Path

MOST_CHARACTERS = 2**24
"""Nobody writes a longer one by hand; what has no end, such as /dev/zero, ends here."""


def read_small(path: str | Path) -> str:
    """The text of a file, UTF-8 with or without a mark at its start.

    A pipe is read to its end, as a shell's `<(command)` is; one that nobody writes to is empty, and not waited for.

    Raises:
        OSError: it cannot be read, or is longer than `MOST_CHARACTERS`.
        UnicodeDecodeError: it is no such text.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # opening a pipe would wait for a writer
    os.set_blocking(handle, True)
    with open(handle, encoding="utf-8-sig") as file:
        text = file.read(MOST_CHARACTERS + 1)
    if len(text) > MOST_CHARACTERS:
        raise OSError(errno.EFBIG, f"more than {MOST_CHARACTERS:,} characters", str(path))
    return text
