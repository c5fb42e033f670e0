"""Rows of a data set as tasks: a prompt to answer, the human answer as reference, other columns carried through."""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
from pyarrow import compute

from filters.verdict import Task
from synth.data.read import Rows, Tally, faults_of
from synth.data.row import (
    BASE,
    FAULT,
    INDEX,
    REASON,
    RENDERING,
    Message,
    Row,
    base,
    conversations_of,
    digest,
    records_of,
)
from synth.data.run.shard import Shard
from synth.data.schema.names import free_name

_OBJECTS = 256
"""Rows that are Python objects at a time."""


class _Reader:
    """Reads a source from any row on; where the last reading broke off before the row that is wanted, it goes on there.

    So whoever takes one range of rows after another does not read all before them each time.
    """

    def __init__(self, source: Rows) -> None:
        self._source = source
        self._left: list[_Reading] = []

    def batches(self, start: int, limit: int | None) -> Iterator[tuple[int, pa.RecordBatch]]:
        """The rows from index `start` on, up to a limit, with the index of each batch's first."""
        reading = self._left.pop() if self._left else None
        if reading is None or reading.at > start:
            reading = _Reading(self._source.judged())
        try:
            while (limit is None or reading.at < limit) and (batch := reading.batch) is not None:
                skip = max(0, start - reading.at)
                if skip < batch.num_rows:
                    whole = batch if limit is None else batch.slice(0, limit - reading.at)
                    yield reading.at + skip, whole.slice(skip)
                if limit is not None and reading.at + batch.num_rows > limit:
                    break  # whoever comes next begins in this batch
                reading.advance()
        except GeneratorExit:
            self._left[:] = [reading]
            raise
        self._left[:] = [reading]


class _Reading:
    """Rows as they are read; `batch` is the one at hand, whose first row has the index `at`."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self.at = 0
        self._batches = batches
        self._batch: pa.RecordBatch | None = None

    @property
    def batch(self) -> pa.RecordBatch | None:
        """The batch at hand; None after the last."""
        if self._batch is None:
            self._batch = next(self._batches, None)
        return self._batch

    def advance(self) -> None:
        """Go on to the next batch."""
        self.at += self._batch.num_rows if self._batch is not None else 0
        self._batch = None


@dataclass(frozen=True, slots=True)
class PromptSet:
    """A source whose rows are processed one by one.

    Attributes:
        source: the rows as they come, conversations recognised.
        total: how many there are (with the limit applied).
        fingerprint: of their content; part of a run's settings, so that a run is continued on the same rows only.
        limit: rows to take; None takes all.
        unreadable: rows among them that are to be rejected, as they cannot be read.
        first: rows of the source before the first that is taken.
        reader: reads them; parts of a set share it.
    """

    source: Rows
    total: int
    fingerprint: str
    limit: int | None = None
    unreadable: int = 0
    first: int = 0
    reader: _Reader = field(kw_only=True, repr=False, compare=False)

    def part(self, shard: Shard | None) -> "PromptSet":
        """The rows of a shard over these rows, a range of them; all for None. Each keeps its id."""
        if shard is None or shard.size is None:
            return self
        begin = min(shard.row(0), self.total)
        return replace(self, first=begin, total=shard.size, limit=begin + shard.size)

    @property
    def base(self) -> pa.Schema:
        """`BASE`, whose conversations are of the source's type."""
        there = self.source.schema
        return base(there.field("messages").type) if "messages" in there.names else BASE  # plain texts have none

    def schema(self, added: pa.Schema, without: Collection[str] = ()) -> pa.Schema:
        """The columns of a run over these rows: ours, those `added` by the method, and those carried through.

        The source's columns `without` are left behind.
        """
        ours = [*self.base, *added]
        passthrough = _passthrough(self.source.schema, [item.name for item in ours], without)
        return pa.schema([*ours, *(self.source.schema.field(old).with_name(new) for old, new in passthrough.items())])

    def rows(self, method: str, settings: Mapping[str, Any], added: pa.Schema) -> Callable[[int], Iterator[Row]]:
        """The tasks as rows to complete, from any index on.

        A row's `messages` are what the assistant has yet to answer: an answer that is there already stands in
        `reference`. Its id depends on the settings, the row it came from (`parent`) and its place. Columns of
        `RENDERING` that are `added` are in `Row.extra` as they came.
        """
        name = digest(method, dict(settings))
        rendering = [name for name in RENDERING.names if name in self.source.schema.names]
        passthrough = _passthrough(self.source.schema, [item.name for item in (*BASE, *added)])

        def rows(start: int) -> Iterator[Row]:
            for index, record in self.records(start):
                fault = record.pop(FAULT, None)
                messages: list[Message] = record["messages"] or []
                reference = record.get("reference")
                parent = record.get("id") or digest(messages, reference)
                while messages and messages[-1]["role"] == "assistant":
                    messages = messages[:-1]
                if record.get("drawn"):
                    record["drawn"] = record["drawn"][: sum(turn["role"] == "assistant" for turn in messages)] or None
                yield Row(
                    digest(name, parent, index),
                    messages,
                    method,
                    parent=parent,
                    reference=reference,
                    extra={name: record[name] for name in rendering if name in added.names},
                    passthrough={new: record[old] for old, new in passthrough.items()},
                    fault=fault,
                )

        return rows

    def answered(self, added: pa.Schema) -> Callable[[int], Iterator[Row]]:
        """The rows as they are, answers and all, from any index on: to be judged, not completed."""

        def rows(start: int) -> Iterator[Row]:
            for source, batch in self.completed(added, start):
                for record, fault in zip(_records(batch), faults_of(source), strict=True):
                    ours: dict[str, Any] = {name: record.pop(name) for name in BASE.names}
                    ours["messages"] = ours["messages"] or []
                    yield Row(**ours, passthrough=record, fault=fault)

        return rows

    def completed(
        self, added: pa.Schema, start: int = 0, without: Collection[str] = ()
    ) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
        """The rows from index `start` on, batch by batch: as they come (with `FAULT`), and with all columns of ours.

        The second of each pair has the columns of `schema(added, without)` apart from those `added`. Rows without an
        id get one of their content and place; rows of no known method are called `input`.
        """
        passthrough = _passthrough(self.source.schema, [item.name for item in (*BASE, *added)], without)
        for at, batch in self._batches(start):
            columns = [
                batch.column(item.name).cast(item.type)
                if item.name in batch.schema.names
                else pa.nulls(batch.num_rows, item.type)
                for item in self.base
            ]
            names = BASE.names
            columns[names.index("method")] = compute.fill_null(columns[names.index("method")], "input")
            ids = columns[names.index("id")]
            if ids.null_count:
                parts = zip(
                    ids.to_pylist(),
                    conversations_of(columns[names.index("messages")]),
                    columns[names.index("reference")].to_pylist(),
                    strict=True,
                )
                named = [
                    own or digest(turns or [], reference, at + i) for i, (own, turns, reference) in enumerate(parts)
                ]
                columns[names.index("id")] = pa.array(named, pa.string())
            fields = [*self.base, *(self.source.schema.field(old).with_name(new) for old, new in passthrough.items())]
            yield (
                batch,
                pa.record_batch([*columns, *(batch.column(old) for old in passthrough)], schema=pa.schema(fields)),
            )

    def tasks(self) -> Iterator[Task]:
        """The tasks that answers to the rows are checked against."""
        return map(task_of, self.rows("", {}, pa.schema([]))(0))

    def named_verifier(self) -> str | None:
        """The verifier that all rows name; None where they name several, or some row none."""
        if "verifier" not in self.source.schema.names:
            return None
        names: set[str | None] = set()
        for _, batch in self._batches(0):
            names.update(batch.column("verifier").unique().to_pylist())
        return names.pop() if len(names) == 1 else None

    def has_answers(self) -> bool:
        """Whether any row has an answer: a last turn of the assistant's."""
        conversations = (turns.as_py() for _, batch in self._batches(0) for turns in batch.column("messages"))
        return any(turns and turns[-1]["role"] == "assistant" for turns in conversations)

    def faults(self) -> dict[int, str]:
        """Why rows cannot be read, by their index."""
        if not self.unreadable:
            return {}
        found = ((at, faults_of(batch)) for at, batch in self._batches(0))
        return {at + i: why for at, faults in found for i, why in enumerate(faults) if why is not None}

    def records(self, start: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
        """The rows as they are (with `FAULT`), with their index, from index `start` on."""
        for at, batch in self._batches(start):
            yield from enumerate(_records(batch), at)

    def _batches(self, start: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """The rows from index `start` on, with the index in the source of each batch's first."""
        return self.reader.batches(start + self.first, self.limit)


def open_prompts(source: Rows, limit: int | None = None) -> PromptSet:
    """Read a source once, to count its rows and to fingerprint their content. A note says how many cannot be read.

    Raises:
        UsageError: a part of the source is damaged, or none of its rows can be read.
    """
    content = hashlib.blake2b(str(source.schema).encode(), digest_size=16)
    tally = Tally()
    for batch in source.judged(limit):
        content.update(batch.serialize())
        tally.add(batch)
    tally.tell(source, "rejected")
    return PromptSet(source, tally.rows, content.hexdigest(), limit, tally.unreadable, reader=_Reader(source))


def task_of(row: Row) -> Task:
    """The task that answers to a row are checked against."""
    prompt = next((turn["content"] for turn in reversed(row.messages) if turn["role"] == "user"), "")
    return Task(row.reference, prompt, row.passthrough)


def _records(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """The rows of a batch, few of them as Python objects at a time."""
    for start in range(0, batch.num_rows, _OBJECTS):
        yield from records_of(batch.slice(start, _OBJECTS))


def _passthrough(schema: pa.Schema, ours: list[str], without: Collection[str] = ()) -> dict[str, str]:
    """Columns to carry through, by their new names: a name that the method needs itself is changed.

    What an earlier run of ours left in `BASE`'s columns (a verdict, a log-probability) was said of another answer:
    it is not carried. `reason` is kept for why a row is rejected.
    """
    columns, taken = dict.fromkeys(schema.names), {*ours, REASON.name}
    left = {*BASE.names, INDEX.name, *without, *(name for name in RENDERING.names if name in ours)}
    kept = [name for name in columns if name not in left]
    return {name: free_name(name, taken, columns) for name in kept}
