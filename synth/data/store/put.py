"""Puts what was made in one go on this machine into a store: a file, or a folder whose description comes last."""

import json
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from synth.data.store.address import opened, reason, retried, shown
from synth.data.store.path import File, path_at
from synth.errors import RunError, UsageError

_LAST = ("README.md", "run.json", "scores.json", "state.json")
"""What says that a folder is whole, in the order in which it is put."""
_UNDER_WAY, _NOTHING = "progress.json", b"{}"
"""Says that it is not; synth's readers say so, too. It holds nothing: that of a run has its record."""

_FOLDERS = tuple(map(PurePosixPath, (".", "rejected", "pairs")))
"""Those of a data set that has shards; what else is in its folder may be another's."""


def refuse_to_replace(address: str, *, force: bool) -> None:
    """Check that something may be put at an address.

    Raises:
        UsageError: something is there that may not be replaced, or the store cannot be asked.
    """
    place = path_at(address)
    if not place.exists():
        return
    if place.is_dir() and _is_cut_off(place):
        return
    if place.is_dir() and not (place / "state.json").is_file():
        raise UsageError(f"{place} is a directory that holds other things; choose another `output`")
    if not force:
        raise UsageError(f"{place} exists; choose another `output`, or add `force` to replace it")


def _is_cut_off(place: File) -> bool:
    """Whether a folder was being put there by a call that was killed."""
    mark = place / _UNDER_WAY
    return mark.is_file() and mark.read_text() == _NOTHING.decode()


def put(local: Path, address: str) -> None:
    """Put a file or a folder at an address. Who reads there sees the old one, or is told that it is being written.

    Raises:
        RunError: the store failed; the message says what is kept.
    """
    fs, path = opened(address)
    try:
        if local.is_dir():
            _put_folder(fs, path.rstrip("/"), local)
        else:
            retried(partial(fs.put_file, str(local), path))
    except Exception as error:
        raise RunError(f"cannot carry {local} to {shown(address)}: {reason(error)}. It is kept there") from error


def _put_folder(fs: Any, path: str, local: Path) -> None:
    files = {file.relative_to(local).as_posix(): file for file in local.rglob("*") if file.is_file()}
    root = path.lstrip("/")
    old = {name.lstrip("/").removeprefix(f"{root}/") for name in (fs.find(path) if fs.exists(path) else ())}
    retried(partial(fs.pipe_file, f"{path}/{_UNDER_WAY}", _NOTHING))
    if "state.json" in old:
        retried(partial(fs.pipe_file, f"{path}/state.json", json.dumps({"_data_files": []}).encode()))
        for name in [name for name in old if name.endswith(".arrow") and PurePosixPath(name).parent in _FOLDERS]:
            retried(partial(fs.rm_file, f"{path}/{name}"))
    for name in sorted(files, key=lambda name: (_LAST.index(name) if name in _LAST else -1, name)):
        retried(partial(fs.put_file, str(files[name]), f"{path}/{name}"))
    retried(partial(fs.rm_file, f"{path}/{_UNDER_WAY}"))
