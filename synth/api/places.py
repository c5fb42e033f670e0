"""Sources and destinations of rows."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

from synth.data.destination import check_rows
from synth.data.files.memory import rows_in_memory
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


Source = str | os.PathLike[str] | Iterable[Mapping[str, Any]]
"""A dataset directory, a file, a folder or pattern of files, a Hub id, "-" for standard input; or the rows themselves:
a list of dictionaries, or a `datasets.Dataset`."""


@contextmanager
def source_at(source: Source) -> Iterator[str]:
    """The name of a source that can be read any number of times; rows in memory are written to a temporary file."""
    if isinstance(source, str | os.PathLike):
        yield os.fspath(source)
        return
    with rows_in_memory(source) as path:
        yield path


def several(given: str | Sequence[str]) -> tuple[str, ...]:
    """Texts that may be given as one: a text is a sequence as well, of its characters, which nobody means."""
    return (given,) if isinstance(given, str) else tuple(given)
