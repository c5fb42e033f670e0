"""The addresses of servers: given one by one, or in a file that is read again when it changes."""

import re
from collections.abc import Sequence

import httpx

from synth.data.store.path import File, StoredPath, path_at
from synth.engines.server.http import printable
from synth.errors import UsageError

LARGEST_FILE = 1 << 20
"""Bytes of a file with addresses that are read."""


class Addresses:
    """Where servers are.

    Attributes:
        roots: `http(s)://host[:port][/path]` of each, once, in the order given.
        file: the file that they are in, None where they were given one by one.
    """

    def __init__(self, given: str | Sequence[str]) -> None:
        """Read the addresses.

        Args:
            given: one address or several, each with or without `/v1`; or the name of a file with one a line. There,
                empty lines and what follows a `#` at the beginning of a line or after white space say nothing.

        Raises:
            UsageError: one is none, the file cannot be read, or there is none at all.
        """
        several = [given] if isinstance(given, str) else list(given)
        self.file = None if not several or is_address(several[0]) or len(several) > 1 else path_at(several[0])
        self._seen: object = None
        if self.file is not None:
            self._seen = _stamp(self.file)
            self.roots = _roots_in(self.file)
        else:
            self.roots = list(dict.fromkeys(server_root(url) for url in several))
        if not self.roots:
            raise UsageError("`engine` is no address of a server")

    @property
    def several(self) -> bool:
        """Whether there are several servers, or may come to be: they must all run the same."""
        return self.file is not None or len(self.roots) > 1

    def changed(self) -> bool:
        """Whether the file was changed since it was last read; then it has been read again.

        Raises:
            UsageError: what is there now cannot be used; the addresses stay what they were.
        """
        if self.file is None or (stamp := _stamp(self.file)) == self._seen:
            return False
        self._seen = stamp
        roots = _roots_in(self.file)
        changed, self.roots = roots != self.roots, roots
        return changed


def is_address(text: str) -> bool:
    """Whether a text is meant to be the address of a server."""
    return text.strip().lower().startswith(("http://", "https://"))


def server_root(url: str) -> str:
    """`http(s)://host[:port][/path]` of a server, from its address with or without `/v1`.

    Raises:
        UsageError: not an address of that kind.
    """
    try:
        parsed = httpx.URL(url.strip())
    except httpx.InvalidURL as error:
        raise UsageError(f"{printable(url)!r} is not a URL ({error})") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise UsageError(f"{printable(url)!r} is not the URL of a server: http://HOST:PORT/v1 or https://…")
    if parsed.query or parsed.fragment:
        raise UsageError(f"{printable(url)!r}: give the server's URL without ? and #")
    path = parsed.path.rstrip("/").removesuffix("/v1")
    return str(parsed.copy_with(path=path or "/")).rstrip("/")


def _stamp(file: File) -> object:
    """What changes with a file, None where it cannot be looked at."""
    try:
        if isinstance(file := _anew(file), StoredPath):
            return file.version
        status = file.stat()
    except (OSError, UsageError):
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _anew(file: File) -> File:
    """A file elsewhere as it is now: what it was when it was first looked at holds for a path."""
    return path_at(file.address) if isinstance(file, StoredPath) else file


def _roots_in(file: File) -> list[str]:
    try:
        with open(_anew(file), "rb") as stream:
            text = stream.read(LARGEST_FILE + 1)
        if len(text) > LARGEST_FILE:
            raise UsageError(f"{file} is larger than {LARGEST_FILE:,} bytes: it is to hold one address a line")
        lines = text.decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{printable(file)} cannot be read as a file of servers' addresses ({error})") from error
    roots: dict[str, None] = {}
    for number, line in enumerate(lines, 1):
        address = re.sub(r"(^|\s)#.*", "", line).strip()
        if address:
            try:
                roots[server_root(address)] = None
            except UsageError as error:
                raise UsageError(f"{file}, line {number}: {error}") from error
    if not roots:
        raise UsageError(f"{file} holds no address of a server: give one a line")
    return list(roots)
