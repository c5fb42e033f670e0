"""The file formats rows are written in: each turns Arrow batches into the bytes of one file."""

import io
import json
from collections.abc import Sequence
from typing import Any, BinaryIO, Protocol

import pyarrow as pa

from synth.data.row import BASE, PARTED, as_messages
from synth.errors import UsageError

ROW_GROUP_BYTES = 64 * 2**20
"""Batches are gathered to this much Arrow memory before they become a Parquet row group."""


class Encoder(Protocol):
    """Turns batches into the bytes of one file. `close` writes the footer and leaves the file open."""

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Encode one batch."""
        ...

    def close(self) -> None:
        """Finish the format."""
        ...


class JsonLines:
    """One JSON object a line.

    A column of `synth.data.row.BASE` in which a whole batch holds nothing is left out of that batch's lines, and so are
    the parts that a turn has not. NaN and infinity, which JSON has not, become null.
    """

    def __init__(self, file: BinaryIO, schema: pa.Schema) -> None:
        for field in schema:
            if _holds_bytes(field.type):
                raise UsageError(
                    f"column {field.name!r} holds {field.type}, which JSON lines cannot: write .parquet, .arrow or a "
                    "dataset directory"
                )
        self._file = file

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Encode one batch."""
        import polars as pl

        kept = [
            name
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
            if name not in BASE.names or column.null_count < len(column)
        ]
        lines = io.BytesIO()
        pl.DataFrame(batch.select(kept or batch.schema.names)).write_ndjson(lines)
        parted = [item.name for item in batch.schema if item.type == PARTED and item.name in kept]
        self._file.write(_without_nulls(lines, parted) if parted else lines.getbuffer())

    def close(self) -> None:
        """JSON lines have no footer."""


class Parquet:
    """Row groups of `ROW_GROUP_BYTES`, whatever the size of the batches; with options of pyarrow's ParquetWriter."""

    def __init__(self, file: BinaryIO, schema: pa.Schema, **options: Any) -> None:
        from pyarrow import parquet

        self._file = parquet.ParquetWriter(file, schema, **options)
        self._waiting: list[pa.RecordBatch] = []
        self._bytes = 0

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Encode one batch."""
        self._waiting.append(batch)
        self._bytes += batch.nbytes
        if self._bytes >= ROW_GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Write the last row group and the footer."""
        self._flush()
        self._file.close()

    def _flush(self) -> None:
        if self._waiting:
            self._file.write_table(pa.Table.from_batches(self._waiting))
        self._waiting, self._bytes = [], 0


def _without_nulls(lines: io.BytesIO, columns: Sequence[str]) -> bytes:
    """The same lines, where turns in some columns lack what they have not."""
    written = []
    for line in lines.getvalue().splitlines():
        row = json.loads(line)
        row |= {name: as_messages(row[name]) for name in columns if row[name] is not None}
        written.append(json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
    return b"".join(written)


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return True
    return any(_holds_bytes(kind.field(index).type) for index in range(kind.num_fields))
