"""The destination of a run's rows: a dataset directory, one file, or standard output."""

import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import pyarrow as pa

from synth.data.file_run import PARTIAL, FileRun
from synth.data.files import memory
from synth.data.files.memory import called
from synth.data.inputs import refuse_to_replace_input, side_name
from synth.data.run.beginning import check_beginning
from synth.data.run.directory import SIDE_TABLES, RunDirectory
from synth.data.run.record import RunRecord, refuse_other_run
from synth.data.run.shard import Shard
from synth.data.run.store import HERE, Store
from synth.data.store.address import here, is_address
from synth.data.store.copy import WorkingCopy, working_place
from synth.data.store.path import File, path_at
from synth.data.store.put import put, refuse_to_replace
from synth.data.stream import StreamSink
from synth.data.write import FORMATS
from synth.errors import RunError, Stopped, UsageError, no_preview
from synth.progress import Progress


class TemporaryFolder:
    """A temporary directory, removed when nothing refers to this object any more, unless it is left.

    Until then what is in it is called a temporary data set in records: its path would say nothing to anyone.

    Attributes:
        path: the directory.
    """

    def __init__(self, prefix: str) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=prefix))
        memory.name(self.path, "a temporary data set")
        self._removal = weakref.finalize(self, _remove, self.path)

    def remove(self) -> None:
        """Remove it now."""
        self._removal()

    def leave(self) -> None:
        """Do not remove it."""
        self._removal.detach()
        memory.forget(self.path)


@dataclass(frozen=True, slots=True)
class Output:
    """Where a run's rows go.

    Attributes:
        path: a dataset directory, or a file whose name ends in one of `FORMATS`, here or elsewhere (`s3://…`); None for
            `stream`.
        stream: where rows go as JSON lines without a `path`; standard output by default.
        keep: the temporary directory that the rows are in, which has to live as long as they do; None otherwise.
        restart: whether what an earlier run left is thrown away; a file that exists is replaced then, too, not before
            there is a row.
        shard: the part of the run whose rows go there, in a directory; None is all of it.
        first: so many attempts are made, to preview the run; None is all of it.
    """

    path: str | None = None
    stream: BinaryIO | None = None
    restart: bool = False
    keep: TemporaryFolder | None = None
    shard: Shard | None = None
    first: int | None = None

    def each(self, make: "Callable[[Output], RunRecord]") -> RunRecord:
        """Have the rows made that go here, by a function of the output: once.

        An output of many parts has it called for each of them, one after the other, so that what the caller has
        prepared (the input, models, a verifier) is prepared once for all.
        """
        return make(self)

    @property
    def folder(self) -> File:
        """The directory of the run, where there is a `path`: for a file one beside it."""
        if (copy := self._copy()) is not None:
            return copy.stored_run
        return _run_folder(self.local if self.path else Path())

    @property
    def called(self) -> str | None:
        """The path for people: an address without its secrets."""
        return None if self.path is None else called(self.path)

    @property
    def local(self) -> Path:
        """Where files of the output are on this machine, if only until they are carried elsewhere."""
        path = str(self.path)
        return working_place(path) if is_address(path) else Path(here(path))

    def beside(self, suffix: str) -> Path:
        """The directory of a step before this run: on this machine, beside the output if that is here, too."""
        return self.local.with_name(self.local.name + suffix)

    def carried(self) -> File:
        """Carry the directory where it belongs, where that is elsewhere, and remove it here.

        Returns:
            The directory where it belongs.

        Raises:
            RunError: it cannot be carried; the message says what is kept.
        """
        path = str(self.path)
        if not is_address(path):
            return self.local
        put(self.local, path)
        shutil.rmtree(self.local)
        return path_at(path)

    @contextmanager
    def made(self, *, force: bool) -> Iterator[Path]:
        """Where to write what is made in one go; it is put where it belongs when the body ends.

        Args:
            force: replace what is there.

        Raises:
            UsageError: it is elsewhere, and something is there.
            RunError: it is elsewhere, and cannot be put there.
        """
        path = str(self.path)
        if not is_address(path):
            yield Path(here(path))
            return
        refuse_to_replace(path, force=force)
        folder = tempfile.mkdtemp(prefix="synth-")
        place, kept = Path(folder, PurePosixPath(path).name), False
        try:
            yield place
            try:
                put(place, path)
            except RunError:  # which says where it is
                kept = True
                raise
        finally:
            if not kept:
                shutil.rmtree(folder)

    def _copy(self) -> WorkingCopy | None:
        """The copy on this machine that is worked on; None where the output is on this machine itself."""
        if self.path is None or not is_address(self.path):
            return None
        name = PurePosixPath(self.path)
        if name.suffix.lower() not in FORMATS:
            return WorkingCopy(self.path, name.name)
        sides = (side_name(name, side) for side in SIDE_TABLES)
        return WorkingCopy(self.path, name.name + PARTIAL, (name.name, *sides))

    def refuse_early(self, record: Callable[[], RunRecord]) -> None:
        """Refuse a run of other settings, as `open` does, before anything is imported or loaded.

        Args:
            record: makes the record of the run to come; called where there is a run already.

        Raises:
            UsageError: there is a run of other settings.
        """
        if self.path is None or self.restart:
            return
        refuse_other_run(self.folder, record)

    def open(
        self, record: RunRecord, schema: pa.Schema, also_read: Iterable[str] = (), copy: WorkingCopy | None = None
    ) -> StreamSink | RunDirectory:
        """The run, begun or continued; the caller finishes or pauses it.

        Args:
            record: command, settings and target, as for `RunDirectory.open`.
            schema: as for `RunDirectory.open`.
            also_read: what the run reads beside the source of its record: files, directories or Hub ids.
            copy: what is worked on, where the output is elsewhere.

        Raises:
            UsageError: something else is there already (see `RunDirectory.open`), or it is, or holds, what is read.
        """
        if self.path is None:
            return StreamSink(self.stream or sys.stdout.buffer, record)
        path = self.local
        is_file = _is_file(path)
        for source in filter(None, (record.source, *also_read)):
            refuse_to_replace_input(self.path, path, source, is_file)
        store: Store = HERE
        if copy is not None:
            copy.begin(restart=self.restart)
            store = copy
        if not is_file:
            return RunDirectory.open(path, record, schema, restart=self.restart, store=store)
        run = FileRun.open(_run_folder(path), record, schema, restart=self.restart, store=store)
        try:
            run.refuse_to_replace()
        except BaseException:
            run.pause()
            raise
        return run

    @contextmanager
    def opened(
        self, record: RunRecord, schema: pa.Schema, also_read: Iterable[str] = (), *, previews: bool = False
    ) -> Iterator[StreamSink | RunDirectory]:
        """The run, begun or continued: finished when the body ends, left to be continued when it raises.

        Args:
            record: command, settings and target, as for `RunDirectory.open`.
            schema: as for `RunDirectory.open`.
            also_read: what the run reads beside the source of its record: files, directories or Hub ids.
            previews: whether the body makes only the `first` attempts, where that is asked for.

        Raises:
            UsageError: something else is there already (see `RunDirectory.open`), or it is, or holds, what is read; or
                this run has no preview.
            RunError: the disk or the store failed; what was finished is kept.
            Stopped: a person broke off what the body did (KeyboardInterrupt).
        """
        if self.first is not None and not previews:
            raise no_preview("first rows are shown of runs that a model makes row by row, not of this one")
        check_beginning(record, self.path)
        with nullcontext() if (copy := self._copy()) is None else copy.used():
            sink = self.open(record, schema, also_read, copy)
            with self._finished(sink):
                yield sink

    @contextmanager
    def _finished(self, sink: StreamSink | RunDirectory) -> Iterator[None]:
        """The run of a sink is finished when the body ends, and left to be continued when it raises; not a preview."""
        try:
            yield
        except BaseException as error:
            try:
                sink.pause()
            except RunError as failure:
                if isinstance(error, KeyboardInterrupt):
                    raise Stopped(f"{self.stopped()} ({failure})") from error
                raise
            if self.keep is not None and self.first is not None:
                self.keep.remove()
            if isinstance(error, KeyboardInterrupt):
                raise Stopped(self.stopped()) from error
            if self.keep is not None and self.first is None and not isinstance(error, Stopped | UsageError):
                error.add_note(f"What was finished is in {self._left()}: give it as `output` to continue.")
            raise
        sink.finish(sink.record.note)

    def stopped(self) -> str:
        """The message about a run that a person stopped; `restart`, if it was given, would discard that run."""
        if self.path is None or self.first is not None:
            return "stopped"
        if self.keep is not None:
            return f"stopped; what was finished is in {self._left()}: give it as `output` to continue"
        again = ", without `restart`," if self.restart else ""
        return f"stopped; run this again{again} to continue"

    def _left(self) -> str | None:
        """Where the rows are; a temporary directory is no longer removed."""
        if self.keep is not None:
            self.keep.leave()
        return self.called


def closing_lines(record: RunRecord, attempts: int, output: Output, progress: Progress) -> None:
    """Tell how many rows there are, by method and verdict, and why the others were rejected."""
    where = f" in {output.called}" if output.path else ""
    progress.say(f"{record.accepted:,} rows{where}; {record.rejected:,} of {attempts:,} attempts rejected")
    for counts in (record.methods, record.verdicts):
        if len(counts) > 1 or counts is record.verdicts:
            for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
                progress.say(f"  {count:>7,}  {name}")
    for reason, count in sorted(record.reasons.items(), key=lambda item: (-item[1], item[0])):
        progress.say(f"  {count:>7,}  {reason}")
    if record.rejected and output.path is None:
        progress.say("  rejected rows are not kept on standard output; with `output` they are")


def _remove(folder: Path) -> None:
    memory.forget(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _is_file(path: Path) -> bool:
    return path.suffix.lower() in FORMATS and not path.is_dir()


def _run_folder(path: Path) -> Path:
    """The directory of a run that ends in a directory or in a file."""
    return path.with_name(path.name + PARTIAL) if _is_file(path) else path
