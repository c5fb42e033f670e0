"""Folders from elsewhere on this machine's disk, such as models: fetched once, and kept for the runs to come.

    ~/.cache/synth/models/NAME-…/VERSION/    the files; the version is a digest of their names, sizes and versions there

A folder that is replaced in its store is another version. What is here may be removed whenever no run uses it.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from synth.data.store.cache import home
from synth.data.store.carrying import digest
from synth.data.store.path import StoredPath, path_at
from synth.errors import RunError, UsageError

_UNDER_WAY = "progress.json"
"""Is there while a training, or a merge, is still being carried to the folder."""
_PART = ".part"

_fetched: dict[str, Path] = {}
"""By address: what a process has begun to use stays the same for it."""


def fetched(address: str, named: str, marks: Collection[str], leave: Collection[str] = ()) -> Path:
    """A folder of a store on this machine's disk, fetched unless it is here.

    Args:
        address: of the folder.
        named: what it was given as, for messages, such as "`model`".
        marks: names of files of which one is there, or it is not what is wanted, and nothing is fetched.
        leave: folders in it that are not fetched.

    Raises:
        UsageError: there is no such folder, it holds something else or is still being written, or the store fails.
        RunError: the disk is full.
    """
    address = address.rstrip("/")
    if (known := _fetched.get(address)) is not None:
        return known
    place = path_at(address)
    assert isinstance(place, StoredPath)
    fault = f"{named} {place}"
    if not place.lists:
        raise UsageError(f"{fault}: a web server does not tell what is in a folder; give one of a store, or of the Hub")
    files = {name: file for name, file in _files(place) if name.parts[0] not in leave}
    top = {name.name for name in files if len(name.parts) == 1}
    if not files:
        raise UsageError(
            f"{fault}: {'this is a file; give the folder' if place.is_file() else 'there is no such folder'}"
        )
    if not top & {*marks}:
        raise UsageError(f"{fault} holds none of {', '.join(marks)}")
    if _UNDER_WAY in top and "run.json" not in top:
        raise UsageError(f"{fault} is still being written: wait until that run is done, or go on with it")
    versions = sorted((name.as_posix(), file.listed_version) for name, file in files.items())
    shelf = home() / "models" / f"{place.name}-{digest(address.encode())[:8]}"
    folder = shelf / digest(json.dumps(versions).encode())[:16]
    with _disk(place, shelf), _alone(shelf):
        if not folder.is_dir():
            _fetch(files, shelf / f".{folder.name}", place)
            os.rename(shelf / f".{folder.name}", folder)
    _fetched[address] = folder
    return folder


def _files(place: StoredPath) -> Iterator[tuple[PurePosixPath, StoredPath]]:
    """The files of a folder, by their paths in it; none that are hidden."""
    if place.exists():
        for file in place.rglob():
            name = file.relative_to(place)
            if name.parts and not any(part.startswith(".") for part in name.parts):
                yield name, file


def _fetch(files: dict[PurePosixPath, StoredPath], folder: Path, place: StoredPath) -> None:
    """Fetch what is not here from an earlier attempt, which was of the same version: the folder is named by it."""
    folder.mkdir(exist_ok=True)
    missing = {name: file for name, file in files.items() if not (folder / name).is_file()}
    size = sum(file.size for file in missing.values())
    if (free := shutil.disk_usage(folder).free) < size:
        raise UsageError(
            f"{place} has {size / 1e9:,.1f} GB more than are here, and {folder.parent} has room for {free / 1e9:,.1f}: "
            "free some space, or set XDG_CACHE_HOME to a folder with more"
        )
    for name, file in missing.items():
        part = folder / f"{name}{_PART}"
        part.parent.mkdir(parents=True, exist_ok=True)
        file.fetch(part)
        os.replace(part, folder / name)


@contextmanager
def _alone(shelf: Path) -> Iterator[None]:
    """Wait for other processes that fetch the same; the processes of one training do."""
    shelf.mkdir(parents=True, exist_ok=True)
    with open(shelf / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _disk(place: StoredPath, shelf: Path) -> Iterator[None]:
    """Say in one line that this machine's disk failed; what a store complains of is told elsewhere."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"cannot keep {place} in {shelf}: {error.strerror or error}. Mend that, or set XDG_CACHE_HOME to another "
            "folder; what is there already is not fetched again"
        ) from error
