"""Rows on a stream: JSON lines on standard output, or wherever a caller wants them."""

import json
import time
from collections.abc import Iterator, Mapping
from typing import BinaryIO

import pyarrow as pa

from synth.data.files.encode import JsonLines
from synth.data.row import Outcome
from synth.data.run.record import RunRecord, without

FLUSH = 0.2
"""Seconds after which a buffered row is flushed to standard output."""


class StreamSink:
    """Accepted rows as JSON lines on a stream, in order; columns that do not apply (turns, to a text) are left out.

    Rejected rows are only counted, and an interrupted run cannot be continued: for both, write to a directory.
    """

    def __init__(self, stream: BinaryIO, record: RunRecord) -> None:
        self.record = record
        self.ahead: Mapping[int, Outcome] = {}
        self._stream = stream
        self._flushed = time.monotonic()

    @property
    def next(self) -> int:
        """Index of the next row to commit."""
        return self.record.next

    def keep(self, index: int, outcome: Outcome) -> None:
        """Nothing to do: a stream keeps no rows that are not in order."""

    def commit(self, outcome: Outcome) -> None:
        """Write the row of index `next`, if it was accepted."""
        self.record.count(outcome)
        self.record.next += 1
        if outcome.reason is not None:
            return
        for row in (outcome.row, *outcome.more):
            said = row.record() if row.messages else without(row.record(), "messages")
            columns = {name: value for name, value in said.items() if value is not None}
            text = json.dumps(columns, ensure_ascii=False, default=str)  # dates, decimals
            self._stream.write(text.encode("utf-8", "replace") + b"\n")
        if time.monotonic() - self._flushed > FLUSH:
            self._stream.flush()
            self._flushed = time.monotonic()

    def extend(self, accepted: pa.RecordBatch, rejected: pa.RecordBatch, taken: int | None = None) -> None:
        """Write the next rows, whole batches of them, made of `taken` rows (as many, where it is None)."""
        self.record.count_batches(accepted, rejected)
        self.record.next += accepted.num_rows + rejected.num_rows if taken is None else taken
        JsonLines(self._stream, accepted.schema).write_batch(accepted)
        self._stream.flush()

    def rows(self) -> Iterator[pa.RecordBatch]:
        """None: a stream always begins anew."""
        return iter(())

    def pause(self) -> None:
        """Flush what is written."""
        self._stream.flush()

    def finish(self, note: str | None = None) -> None:
        """Flush what is written."""
        self.record.note = note
        self._stream.flush()
