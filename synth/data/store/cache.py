"""Files from elsewhere on this machine's disk, as many as a bound allows: those that were used last."""

import os
import shutil
import tempfile
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from synth.errors import RunError, UsageError

MOST_BYTES = 10 * 2**30
"""Bytes of files kept, at most; and at most half of what the disk has for them."""
KEPT = 4
"""Files that are kept whatever their size: whoever asked for one is about to open it."""


def home() -> Path:
    """Where synth keeps what it can make or fetch again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "synth")


class Cache:
    """A temporary folder of this process, removed as it ends. A file that is open stays readable when it is dropped.

    Attributes:
        fetched: how often a file was fetched.
    """

    def __init__(self) -> None:
        self._files: OrderedDict[tuple[str, ...], Path] = OrderedDict()
        self._lock = threading.Lock()
        self._folder: Path | None = None
        self.fetched = 0

    def __len__(self) -> int:
        """Files that are here."""
        return len(self._files)

    def file(self, key: tuple[str, ...], size: int, fetch: Callable[[Path], None]) -> Path:
        """The file of a key, fetched if it is not here.

        Args:
            key: says what is in it.
            size: how large it will be, bytes.
            fetch: writes it.

        Raises:
            UsageError: it does not fit on the disk; or as `fetch` does.
            RunError: there is no folder for temporary files that can be written.
        """
        with self._lock:
            if (found := self._files.get(key)) is not None:
                self._files.move_to_end(key)
                return found
            folder = self._open()
            self._make_room(size)
            if (free := shutil.disk_usage(folder).free) < size:
                raise UsageError(
                    f"{key[0]} has {size / 1e9:,.1f} GB, and {folder.parent} has room for {free / 1e9:,.1f}: free some "
                    "space, or set TMPDIR to a folder with more"
                )
            self.fetched += 1
            file = folder / f"{self.fetched:06d}"
            try:
                fetch(file)
            except BaseException:
                file.unlink(missing_ok=True)
                raise
            self._files[key] = file
            return file

    def holds(self, key: tuple[str, ...]) -> bool:
        """Whether a file is here already."""
        return key in self._files

    def _open(self) -> Path:
        if self._folder is None:
            try:
                self._folder = Path(tempfile.mkdtemp(prefix="synth-files-"))
            except OSError as error:
                raise RunError(
                    f"files of a store find no place in the folder for temporary files ({error.strerror or error}); "
                    "free some space, or set TMPDIR to another folder"
                ) from error
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder

    def _make_room(self, size: int) -> None:
        """Drop files until one more fits within the bound."""
        held = sum(os.path.getsize(file) for file in self._files.values())
        bound = min(MOST_BYTES, (shutil.disk_usage(self._open()).free + held) // 2)
        while held + size > bound and len(self._files) >= KEPT:
            _, file = self._files.popitem(last=False)
            held -= file.stat().st_size
            file.unlink()


CACHE = Cache()
"""That of this process."""
