"""Carries the directory of a run to a store, file by file, and remembers what it has carried.

What is remembered lies beside the directory, so that the same command goes on where a killed one stopped. The digests
of the records (`progress.json`, `run.json`) tell whether the store is still as it was left.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from synth.data.run.record import RECORDS
from synth.data.store import cache
from synth.data.store.address import retried
from synth.data.store.owner import Owner
from synth.data.write import replace_text

_SIDES = {"shards": ".", "rejected_shards": "rejected", "pair_shards": "pairs"}
"""The lists of a record, and the folders that their shards are in."""
_ORDER = ("dataset_info.json", "state.json", "progress.json", "README.md", "run.json")
"""What follows the shards, in this order."""


class Carrier:
    """What is here, what the store has, and how the one gets to the other.

    Attributes:
        carried: the files that the store has, each with a mark of what it held when it was carried.
        records: digests of the records that the store is known to have: those found there, then the last one carried.
        coming: of one that was sent; whether it is there, nobody can tell after a kill.
    """

    def __init__(self, fs: Any, root: str, work: Path, run: str, others: tuple[str, ...], state: Path) -> None:
        """Of a run.

        Args:
            fs: the file system of the store.
            root: the folder in the store that the run's directory is in.
            work: the folder on this machine that it is in.
            run: the name of the directory, in both.
            others: names of files beside it that the run makes in the end; the first is the one that it is all for.
            state: the file in which is remembered what was carried.
        """
        self._fs, self._root, self._work, self._state = fs, root, work, state
        self._run, self._others = run, others
        self.carried: dict[str, str] = {}
        self.records: list[str] = []
        self.coming: str | None = None

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
        self.carried, self.records = dict(known.get("carried", {})), list(known.get("records", []))
        self.coming = known.get("coming")
        token = known.get("token")
        return token if isinstance(token, str) else None

    def remember(self, owner: Owner) -> None:
        """Keep what was carried, beside the directory."""
        known = {"token": owner.token, "carried": self.carried, "records": self.records, "coming": self.coming}
        replace_text(self._state, json.dumps(known))

    def look(self) -> dict[str, bytes]:
        """See which files of the run the store has; those nobody here has carried may hold anything.

        Returns:
            Its records, by name.
        """
        run = self.path(self._run)
        found = self._fs.find(run) if self._fs.exists(run) else []
        inside = {name.lstrip("/").removeprefix(self._root.lstrip("/") + "/") for name in found}
        names = {name for name in inside if self._is_own(name) and (is_shard(name) or _is_small(name))}
        names |= {name for name in self._others if self._fs.exists(self.path(name))}
        self.carried = {name: self.carried.get(name, "?") for name in names}
        records = {name: self.read(f"{self._run}/{name}") for name in RECORDS}
        return {name: content for name, content in records.items() if content is not None}

    def fetch(self) -> None:
        """Bring the run's small files here; its shards are read from the store when they are needed."""
        for name in filter(_is_small, self.carried):
            if (content := self.read(name)) is not None:
                place = self._work / name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)

    def carry(self, owner: Owner, *, remove: bool) -> None:
        """Bring the store up to date: shards, what lists them, records, and last the file that it is all for.

        Small files are read before shards are looked for, so that all they list is there to be carried.

        Args:
            owner: whose place it is; it is looked after before a record is replaced.
            remove: whether what is no longer here, nor listed in a record, is removed there. While a run goes on, a
                file may be missing for a moment.

        Raises:
            RunError: the place is another's by now.
            Exception: whatever the store's driver raises.
        """
        small = {name: content for name, file in self._files(_is_small) if (content := _content(file)) is not None}
        large = dict(self._files(lambda name: not _is_small(name)))
        last = [name for name in reversed(self._others) if name in large]
        for name in [name for name in large if name not in last]:
            self._send_file(owner, name, large[name])
        begins = not any(
            map(_is_record, self.carried)
        )  # then a record comes first: it says what this is, and lists none
        under_way = f"{self._run}/progress.json"  # a reader is told of it before the list of shards is replaced

        def waits(name: str) -> bool:
            return not ((begins and _is_record(name)) or (name == under_way and name not in self.carried))

        for name in sorted(small, key=lambda name: (waits(name), *_rank(name))):
            if self.carried.get(name) != (mark := digest(small[name])):
                if _is_record(name):
                    owner.check()
                    self.coming = mark
                    self.remember(owner)
                retried(partial(self._fs.pipe_file, self.path(name), small[name]))
                if _is_record(name):
                    self.records, self.coming = [mark], None
                self._sent(owner, name, mark)
        for name in last:
            self._send_file(owner, name, large[name])
        if remove:
            self._remove_unlisted({*small, *large, *_listed_in(small)})
        self.remember(owner)
        self._make_room(large)

    def _remove_unlisted(self, kept: set[str]) -> None:
        """Remove what no record lists, the records themselves first: what they do not list is no part of a run."""
        for name in sorted((name for name in self.carried if name not in kept), key=is_shard):
            with suppress(FileNotFoundError):
                retried(partial(self._fs.rm_file, self.path(name)))
            del self.carried[name]

    def _send_file(self, owner: Owner, name: str, file: Path) -> None:
        stat = file.stat()
        if self.carried.get(name) != (mark := f"{stat.st_size} {stat.st_mtime_ns}"):
            retried(partial(self._fs.put_file, str(file), self.path(name)))
            self._sent(owner, name, mark)

    def _sent(self, owner: Owner, name: str, mark: str) -> None:
        self.carried[name] = mark
        self.remember(owner)

    def _make_room(self, large: dict[str, Path]) -> None:
        """Remove the oldest shards here, which the store has, where they take more than a bound."""
        found = [(file, file.stat()) for name, file in large.items() if is_shard(name)]
        held = sum(stat.st_size for _, stat in found)
        for file, stat in sorted(found, key=lambda item: item[1].st_mtime_ns):
            if held <= cache.MOST_BYTES:
                break
            held -= stat.st_size
            file.unlink()

    def _files(self, wanted: Callable[[str], bool]) -> Iterator[tuple[str, Path]]:
        """The files here that are carried, by their names in the store: no journal, no lock, nothing temporary."""
        for place in (self._work / self._run, *(self._work / name for name in self._others)):
            for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
                name = file.relative_to(self._work).as_posix()
                stays = file.name.startswith(".") or file.name.endswith(".tmp") or file.name == "journal.jsonl"
                if file.is_file() and not stays and self._is_own(name) and wanted(name):
                    yield name, file

    def _is_own(self, name: str) -> bool:
        """Whether a file is of the run: a folder below it may be another data set, with files of the same names."""
        folders = {PurePosixPath(self._run, side) for side in _SIDES.values()}
        return name in self._others or PurePosixPath(name).parent in folders


def left_over(name: str) -> bool:
    """Whether a file, or a folder, is of a run that was being removed when it was killed."""
    return is_shard(name) or _is_small(name) or name in _SIDES.values()


def is_shard(name: str) -> bool:
    """Whether a file is a shard of a table."""
    base = PurePosixPath(name).name
    return base.startswith("data-") and base.endswith(".arrow")


def digest(content: bytes) -> str:
    """Tells contents apart."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _is_small(name: str) -> bool:
    return PurePosixPath(name).name in _ORDER


def _is_record(name: str) -> bool:
    return PurePosixPath(name).name in RECORDS


def _rank(name: str) -> tuple[int, str]:
    return _ORDER.index(PurePosixPath(name).name), name


def _content(file: Path) -> bytes | None:
    """What a file holds; None where the run has removed it just now."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None


def _listed_in(small: dict[str, bytes]) -> Iterator[str]:
    """The shards that records list: they stay in the store when they are no longer here."""
    for name, content in small.items():
        if _is_record(name):
            record, folder = json.loads(content), PurePosixPath(name).parent
            for key, side in _SIDES.items():
                yield from ((folder / side / shard).as_posix() for shard in record.get(key, ()))
