"""Suggestions for a misspelt path."""

import difflib
import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path

MOST = 3
ENTRIES = 2_000
"""Most names in a suggestion, and most directory entries examined."""


def near_paths(path: Path, wanted: Callable[[Path], bool] = Path.exists) -> list[Path]:
    """Existing paths whose names are nearly those of a path that does not exist, the nearest first.

    Any part of the path may be misspelt. Those that are `wanted` are told; where none is, any that exist.
    """
    places = [Path(path.anchor)]
    for part in path.relative_to(path.anchor).parts:
        places = [found for place in places for found in _entries(place, part)][:MOST]
    return [place for place in places if wanted(place)] or places


def path_hint(path: Path, wanted: Callable[[Path], bool] = Path.exists) -> str:
    """The nearest paths as the end of a message; empty where there is none."""
    near = near_paths(Path(os.path.expanduser(path)), wanted)
    return f"; did you mean {' or '.join(map(str, near))}?" if near else ""


def _entries(folder: Path, name: str) -> list[Path]:
    """The entry of that name, or else those of nearly that name."""
    try:
        if (folder / name).exists():
            return [folder / name]
        names = [entry.name for entry in islice(folder.iterdir(), ENTRIES)] if folder.is_dir() else []
    except OSError:  # may not be read, or the name is longer than any may be
        return []
    return [folder / near for near in difflib.get_close_matches(name, names, MOST)]
