"""Carries the directory of a run's rows to a store, file by file.

The digests of the records (`progress.json`, `run.json`) tell whether the store is still as it was left.
"""

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

from synth.data.run.record import RECORDS, shard_names
from synth.data.store import cache
from synth.data.store.carrying import UNKNOWN, Carrying, content_of
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
        self._through: dict[str, int] = {}
        self._kept: dict[str, int] = {}
        self._held = 0

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
        for name in sorted(filter(_is_small, self.carried), key=_is_record):
            if (content := self.read(name)) is not None:
                place = self._work / name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)

    def carry(self, owner: Owner, *, remove: bool) -> None:
        """See `Carrying.carry`: shards, what lists them, records, and last the file that it is all for.

        Small files are read before shards are looked for, so that all they list is there to be carried. While the run
        goes on, only shards that have landed since are looked at, and a landing costs the same in a run of any size.
        """
        small = {name: content for name, file in self._small() if (content := content_of(file)) is not None}
        if remove:
            self._through = {}
        listed = _listed_in(small, self._through)  # that are new
        large = dict(self._large()) if remove else {one: self._work / one for names in listed.values() for one in names}
        last = [name for name in reversed(self._others) if name in large]
        if remove and not last and not any(map(_is_record, small)) and any(map(is_shard, self.carried)):
            raise self._gone()
        for name in [name for name in large if name not in last]:
            self._send_file(name, large[name])
        begins = f"{self._run}/run.json" not in self.carried and f"{self._run}/progress.json" not in self.carried
        # then a record comes first: it says what this is, and lists none
        under_way = f"{self._run}/progress.json"  # a reader is told of it before the list of shards is replaced

        def waits(name: str) -> bool:
            return not ((begins and _is_record(name)) or (name == under_way and name not in self.carried))

        for name in sorted(small, key=lambda name: (waits(name), *_rank(name))):
            self._send_small(owner, name, small[name], record=_is_record(name))
        for name in last:
            self._send_file(name, large[name])
        if remove:
            self._remove_unlisted({*small, *large, *chain.from_iterable(listed.values())})
        for folder, names in listed.items():
            self._through[folder] = self._through.get(folder, 0) + len(names)
        self._make_room(large, anew=remove)

    def _remove_unlisted(self, kept: set[str]) -> None:
        """Remove what no record lists, the records themselves first: what they do not list is no part of a run."""
        for name in sorted((name for name in self.carried if name not in kept), key=is_shard):
            self._remove(name)

    def _make_room(self, large: dict[str, Path], *, anew: bool) -> None:
        """Remove the oldest shards here, which the store has, where they take more than a bound."""
        if anew:
            self._kept = {}
        for name, file in large.items():
            if is_shard(name):
                self._kept[name] = file.stat().st_size
        held = sum(self._kept.values()) if anew else self._held + sum(self._kept[name] for name in large)
        while self._kept and held > cache.MOST_BYTES:
            name = next(iter(self._kept))
            held -= self._kept.pop(name)
            (self._work / name).unlink()
        self._held = held

    def _small(self) -> Iterator[tuple[str, Path]]:
        """The small files here, by their names in the store; the records after the lists that they are behind."""
        for name in (PurePosixPath(self._run, side, base).as_posix() for base in _ORDER for side in _SIDES.values()):
            if (self._work / name).is_file():
                yield name, self._work / name

    def _large(self) -> Iterator[tuple[str, Path]]:
        """The shards here, and the files beside the directory: no journal, no lock, nothing temporary."""
        for side in _SIDES.values():
            for file in sorted((self._work / self._run / side).glob("data-*.arrow")):
                yield file.relative_to(self._work).as_posix(), file
        for name in self._others:
            if (self._work / name).is_file():
                yield name, self._work / name

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


def _listed_in(small: dict[str, bytes], through: dict[str, int]) -> dict[str, list[str]]:
    """The shards that the records list, by their folders; of each folder those after the first so many."""
    found: dict[str, list[str]] = {}
    for name, content in small.items():
        if _is_record(name):
            record, above = json.loads(content), PurePosixPath(name).parent
            for key, side in _SIDES.items():
                folder = (above / side).as_posix()
                names = shard_names(record.get(key, 0), through.get(folder, 0))
                found[folder] = [f"{folder}/{base}" for base in names]
    return found
