"""Rows of plain text: neither prompt nor answer, trained on as a whole, as in pre-training.

Such rows have a column `text`, which holds no dialogues, and no turns; `synth rephrase` and `synth lamol --prepare`
write them. Commands that can work on them open their input here instead of in `synth.data.read`.
"""

from collections.abc import Iterator

import pyarrow as pa
from pyarrow import compute

from synth.data.read import Rows, conversations, open_source
from synth.data.row import BASE, FAULT, MESSAGES, Row
from synth.data.schema.benchmarks import benchmark_of
from synth.data.schema.dialogues import is_dialogue
from synth.data.schema.shapes import ANSWERS, TURN_COLUMNS
from synth.data.schema.turns import holds_text

TEXT = "text"


def open_rows_or_texts(
    source: str | None, *, prompt_column: str | None = None, reference_column: str | None = None
) -> Rows:
    """Like `synth.data.read.open_rows`, but rows may also be plain texts, which have no `messages`.

    Raises:
        UsageError: as for `open_rows`.
    """
    return rows_or_texts(open_source(source), prompt_column=prompt_column, reference_column=reference_column)


def rows_or_texts(raw: Rows, *, prompt_column: str | None = None, reference_column: str | None = None) -> Rows:
    """Like `synth.data.read.conversations`, but rows may also be plain texts.

    Raises:
        UsageError: as for `conversations`.
    """
    known = [item for item in raw.schema if item.name in {*TURN_COLUMNS, *ANSWERS}]
    named = prompt_column or reference_column or not all(_holds_nothing(item.type) for item in known)
    texts = not named and has_texts(raw.schema) and not is_dialogue(raw.first(TEXT))
    if texts and benchmark_of(raw.schema, raw.batches) is None:
        raw = _with_messages(raw)
    return conversations(raw, prompt_column=prompt_column, reference_column=reference_column)


def has_texts(schema: pa.Schema) -> bool:
    """Whether there is a column of plain texts."""
    return TEXT in schema.names and holds_text(schema.field(TEXT).type)


def only_texts(rows: Rows) -> bool:
    """Whether rows of `open_rows_or_texts` are plain texts throughout.

    Raises:
        UsageError: a part of the source is damaged.
    """
    if not has_texts(rows.schema):
        return False
    sizes = (compute.list_value_length(batch.column("messages")) for batch in rows.batches())
    return not any(compute.sum(size).as_py() for size in sizes)


def text_of(row: Row) -> str | None:
    """The plain text of a row that is no conversation; None for any other row."""
    text = None if row.messages else row.passthrough.get(TEXT)
    return text if isinstance(text, str) and text.strip() else None


def _holds_nothing(kind: pa.DataType) -> bool:
    """Whether a column is null throughout, or holds nothing but empty lists, as its type says."""
    return bool(pa.types.is_null(kind) or (pa.types.is_list(kind) and pa.types.is_null(kind.value_type)))


def _with_messages(raw: Rows) -> Rows:
    """The rows with a column of turns in which there are none."""
    kept = [item for item in raw.schema if item.name != "messages"]
    schema = pa.schema([*kept, BASE.field("messages")])

    def read() -> Iterator[pa.RecordBatch]:
        for batch in raw.read():
            columns = [batch.column(item.name) for item in kept]
            made = pa.record_batch([*columns, pa.nulls(batch.num_rows, MESSAGES)], schema=schema)
            yield made.append_column(FAULT, batch.column(FAULT)) if FAULT in batch.schema.names else made

    return Rows(raw.source, schema, read, raw.notes)
