"""Rows for display: conversations, preference pairs and plain texts, all as turns.

A plain text is one turn of the role `text`; a preference pair is what `synth.data.pairs` makes of it. A turn with parts
is several pieces: what was thought, what was said, what was called.
"""

from collections.abc import Iterable

import pyarrow as pa
from pyarrow import compute

from synth.data.pairs import has_pairs, pairs
from synth.data.plain import TEXT, has_texts, rows_or_texts
from synth.data.read import Rows, open_source
from synth.data.row import Message

THOUGHTS, CALLS = "thoughts", "calls"
"""What pieces of an assistant's turn are called that are not its content."""


def pieces(messages: Iterable[Message]) -> list[tuple[str, str]]:
    """The pieces of turns, each as a role and a text: thoughts before a content, calls after it.

    A turn that only calls tools has no content to show; that of a tool is called by the tool's name, too.
    """
    found = []
    for turn in messages:
        role, content, calls = turn.get("role") or "", turn.get("content") or "", turn.get("tool_calls")
        if thoughts := turn.get("reasoning_content"):
            found.append((THOUGHTS, thoughts))
        if content or not calls:
            found.append((f"{role} {turn['name']}" if turn.get("name") else role, content))
        if calls:
            functions = (call["function"] for call in calls)
            found.append((CALLS, "\n".join(f"{function['name']}({function['arguments']})" for function in functions)))
    return found


def open_views(source: str | None) -> Rows:
    """Rows of any of the three kinds.

    Raises:
        UsageError: the source cannot be read, or none of the three is recognised in it.
    """
    raw = open_source(source)
    if has_pairs(raw.schema):
        return pairs(raw)
    rows = rows_or_texts(raw)
    if not has_texts(rows.schema):
        return rows
    return Rows(rows.source, rows.schema, lambda: map(_texts_as_turns, rows.read()), rows.notes)


def _texts_as_turns(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with a turn for each text that has none."""
    messages, texts = batch.column("messages"), batch.column(TEXT)
    bare = compute.and_(
        compute.equal(compute.fill_null(compute.list_value_length(messages), 0), 0), compute.is_valid(texts)
    )
    if not compute.any(bare).as_py():
        return batch
    turns = [
        [{"role": TEXT, "content": text}] if is_bare else own
        for is_bare, text, own in zip(bare.to_pylist(), texts.to_pylist(), messages.to_pylist(), strict=True)
    ]
    return batch.set_column(batch.schema.get_field_index("messages"), "messages", pa.array(turns, messages.type))
