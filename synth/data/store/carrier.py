"""Carries the directory of a run's rows to a store, file by file.

The digests of the records (`progress.json`, `run.json`) tell whether the store is still as it was left.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from synth.data.run.record import RECORDS
from synth.data.store import cache
from synth.data.store.carrying import UNKNOWN, Carrying
from synth.data.store.owner import Owner

_SIDES = {"shards": ".", "rejected_shards": "rejected", "pair_shards": "pairs"}
"""The lists of a record, and the folders that their shards are in."""
_ORDER = ("dataset_info.json", "state.json", "progress.json", "README.md", "run.json")
"""What follows the shards, in this order."""


class Carrier(Carrying):
    """The carrier of a data set, or of the directory beside a file."""

    def __init__(self, fs: Any, root: str, work: Path, run: str, others: tuple[str, ...], state: Path) -> None:
        """Of a run; `others` are files beside it that it makes in the end, the first the one that it is all for."""
        super().__init__(fs, root, work, run, state)
        self._others = others

    def look(self) -> dict[str, bytes]:
        """See `Carrying.look`."""
        run = self.path(self._run)
        found = self._fs.find(run) if self._fs.exists(run) else []
        inside = {name.lstrip("/").removeprefix(self._root.lstrip("/") + "/") for name in found}
        names = {name for name in inside if self._is_own(name) and (is_shard(name) or _is_small(name))}
        names |= {name for name in self._others if self._fs.exists(self.path(name))}
        self.carried = {name: self.carried.get(name, UNKNOWN) for name in names}
        records = {name: self.read(f"{self._run}/{name}") for name in RECORDS}
        return {name: content for name, content in records.items() if content is not None}

    def torn(self, record: bytes) -> bool:
        """See `Carrying.torn`."""
        try:
            return not isinstance(json.loads(record), dict)
        except ValueError:
            return True

    def fetch(self) -> None:
        """Bring the run's small files here; its shards are read from the store when they are needed."""
        for name in filter(_is_small, self.carried):
            if (content := self.read(name)) is not None:
                place = self._work / name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)

    def carry(self, owner: Owner, *, remove: bool) -> None:
        """See `Carrying.carry`: shards, what lists them, records, and last the file that it is all for.

        Small files are read before shards are looked for, so that all they list is there to be carried.
        """
        small = {name: content for name, file in self._files(_is_small) if (content := _content(file)) is not None}
        large = dict(self._files(lambda name: not _is_small(name)))
        last = [name for name in reversed(self._others) if name in large]
        for name in [name for name in large if name not in last]:
            self._send_file(name, large[name])
        begins = not any(
            map(_is_record, self.carried)
        )  # then a record comes first: it says what this is, and lists none
        under_way = f"{self._run}/progress.json"  # a reader is told of it before the list of shards is replaced

        def waits(name: str) -> bool:
            return not ((begins and _is_record(name)) or (name == under_way and name not in self.carried))

        for name in sorted(small, key=lambda name: (waits(name), *_rank(name))):
            self._send_small(owner, name, small[name], record=_is_record(name))
        for name in last:
            self._send_file(name, large[name])
        if remove:
            self._remove_unlisted({*small, *large, *_listed_in(small)})
        self._make_room(large)

    def _remove_unlisted(self, kept: set[str]) -> None:
        """Remove what no record lists, the records themselves first: what they do not list is no part of a run."""
        for name in sorted((name for name in self.carried if name not in kept), key=is_shard):
            self._remove(name)

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
