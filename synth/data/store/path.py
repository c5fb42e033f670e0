"""Files and folders elsewhere, used as `pathlib.Path` is: a file is fetched when it is opened.

`open`, `os.stat` and all else that takes an `os.PathLike` find a whole file on this machine's disk. Readers therefore
go through a set file by file and never hold more of it than `synth.data.store.cache` keeps.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import total_ordering
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from synth.data.store.address import here, is_address, is_full, opened, retried, shown, told
from synth.data.store.cache import CACHE
from synth.errors import RunError, UsageError

_VERSIONS = (
    *("ETag", "etag", "generation", "blob_id", "md5Hash", "content_md5"),
    *("LastModified", "last_modified", "updated", "mtime", "modified", "created"),
)
"""What says which version of a file it is, the surest first."""

SMALL = 64 * 2**20
"""Bytes of a description at most: what is larger is not one."""


@total_ordering
class StoredPath(os.PathLike[str]):
    """A file or a folder elsewhere, or nothing yet.

    What a file was when it was first looked at holds from then on: one that is replaced while its set is read is told
    of, never mixed with what it was.
    """

    def __init__(self, fs: Any, scheme: str, path: str, info: dict[str, Any] | None = None) -> None:
        self._fs, self._scheme, self._path = fs, scheme, path
        self._info = info
        self._pinned: str | None = None
        self._size: int | None = None

    @property
    def address(self) -> str:
        """The whole address, secrets and all: never shown."""
        return self._path if "://" in self._path else f"{self._scheme}://{self._path.lstrip('/')}"

    @property
    def lists(self) -> bool:
        """Whether the store tells what is in a folder: a web server has none."""
        return self._scheme not in ("http", "https")

    @property
    def _pure(self) -> PurePosixPath:
        return PurePosixPath(self._path if self.lists else urlsplit(self._path).path)

    def __str__(self) -> str:
        return shown(self.address)

    def __repr__(self) -> str:
        return f"<{self}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoredPath) and self.address == other.address

    def __lt__(self, other: "StoredPath") -> bool:
        return self._pure < other._pure

    def __hash__(self) -> int:
        return hash(self.address)

    def __truediv__(self, name: str | os.PathLike[str]) -> "StoredPath":
        below = os.fspath(name)
        return self if below == "." else StoredPath(self._fs, self._scheme, f"{self._path.rstrip('/')}/{below}")

    def __fspath__(self) -> str:
        """Where the file is on this machine's disk, fetched if it is not there.

        Raises:
            UsageError: it is not there, cannot be fetched, or has changed since it was first looked at.
        """
        version = self.version
        return str(CACHE.file((str(self), self.address, version), int(self._size or 0), self.fetch))

    @property
    def name(self) -> str:
        """The last part."""
        return self._pure.name

    @property
    def suffix(self) -> str:
        """Of the name, as `.jsonl`."""
        return self._pure.suffix

    @property
    def suffixes(self) -> list[str]:
        """All of the name, as `.jsonl` and `.gz`."""
        return self._pure.suffixes

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return self._pure.stem

    @property
    def parent(self) -> "StoredPath":
        """The folder it is in."""
        return StoredPath(self._fs, self._scheme, self._path.rstrip("/").rpartition("/")[0])

    def relative_to(self, folder: "StoredPath") -> PurePosixPath:
        """The path from a folder above it."""
        return self._pure.relative_to(folder._pure)

    def stored(self) -> dict[str, Any]:
        """What the store said of it when it was first asked.

        Raises:
            UsageError: there is no such thing, or the store does not say.
        """
        if self._info is None:
            with told(self.address):
                self._info = self._fs.info(self._path)
        return self._info

    def exists(self) -> bool:
        """Whether there is anything of that name.

        Raises:
            UsageError: the store cannot be asked.
        """
        if self._info is not None:
            return True
        with told(self.address):
            try:
                self._info = self._fs.info(self._path)
            except FileNotFoundError:
                return False
        return True

    def is_dir(self) -> bool:
        """Whether it is a folder."""
        return self.exists() and self.stored()["type"] == "directory"

    def is_file(self) -> bool:
        """Whether it is a file."""
        return self.exists() and self.stored()["type"] == "file"

    def read_text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """What a small file holds, as it is now.

        Raises:
            UsageError: it cannot be read, or is not small.
            UnicodeDecodeError: it is no text.
        """
        if self.size > SMALL:
            raise UsageError(f"{self} is too large: a description has no more than {SMALL:,} bytes")
        with told(self.address):
            content: bytes = self._fs.cat_file(self._path)
        return content.decode(encoding, errors)

    def write_text(self, content: str) -> None:
        """Put a small file there, in place of what is there.

        Raises:
            UsageError: it cannot be written.
        """
        with told(self.address, "cannot be written"):
            retried(lambda: self._fs.pipe_file(self._path, content.encode()))

    def remove(self) -> None:
        """Remove the file, or the folder and all that is in it, if there is one.

        Raises:
            UsageError: it cannot be removed.
        """
        with told(self.address, "cannot be removed"), suppress(FileNotFoundError):
            retried(lambda: self._fs.rm(self._path, recursive=True))

    def iterdir(self) -> Iterator["StoredPath"]:
        """What is in the folder.

        Raises:
            UsageError: the store does not say.
        """
        with told(self.address):
            found = self._fs.ls(self._path, detail=True)
        for info in found:
            if info["name"].strip("/") != self._path.strip("/"):  # some stores list the folder in itself
                yield self._at(info)

    def rglob(self, pattern: str = "*") -> Iterator["StoredPath"]:
        """All files in the folder and its subfolders; the pattern is `*`, as for a `Path` of which all is wanted.

        Raises:
            UsageError: the store does not say.
        """
        with told(self.address):
            found = self._fs.find(self._path, detail=True)
        yield from map(self._at, found.values())

    def matching(self) -> Iterator["StoredPath"]:
        """What matches it as a pattern.

        Raises:
            UsageError: the store does not say.
        """
        with told(self.address):
            found = self._fs.glob(self._path, detail=True)
        yield from map(self._at, found.values())

    def opened(self) -> BinaryIO:
        """The file, fetched part by part as it is read. Raises whatever the store's driver does."""
        if CACHE.holds((str(self), self.address, self.version)):
            return open(self, "rb")
        file: BinaryIO = self._fs.open(self._path, "rb", block_size=2**16)
        return file

    def _at(self, info: dict[str, Any]) -> "StoredPath":
        return StoredPath(self._fs, self._scheme, info["name"], info)

    def fetch(self, place: Path) -> None:
        """Bring it to a place on this machine.

        Raises:
            UsageError: it is not there, cannot be fetched, or has changed since it was first looked at.
            RunError: the disk is full.
        """
        expected = self.version
        with told(self.address):
            try:
                retried(lambda: self._fs.get_file(self._path, str(place)))
            except OSError as error:
                if is_full(error):
                    raise RunError(
                        f"no space is left for {self} in {place.parent}: free some, then run this again"
                    ) from error
                raise
        if self._version() != expected or (self._size is not None and place.stat().st_size != self._size):
            raise UsageError(f"{self} has changed since it was first looked at: run this again when nobody writes it")

    @property
    def size(self) -> int:
        """In bytes, as far as its store says."""
        return int(self.stored().get("size") or 0)

    @property
    def listed_version(self) -> str:
        """Which version of the file it is, as the listing of its folder says it: comparable with that alone."""
        return _version_in(self.stored())

    @property
    def version(self) -> str:
        """Which version of the file it was when it was first looked at closely, as far as its store says.

        Raises:
            UsageError: there is no such file, or the store does not say.
        """
        if self._pinned is None:
            self._pinned = self._version()
        return self._pinned

    def _version(self) -> str:
        with told(self.address):  # listings are not asked: some drivers write the same in two ways
            info = self._fs.info(self._path)
        self._size = info.get("size")
        return _version_in(info)


def _version_in(info: dict[str, Any]) -> str:
    known = next((name for name in _VERSIONS if info.get(name)), None)
    return f"{info.get('size')} {info[known] if known else ''}"


File = Path | StoredPath
"""A file or a folder, wherever it is."""


def path_at(place: str) -> File:
    """A place as a path, on this machine or elsewhere.

    Raises:
        UsageError: it is an address that cannot be opened.
    """
    if not is_address(place):
        return Path(here(place))
    fs, path = opened(place)
    return StoredPath(fs, place.split("://")[0].lower(), path)


def name_of(path: File) -> str:
    """What opens a path again by `path_at`: of one elsewhere the whole address, secrets and all."""
    return path.address if isinstance(path, StoredPath) else str(path)


def last_part(path: File) -> str:
    """The name of a file or folder, whose path may be `.` or `a/..`."""
    return path.name if isinstance(path, StoredPath) else os.path.basename(os.path.abspath(path))


@contextmanager
def peeked(file: File) -> Iterator[Path | BinaryIO]:
    """A file to look into at a few places: of one elsewhere no more than those parts is fetched.

    Raises:
        UsageError: it is elsewhere and cannot be read.
    """
    if isinstance(file, Path):
        yield file
        return
    with told(file.address), file.opened() as stream:
        yield stream
