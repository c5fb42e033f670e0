"""Sources and destinations of rows."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from synth.data.destination import check_directory, check_rows
from synth.data.files.memory import ArrowTable, rows_in_memory, temporary
from synth.data.output import Output, TemporaryFolder
from synth.data.run.shard import Shard
from synth.errors import UsageError


@dataclass(frozen=True, slots=True)
class FirstRows:
    """As `output` of a run: only its first attempts are made, in a temporary directory, to look at before it starts.

    They are the very rows that the whole run begins with; `synth.plan` tells from them what that takes.

    Attributes:
        attempts: how many.
    """

    attempts: int = 50


Place = str | os.PathLike[str] | BinaryIO | FirstRows | None
"""A dataset directory or a file (.jsonl, .parquet, .arrow), here or elsewhere (`s3://bucket/run`); a stream for JSON
lines; `FirstRows` for a preview; None for a temporary directory, which lasts as long as the data set that is returned.
Of a run that is stopped or fails it stays: the error names it."""


ShardName = str | Shard
"""One of N parts of a run, as I/N: 1/8, 2/8, … 8/8."""


def output_at(place: Place | Output, *, restart: bool = False, shard: ShardName | None = None) -> Output:
    """The output at a place.

    Raises:
        UsageError: rows are not written in a file of that name, or a shard not there; or it is no shard.
    """
    if isinstance(place, Output):
        return place
    part = Shard.parse(shard) if isinstance(shard, str) else shard
    if isinstance(place, FirstRows) and part is not None:
        raise UsageError("`shard`: a preview is one of the whole run")
    if place is None or isinstance(place, FirstRows):
        folder = TemporaryFolder("synth-")
        first = None if place is None else place.attempts
        return Output(str(folder.path / "rows"), keep=folder, shard=part, first=first)
    if isinstance(place, str | os.PathLike):
        path = os.fspath(place)
        check_rows(path)
        if part is not None:
            check_directory(path, "a shard")
        return Output(path, restart=restart, shard=part)
    if part is not None:
        raise UsageError(
            "`shard`: a part that is joined with others goes into a directory of its own: give `output` DIR"
        )
    return Output(stream=place, restart=restart)


Source = str | os.PathLike[str] | Iterable[Mapping[str, Any]] | ArrowTable
"""A dataset directory, a file, a folder or pattern of files, here or elsewhere (`s3://bucket/rows`); a Hub id; "-" for
standard input; or the rows themselves: a list of dictionaries, a `datasets.Dataset`, or a table of pyarrow,
polars or pandas."""


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
