"""A run that ends in one file: a directory beside it while it is under way, which the file then takes the place of."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from synth.data.inputs import side_file
from synth.data.run.directory import SIDE_TABLES, RunDirectory, clear_run
from synth.data.run.record import read_record
from synth.data.run.shards import read_shards
from synth.data.write import open_writer, resumable
from synth.errors import UsageError

PARTIAL = ".partial"
"""Suffix of the directory that holds the rows of a run until they become a file."""


class FileRun(RunDirectory):
    """A run that ends in one file. Until it is done its rows are in the directory `FILE.partial` beside the file."""

    @property
    def file(self) -> Path:
        """The file that is written last."""
        return self.path.with_name(self.path.name.removesuffix(PARTIAL))

    def refuse_to_replace(self) -> None:
        """Refuse a file that is there, except where a run was killed after it had written it.

        Raises:
            UsageError: it is there.
        """
        if not self.file.exists() or self._replaces:
            return
        earlier = read_record(self.path)
        if earlier is None or earlier.finished is None:
            raise UsageError(f"{self.file} exists; choose another `output`, or add `restart` to replace it")

    def begin(self) -> None:
        """Claim the directory, then remove the file that is replaced."""
        super().begin()
        if self._replaces:
            with resumable(self.path):
                for file in (self.file, *(side_file(self.file, side) for side in SIDE_TABLES)):
                    file.unlink(missing_ok=True)
                self._replaces = False

    def _complete(self, note: str | None) -> None:
        """Complete the run, then bring its side tables into `FILE.rejected.*`, …, and last its rows into the file."""
        super()._complete(note)
        for side in (self.rejected, self.pairs, self.accepted):
            if side.shards or side is self.accepted:
                file = self.file if side is self.accepted else side_file(self.file, side.folder.name)
                _copy(read_shards(side.folder, side.shards, store=self.store), file, side.schema)
        self.store.settle()
        clear_run(self.path)


def _copy(batches: Iterable[pa.RecordBatch], file: Path, schema: pa.Schema) -> None:
    with open_writer(str(file), schema, force=True) as writer:
        for batch in batches:
            writer.write(batch)
