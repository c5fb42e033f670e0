"""What carriers have in common: one folder here, the same in a store, and a memory of what was carried.

What is remembered lies beside the folder here, so that the same command goes on where a killed one stopped: a line for
each file, so that a run of any length pays the same for the next one.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from synth.data.store.address import retried
from synth.data.store.owner import Owner
from synth.data.write import replace_text
from synth.errors import RunError

UNKNOWN = "?"
"""The mark of a file that the store has, and of which nobody here knows what it holds."""


class Carrying(ABC):
    """Brings a store up to date with a folder.

    Attributes:
        carried: the files that the store has, each with a mark of what it held when it was carried.
        records: digests of the records that the store is known to have: those found there, then the last one carried.
        coming: of one that was sent; whether it is there, nobody can tell after a kill.
        replaces: whether what the store has is thrown away.
    """

    def __init__(self, fs: Any, root: str, work: Path, run: str, state: Path) -> None:
        """Of a run.

        Args:
            fs: the file system of the store.
            root: the folder in the store that the run's directory is in.
            work: the folder on this machine that it is in.
            run: the name of the directory, in both.
            state: the folder in which is remembered what was carried.
        """
        self._fs, self._root, self._work, self._run = fs, root, work, run
        self._state, self._log = state / "state.json", state / "carried.jsonl"
        self.carried: dict[str, str] = {}
        self.records: list[str] = []
        self.coming: str | None = None
        self.replaces = False

    def path(self, name: str) -> str:
        """A file in the store."""
        return f"{self._root}/{name}"

    def read(self, name: str) -> bytes | None:
        """What a small file in the store holds; None where there is none."""
        try:
            content: bytes = retried(partial(self._fs.cat_file, self.path(name)))
        except FileNotFoundError:
            return None
        return content

    def remembered(self) -> str | None:
        """Recall what was carried; the token of the run that did it."""
        known: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            known = json.loads(self._state.read_text(encoding="utf-8"))
        self.carried, self.records = {}, list(known.get("records", []))
        self.coming = known.get("coming")
        with suppress(OSError, ValueError, TypeError):  # of a line cut short by a kill: that file is carried again
            for line in self._log.read_text(encoding="utf-8").splitlines():
                name, mark = json.loads(line)
                self._know(name, mark)
        token = known.get("token")
        return token if isinstance(token, str) else None

    def remember(self, owner: Owner) -> None:
        """Keep whose the place is, and which record it has."""
        known = {"token": owner.token, "records": self.records, "coming": self.coming}
        replace_text(self._state, json.dumps(known))

    def remember_all(self, owner: Owner) -> None:
        """Keep everything that is known of the store anew."""
        replace_text(self._log, "".join(json.dumps([name, mark]) + "\n" for name, mark in self.carried.items()))
        self.remember(owner)

    def forget(self) -> None:
        """Remember nothing."""
        for file in (self._state, self._log):
            file.unlink(missing_ok=True)

    @abstractmethod
    def look(self) -> dict[str, bytes]:
        """See which files of the run the store has; those nobody here has carried may hold anything.

        Returns:
            Its records, by name: what tells whether the store is still as it was left.
        """

    @abstractmethod
    def torn(self, record: bytes) -> bool:
        """Whether a record in the store was cut short: it says nothing of whose it is."""

    @abstractmethod
    def fetch(self) -> None:
        """Bring what is needed of a run in the store here, to go on with it; records last, for they say it is there."""

    @abstractmethod
    def carry(self, owner: Owner, *, remove: bool) -> None:
        """Bring the store up to date.

        Args:
            owner: whose place it is; it is looked after before a record is replaced.
            remove: whether what is no longer here, nor listed in a record, is removed there. While a run goes on, a
                file may be missing for a moment.

        Raises:
            RunError: the place is another's by now.
            Exception: whatever the store's driver raises.
        """

    def _gone(self) -> RunError:
        """The refusal to take a copy that somebody else has removed for all there is of the run."""
        return RunError(
            f"{self._work / self._run} was removed while it was in use. What the store has is kept: run this again "
            "(without `restart`) to go on with that"
        )

    def _send_file(self, name: str, file: Path) -> None:
        if self.carried.get(name) != (mark := mark_of(file)):
            retried(partial(self._fs.put_file, str(file), self.path(name)))
            self._note(name, mark)

    def _send_small(self, owner: Owner, name: str, content: bytes, *, record: bool) -> None:
        """Send what a small file held when it was read; a record only after a look at whose the place is."""
        if self.carried.get(name) == (mark := digest(content)):
            return
        if record:
            owner.check()
            self.coming = mark
            self.remember(owner)
        retried(partial(self._fs.pipe_file, self.path(name), content))
        if record:
            self.records, self.coming = [mark], None
            self.remember(owner)
        self._note(name, mark)

    def _remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            retried(partial(self._fs.rm_file, self.path(name)))
        self._note(name, None)

    def _note(self, name: str, mark: str | None) -> None:
        self._know(name, mark)
        with open(self._log, "a", encoding="utf-8") as log:
            log.write(json.dumps([name, mark]) + "\n")

    def _know(self, name: str, mark: str | None) -> None:
        if mark is None:
            self.carried.pop(name, None)
        else:
            self.carried[name] = mark


def mark_of(file: Path) -> str:
    """Tells whether a file of this machine has changed, by the clock of this machine alone."""
    stat = file.stat()
    return f"{stat.st_size} {stat.st_mtime_ns}"


def content_of(file: Path) -> bytes | None:
    """What a file holds; None where the run has removed it just now."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None


def digest(content: bytes) -> str:
    """Tells contents apart."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()
