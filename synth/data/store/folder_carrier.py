"""Carries the directory of a training to a store: whatever files it holds, in an order that may be cut off anywhere.

    progress.json           first, where none is there: it says what this is
    everything else         the files of a checkpoint, in the end those of the model
    log.jsonl …             which tells of all steps before the checkpoint, and by whose digest the store is known again
    trainer_state.json      of a checkpoint, which is whole from then on
    README.md, run.json     at the end: all is there

What is removed here is removed there once all that is here is there: the last whole checkpoint is always there.
"""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from synth.data.run.record import RECORDS
from synth.data.store.address import retried
from synth.data.store.carrying import UNKNOWN, Carrying, content_of, mark_of
from synth.data.store.owner import Owner

_STAYS = ("reference",)
"""Folders that are made again where they are missing."""
_GOES = ("progress.json", "checkpoints")
"""What a run that is done has no more."""
_LOG = "log.jsonl"
_ORDER = (_LOG, "rejected.jsonl", "trainer_state.json", "README.md", *reversed(RECORDS))
_READ_FIRST = ("README.md", *RECORDS)
"""Are written here when all that they tell of is there; read before that is looked for, they come after it there."""


class FolderCarrier(Carrying):
    """The carrier of a folder of any files, of which `log.jsonl` grows as long as the run goes on."""

    def look(self) -> dict[str, bytes]:
        """See `Carrying.look`."""
        run = self.path(self._run)
        found = self._fs.find(run) if self._fs.exists(run) else []
        inside = {name.lstrip("/").removeprefix(self._root.lstrip("/") + "/") for name in found}
        self.carried = {name: self.carried.get(name, UNKNOWN) for name in inside if self._is_own(name)}
        content = self.read(f"{self._run}/{_LOG}")
        return {} if content is None else {_LOG: content}

    def torn(self, record: bytes) -> bool:
        """See `Carrying.torn`: a log may end anywhere."""
        return False

    def fetch(self) -> None:
        """Bring a run that goes on here with all its files; of one that is done only what tells of it.

        There may be more of that, where the run was killed at its very end: this goes, as it would have then.
        """
        done = f"{self._run}/run.json" in self.carried
        for name in sorted(self.carried, key=lambda name: PurePosixPath(name).name in RECORDS):
            if done and PurePosixPath(name).relative_to(self._run).parts[0] in _GOES:
                self._remove(name)
            elif not done or (PurePosixPath(name).parent.name == self._run and PurePosixPath(name).name in _ORDER):
                place = self._work / name
                place.parent.mkdir(parents=True, exist_ok=True)
                retried(partial(self._fs.get_file, self.path(name), str(place)))
                self._note(name, mark_of(place))

    def carry(self, owner: Owner, *, remove: bool) -> None:
        """See `Carrying.carry`. A checkpoint that is removed meanwhile has one after it, which comes next."""
        told = ((name, content_of(file)) for name, file in self._files() if file.name in _READ_FIRST)
        early = {name: content for name, content in told if content is not None}
        files = dict(self._files())
        if not any(f"{self._run}/{name}" in files for name in RECORDS):
            raise self._gone()
        gone = False
        begins = f"{self._run}/progress.json"
        for name in sorted(files, key=lambda name: (name != begins or name in self.carried, *_rank(name))):
            try:
                if name in early:
                    self._send_small(owner, name, early[name], record=False)
                elif files[name].name == _LOG:
                    self._send_small(owner, name, files[name].read_bytes(), record=True)
                elif files[name].name not in _READ_FIRST:
                    self._send_file(name, files[name])
            except FileNotFoundError:
                if files[name].exists():
                    raise
                gone = True
        if not gone:
            for name in sorted(
                set(self.carried) - set(files), key=lambda name: PurePosixPath(name).name not in RECORDS
            ):
                if self.replaces or self.carried[name] != UNKNOWN:
                    self._remove(name)

    def _files(self) -> Iterator[tuple[str, Path]]:
        walked = os.walk(self._work / self._run)  # passes over a folder that is removed meanwhile, as rglob does not
        for file in sorted(Path(folder, name) for folder, _, names in walked for name in names):
            name = file.relative_to(self._work).as_posix()
            if self._is_own(name) and not name.endswith(".tmp") and file.is_file():
                yield name, file

    def _is_own(self, name: str) -> bool:
        parts = PurePosixPath(name).relative_to(self._run).parts
        return parts[0] not in _STAYS and not any(part.startswith(".") for part in parts)


def _rank(name: str) -> tuple[int, str]:
    last = PurePosixPath(name).name
    return _ORDER.index(last) + 1 if last in _ORDER else 0, name
