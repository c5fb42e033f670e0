"""The data set on disk that functions return."""

import json
import os
from collections.abc import Iterator
from functools import cached_property
from html import escape
from itertools import islice
from typing import TYPE_CHECKING, Any

from synth.data.inputs import side_name
from synth.data.output import Output
from synth.data.run.record import RunRecord, read_record
from synth.data.store.path import File, StoredPath, name_of, path_at
from synth.data.write import FORMATS

if TYPE_CHECKING:
    import datasets
    import pandas

    from synth.api.report import Report
    from synth.data.read import Rows

SHOWN, CHARACTERS = 5, 400
"""Rows that a notebook shows, and characters of each turn, or of a row without turns."""


class Dataset:
    """Rows on disk: `len`, iteration over dictionaries, indices, slices and columns; a notebook shows the first.

    It can be given wherever a function of `synth` takes a data set, and is the key of one in `synth.mix`.

    Attributes:
        path: the dataset directory, or the file; elsewhere (`s3://…`) what stands for it there.
        record: the content of `run.json`: settings, counts, reasons, rates. None for a file.
    """

    def __init__(self, path: str | os.PathLike[str], *, record: RunRecord | None = None, keep: object = None) -> None:
        """Of a directory or a file that is there.

        Raises:
            UsageError: its record cannot be read.
        """
        self.path: File = path if isinstance(path, StoredPath) else path_at(os.fspath(path))
        self.record = record or (read_record(self.path) if self.path.is_dir() else None)
        self._keep = keep

    @classmethod
    def of(cls, output: Output, record: RunRecord) -> "Dataset":
        """What a run has written."""
        return cls(output.path or "", record=record, keep=output.keep)

    def __fspath__(self) -> str:
        return name_of(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"<synth data set {self.path}: {len(self):,} rows>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dataset) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    @cached_property
    def _length(self) -> int:
        return sum(batch.num_rows for batch in self._source().batches())

    def _source(self) -> "Rows":
        from synth.data.read import open_source  # a run that makes rows reads none

        return open_source(os.fspath(self))

    def __len__(self) -> int:
        """Rows."""
        return self.record.accepted if self.record is not None and self.record.finished else self._length

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The rows as dictionaries, in bounded memory; a turn has the keys of the parts that it has."""
        from synth.data.row import records_of

        for batch in self._source().batches():
            yield from records_of(batch)

    def __getitem__(self, key: int | slice | str) -> Any:
        """A row, a slice of rows or a column, as of `datasets.Dataset`: `rows[0]`, `rows[:10]`, `rows["messages"]`."""
        return self._dataset[key]

    @cached_property
    def _dataset(self) -> "datasets.Dataset":
        return self.to_dataset()

    def _repr_html_(self) -> str:
        """The first rows, for a notebook."""
        rows = "".join(f"<tr><td>{at}</td><td>{_html(row)}</td></tr>" for at, row in enumerate(islice(self, SHOWN)))
        rejected = f", {self.record.rejected:,} rejected" if self.record is not None and self.record.rejected else ""
        return f"<p>{len(self):,} rows in {escape(str(self))}{rejected}</p><table>{rows}</table>"

    @property
    def rejected(self) -> "Dataset | None":
        """The rejected rows, each with its `reason`; None where there are none."""
        return self._side("rejected")

    @property
    def pairs(self) -> "Dataset | None":
        """The preference pairs that the method made; None where there are none."""
        return self._side("pairs")

    def _side(self, name: str) -> "Dataset | None":
        is_file = self.path.suffix.lower() in FORMATS
        path: File = self.path.parent / side_name(self.path, name) if is_file else self.path / name
        return Dataset(path, keep=self._keep) if path.exists() else None

    def to_dataset(self) -> "datasets.Dataset":
        """The rows for the library `datasets`: memory-mapped where they are a dataset directory.

        Raises:
            UsageError: they cannot be read.
        """
        import datasets

        if self.path.is_dir():
            return datasets.load_from_disk(os.fspath(self))
        rows = self._source()
        return datasets.Dataset.from_generator(
            lambda: iter(self), features=datasets.Features.from_arrow_schema(rows.schema)
        )

    def to_pandas(self) -> "pandas.DataFrame":
        """The rows as a data frame of pandas, all in memory.

        Raises:
            UsageError: they cannot be read.
        """
        return self.to_dataset().to_pandas()

    def push(self, name: str, *, public: bool = False, license: str | None = None, force: bool = False) -> str:
        """Send the rows to the Hugging Face Hub, as `synth.push` does; the address of the repository."""
        from synth.api.push import push

        return push(self, name, public=public, license=license, force=force)

    def report(self, output: str | os.PathLike[str] | None = None) -> "Report":
        """The page of `synth report`, which a notebook shows.

        Args:
            output: the HTML file to write as well.
        """
        from synth.api.report import report

        return report([self], output=output)


def _html(row: dict[str, Any]) -> str:
    """A row for a notebook: its turns, or all of it where it has none. Texts are escaped: models wrote them."""
    turns = row.get("messages")
    if not turns:
        return escape(_cut(json.dumps(row, ensure_ascii=False, default=str)))
    return "<br>".join(f"<b>{escape(turn['role'])}</b> {escape(_cut(turn.get('content') or ''))}" for turn in turns)


def _cut(text: str) -> str:
    return text if len(text) <= CHARACTERS else f"{text[:CHARACTERS]}…"
