"""Sources and destinations of rows."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

from synth.data.destination import check_rows
from synth.data.files.memory import ArrowTable, rows_in_memory, temporary
from synth.data.output import Output, TemporaryFolder

Place = str | os.PathLike[str] | BinaryIO | None
"""A dataset directory or a file (.jsonl, .parquet, .arrow); a stream for JSON lines; None for a temporary directory,
which lasts as long as the data set that is returned. Of a run that is stopped or fails it stays: the error names it."""


def output_at(place: Place, *, restart: bool = False) -> Output:
    """The output at a place.

    Raises:
        UsageError: rows are not written in a file of that name.
    """
    if place is None:
        folder = TemporaryFolder("synth-")
        return Output(str(folder.path / "rows"), keep=folder)
    if isinstance(place, str | os.PathLike):
        path = os.fspath(place)
        check_rows(path)
        return Output(path, restart=restart)
    return Output(stream=place, restart=restart)


Source = str | os.PathLike[str] | Iterable[Mapping[str, Any]] | ArrowTable
"""A dataset directory, a file, a folder or pattern of files, a Hub id, "-" for standard input; or the rows themselves:
a list of dictionaries, a `datasets.Dataset`, or a table of pyarrow, polars or pandas."""


@contextmanager
def source_at(source: Source) -> Iterator[str]:
    """The name of a source that can be read any number of times; rows in memory are written to a temporary file."""
    if isinstance(source, str | os.PathLike):
        yield os.fspath(source)
        return
    with rows_in_memory(source) as path:
        yield path


def path_of(source: Source) -> str | None:
    """The path by which a source is known; None where it is in memory, or goes with the data set that it is."""
    if not isinstance(source, str | os.PathLike):
        return None
    path = os.fspath(source)
    return None if temporary(path) else path


def sources_of(given: Source | Sequence[Source]) -> list[Source]:
    """One source or several; a list of rows is one."""
    if isinstance(given, str | os.PathLike | ArrowTable):
        return [given]
    found: list[Any] = list(given)
    return [found] if found and isinstance(found[0], Mapping) else found


def several(given: str | Sequence[str]) -> tuple[str, ...]:
    """Texts that may be given as one: a text is a sequence as well, of its characters, which nobody means."""
    return (given,) if isinstance(given, str) else tuple(given)
