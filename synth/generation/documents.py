"""Plain texts as rows: each document cut into passages, at the ends of sentences where there are any.

A document is neither a prompt nor an answer: so it has a reader of its own beside `synth.data.read.conversations`. A
document without text stays one row, which the method rejects.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa

from synth.data.read import Rows
from synth.data.row import BASE, FAULT, digest
from synth.data.schema.names import free_name
from synth.data.schema.turns import is_text
from synth.engines.base import Tokenizer
from synth.errors import UsageError

Cut = Callable[[str, str], Iterable[dict[str, Any]]]
"""From a document's id and its text (stripped; empty where there is none) to the rows it becomes."""

_CHARACTERS = 6
"""Characters tokenised at most for each token of a passage: long texts are tokenised in pieces."""

_DOCUMENTS, _ROWS = 64, 1024
"""Documents, and rows made of them, that are held at a time."""

_SENTENCE_END = re.compile(r"""[.!?…]["'”’»)\]]*\s+|[。！？][”’」』）]*\s*|\n\s*\n""")
_SPACE = re.compile(r"\s+")


def open_documents(raw: Rows, column: str, added: pa.Schema, cut: Cut) -> Rows:
    """The documents of a source as the rows they are cut into.

    Args:
        raw: rows with a text each, as `open_source` gives them.
        column: the text's name.
        added: the columns of the rows that `cut` makes.
        cut: makes them. It must make the same ones each time.

    Returns:
        Rows with the columns `id` (the document's own, or a digest of its text), those `added`, and the source's other
        columns, named `input_NAME` where the name is taken.

    Raises:
        UsageError: there is no such column, or it holds no text.
    """
    if raw.schema.names and column not in raw.schema.names:
        raise UsageError(f"{raw.source} has no column {column!r}; there are: {', '.join(raw.schema.names)}")
    if raw.schema.names and not is_text(kind := raw.schema.field(column).type):
        raise UsageError(f"column {column!r} of {raw.source} holds {kind}; a document is text")
    ours = pa.schema([BASE.field("id"), *added])
    taken, columns = {*BASE.names, *ours.names}, raw.schema.names
    passthrough = {name: free_name(name, taken, columns) for name in columns if name not in ("id", column)}
    schema = pa.schema([*ours, *(raw.schema.field(old).with_name(new) for old, new in passthrough.items())])

    def records() -> Iterator[dict[str, Any]]:
        for batch in raw.read():
            for start in range(0, batch.num_rows, _DOCUMENTS):
                for document in batch.slice(start, _DOCUMENTS).to_pylist():
                    text = (document.get(column) or "").strip()  # rows of an empty object have no columns
                    own = document.get("id")
                    name = digest(text) if own is None else str(own)
                    kept = {new: document[old] for old, new in passthrough.items()}
                    if document.get(FAULT) is not None:  # one row, to be rejected
                        text, kept = "", kept | {FAULT: document[FAULT]}
                    for row in cut(name, text):
                        yield {"id": name} | row | kept

    def batch_of(rows: list[dict[str, Any]]) -> pa.RecordBatch:
        is_whole = not any(FAULT in row for row in rows)
        return pa.RecordBatch.from_pylist(
            rows, schema=schema if is_whole else schema.append(pa.field(FAULT, pa.string()))
        )

    def read() -> Iterator[pa.RecordBatch]:
        waiting = []
        for record in records():
            waiting.append(record)
            if len(waiting) == _ROWS:
                yield batch_of(waiting)
                waiting = []
        if waiting:
            yield batch_of(waiting)

    return Rows(raw.source, schema, read, raw.notes)


def passages(text: str, tokenizer: Tokenizer, most: int) -> Iterator[str]:
    """A text in passages of up to `most` tokens, each as long as it can be.

    A passage ends with a sentence, or else with a word, if one ends behind its first quarter; a longer word is divided.
    """
    at, size = 0, most * _CHARACTERS
    while at < len(text):
        window = text[at : at + size]
        tokens = tokenizer(window, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        offsets = tokens["offset_mapping"]
        end = len(window) if len(offsets) <= most else max(1, offsets[most][0])
        if at + end < len(text):
            end = _last_end(window, end)
        if passage := text[at : at + end].strip():
            yield passage
        at += end
        size = min(most * _CHARACTERS, max(most, 2 * end))  # where tokens are short, at most twice what is needed


def halves(text: str) -> tuple[str, str] | None:
    """A text divided at the end of the sentence nearest its middle, or else of the word; None for a single word."""
    middle = len(text) // 2
    for pattern in (_SENTENCE_END, _SPACE):
        ends = [match.end() for match in pattern.finditer(text) if len(text) // 4 <= match.end() <= len(text) * 3 // 4]
        if ends:
            end = min(ends, key=lambda end: abs(end - middle))
            return text[:end].strip(), text[end:].strip()
    return None


def whole_sentences(text: str) -> str:
    """A text up to the end of its last whole sentence; empty if there is none."""
    ends = [match.end() for match in _SENTENCE_END.finditer(f"{text}\n")]
    return text[: ends[-1]].strip() if ends else ""


def _last_end(window: str, end: int) -> int:
    """The last place to cut in the first `end` characters, behind their first quarter."""
    for pattern in (_SENTENCE_END, _SPACE):
        # what lies behind `end` is seen, too: white space there shows that a sentence or a word ends here
        places = [min(match.end(), end) for match in pattern.finditer(window) if match.start() < end]
        if places and places[-1] > end // 4:
            return places[-1]
    return end
