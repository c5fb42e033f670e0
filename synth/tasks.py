"""Rows of a data set as tasks: the prompt to answer, the human answer beside it, everything else carried along."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from filters.verdict import Task
from synth.read import Rows
from synth.row import BASE, Message, Row, digest


@dataclass(frozen=True, slots=True)
class Tasks:
    """A source whose rows are to be worked on one by one.

    Attributes:
        source: the rows as they come, conversations recognised.
        total: how many there are (with the limit applied).
        fingerprint: of their content; part of a run's settings, so that a run is continued on the same rows only.
        limit: rows to take; None takes all.
    """

    source: Rows
    total: int
    fingerprint: str
    limit: int | None = None

    def schema(self, added: pa.Schema) -> pa.Schema:
        """The columns of a run over these rows: ours, those `added` by the method, and those carried through."""
        ours = [*BASE, *added]
        carried = _carried(self.source.schema, [item.name for item in ours])
        return pa.schema([*ours, *(self.source.schema.field(old).with_name(new) for old, new in carried.items())])

    def rows(self, method: str, settings: Mapping[str, Any], added: pa.Schema) -> Callable[[int], Iterator[Row]]:
        """The tasks as rows to complete, from any index on.

        A row's `messages` are what the assistant has yet to answer: an answer that is there already stands in
        `reference`. Its id depends on the settings, the row it came from (`parent`) and its place.
        """
        name = digest(method, dict(settings))
        carried = _carried(self.source.schema, [item.name for item in (*BASE, *added)])

        def rows(start: int) -> Iterator[Row]:
            for index, record in self.records(start):
                messages: list[Message] = record["messages"] or []
                reference = record.get("reference")
                parent = record.get("id") or digest(messages, reference)
                while messages and messages[-1]["role"] == "assistant":
                    messages = messages[:-1]
                yield Row(
                    digest(name, parent, index),
                    messages,
                    method,
                    parent=parent,
                    reference=reference,
                    carried={new: record[old] for old, new in carried.items()},
                )

        return rows

    def answered(self, added: pa.Schema) -> Callable[[int], Iterator[Row]]:
        """The rows as they are, answers and all, from any index on: to be judged, not completed."""
        carried = _carried(self.source.schema, [item.name for item in (*BASE, *added)])

        def rows(start: int) -> Iterator[Row]:
            for index, record in self.records(start):
                ours: dict[str, Any] = {name: record.get(name) for name in BASE.names}
                ours["messages"] = ours["messages"] or []
                ours["id"] = ours["id"] or digest(ours["messages"], ours["reference"], index)
                ours["method"] = ours["method"] or "input"
                yield Row(**ours, carried={new: record[old] for old, new in carried.items()})

        return rows

    def tasks(self) -> Iterator[Task]:
        """What answers to the rows are checked against."""
        return map(task_of, self.rows("", {}, pa.schema([]))(0))

    def records(self, start: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
        """The rows as they are, with their index, from index `start` on."""
        at = 0
        for batch in self.source.batches(self.limit):
            if at + batch.num_rows > start:
                skip = max(0, start - at)
                yield from enumerate(batch.slice(skip).to_pylist(), at + skip)
            at += batch.num_rows


def open_tasks(source: Rows, limit: int | None = None) -> Tasks:
    """Read a source once, to count its rows and to name their content.

    Raises:
        UsageError: a part of the source is damaged.
    """
    content = hashlib.blake2b(str(source.schema).encode(), digest_size=16)
    total = 0
    for batch in source.batches(limit):
        content.update(batch.serialize())
        total += batch.num_rows
    return Tasks(source, total, content.hexdigest(), limit)


def task_of(row: Row) -> Task:
    """What answers to a row are checked against."""
    prompt = next((turn["content"] for turn in reversed(row.messages) if turn["role"] == "user"), "")
    return Task(row.reference, prompt, row.carried)


def _carried(schema: pa.Schema, ours: list[str]) -> dict[str, str]:
    """Columns to carry through, and what they are called: a name that the method needs itself is changed.

    What an earlier run of ours left in `BASE`'s columns (a verdict, a log-probability) was said of another answer:
    it is not carried.
    """
    carried = {}
    for name in schema.names:
        if name in BASE.names:
            continue
        new = name
        while new in ours or (new != name and new in schema.names):
            new = f"input_{new}"
        carried[name] = new
    return carried
