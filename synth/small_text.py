"""Reads small text files that the user names: prompts, schemas, adapter configurations."""

import errno
import os

MOST_CHARACTERS = 2**24
"""Characters of a file, at most; it bounds endless files such as /dev/zero."""


def read_small(path: str | os.PathLike[str]) -> str:
    """The text of a file in UTF-8, with or without a byte-order mark.

    A pipe, such as a shell's `<(command)`, is read to its end; one without a writer counts as empty.

    Raises:
        OSError: it cannot be read, or is longer than `MOST_CHARACTERS`.
        UnicodeDecodeError: it is not UTF-8.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # opening a pipe would wait for a writer
    os.set_blocking(handle, True)
    with open(handle, encoding="utf-8-sig") as file:
        text = file.read(MOST_CHARACTERS + 1)
    if len(text) > MOST_CHARACTERS:
        raise OSError(errno.EFBIG, f"more than {MOST_CHARACTERS:,} characters", str(path))
    return text
