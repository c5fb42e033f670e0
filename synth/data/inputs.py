"""Refuses an output that is, or would replace, what the run reads; and names the files beside an output."""

from pathlib import Path, PurePath, PurePosixPath

from synth.data.files.memory import called
from synth.data.run.directory import SIDE_TABLES
from synth.data.store.address import here, is_address
from synth.data.store.path import File
from synth.errors import UsageError


def refuse_to_replace_input(output: str, path: Path, source: str, is_file: bool) -> None:
    """Refuse an output that is an input, contains one, or whose rejected rows would replace one.

    A file may not be written into a directory that is read either: it may replace a part of it, or become one.

    Args:
        output: as it was given.
        path: where it is on this machine.
        source: what is read.
        is_file: whether the output is a file.

    Raises:
        UsageError: it is so.
    """
    if is_address(output):
        _refuse_there(output, source, is_file)
    else:
        _refuse_here(path, Path(here(source)), is_file)


def side_file(file: Path, side: str) -> Path:
    """Where a side table (`rejected`, `pairs`) of a run goes that writes to `file`."""
    return file.with_name(side_name(file, side))


def side_name(file: File | PurePath, side: str) -> str:
    """The name of the file of a side table."""
    return f"{file.stem}.{side}{file.suffix}"


def _refuse_here(path: Path, source: Path, is_file: bool) -> None:
    """The same where the output is on this machine."""
    read = source.resolve()
    if not source.exists():
        return
    if read == path.resolve():
        raise UsageError(f"{path} is the input itself; choose another `output`")
    if path.resolve() in read.parents or read in (side_file(path, side).resolve() for side in SIDE_TABLES):
        raise UsageError(f"`output` {path} would replace {source}, which is read; choose another `output`")
    folder = path.parent.resolve()
    if is_file and read in (folder, *folder.parents):
        raise UsageError(f"`output` {path} lies in {source}, which is read; choose another `output`")


def _refuse_there(output: str, source: str, is_file: bool) -> None:
    """The same where the output is elsewhere: what is read there is known by its address."""
    path, read = output.rstrip("/"), source.rstrip("/")
    if read == path:
        raise UsageError(f"{called(path)} is the input itself; choose another `output`")
    stem = path.rpartition("/")[0]
    sides = [f"{stem}/{side_name(PurePosixPath(path), side)}" for side in SIDE_TABLES]
    if read.startswith(f"{path}/") or (is_file and read in sides):
        raise UsageError(f"`output` {called(path)} holds {called(read)}, which is read; choose another `output`")
    if is_file and path.startswith(f"{read}/"):
        raise UsageError(f"`output` {called(path)} lies in {called(read)}, which is read; choose another `output`")
