"""A manifest: a table of audio or image files, with what is known about each.

    {"audio": "clips/1.wav", "transcript": "I'm fine.", "gender": "female", "emotion": "sad"}

`open_manifest` finds the columns: the file (`FILES`), the words (`WORDS`: a transcript, a caption), their times in the
file (`start`, `end`, seconds) or `segments` that have words and times of their own, and the attributes: every other
column of text, numbers or lists of them, unless some are named. Names of files are relative to the manifest.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import compute

from synth.data.read import Rows, open_source
from synth.data.row import BASE, FAULT, MESSAGES, REASON, RENDERING
from synth.data.schema.names import free_name
from synth.data.schema.turns import is_text
from synth.errors import UsageError

FILES = ("audio", "audio_path", "audio_filepath", "wav", "image", "image_path", "file_name", "filename", "file", "path")
WORDS = ("transcript", "transcription", "text", "sentence", "caption", "captions")
TIMES = ("start", "end")
SEGMENTS = "segments"
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")

MEASURED = {"audio": ("duration", "energy", "pitch"), "image": ("width", "height")}
"""Attributes that can be measured, and so need not be in the manifest, by kind of file."""

FILE = "file"
"""Name of the column of files once it is read."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest as rows to complete, with the names of the columns that describe a file.

    Attributes:
        rows: with the columns `id` (the name of the file where there is none), `file`, no messages, and the others.
        folder: what names of files are relative to.
        kind: audio or image, as the first file's suffix says.
        words: the column of the transcript or caption, or None.
        times: the columns of its start and end, or none.
        segments: the column of segments, or None.
        attributes: columns by what a description calls them.
    """

    rows: Rows
    folder: Path
    kind: str
    words: str | None
    times: tuple[str, ...]
    segments: str | None
    attributes: dict[str, str]


def open_manifest(
    source: str,
    added: Sequence[str],
    *,
    folder: Path | None = None,
    file_column: str | None = None,
    attributes: Sequence[str] | None = None,
) -> Manifest:
    """Open a manifest, whatever `synth.data.read` reads.

    Args:
        source: where it is.
        added: names of columns that will be written beside it: what is called so already becomes `input_NAME`.
        folder: what names of files are relative to, instead of the folder that the manifest is in.
        file_column: the column of files, instead of the first of `FILES`.
        attributes: what descriptions speak of, instead of every column that may be.

    Raises:
        UsageError: the manifest cannot be read, has no column of files, or not those attributes.
    """
    raw = open_source(source)
    names = raw.schema.names
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"{source}: several columns are called {' and '.join(sorted(twice))}: rename them")
    file = _file_column(raw, file_column)
    left = [name for name in names if name != file]
    words = next((name for name in WORDS if name in left and _is_words(raw.schema.field(name).type)), None)
    times = TIMES if set(TIMES) <= set(left) else ()
    segments = SEGMENTS if SEGMENTS in left and _is_records(raw.schema.field(SEGMENTS).type) else None
    used = {words, *times, segments, "id"}
    may = [name for name in left if name not in used and _is_plain(raw.schema.field(name).type)]
    kind = "image" if _first_file(raw, file).lower().endswith(PICTURES) else "audio"
    if unknown := [name for name in attributes or () if name not in (*may, *MEASURED[kind])]:
        there = ", ".join([*may, *MEASURED[kind]])
        raise UsageError(f"`attributes`: {unknown[0]} is unknown, or holds no plain values; there are {there}")
    taken = may if attributes is None else [name for name in attributes if name in may]
    passthrough = _passthrough(raw.schema, left, added)
    new = {old: name for name, old in passthrough.items()}
    recognised = [f"words: {words}"] * bool(words) + ["segments"] * bool(segments)
    recognised.append(f"attributes: {', '.join(taken) or 'none'}")
    rows = _rows(raw, file, passthrough)
    rows.notes.append(f"{kind} files of column {file}; {'; '.join(recognised)}")
    return Manifest(
        rows=rows,
        folder=folder or _folder(source),
        kind=kind,
        words=new[words] if words else None,
        times=tuple(new[name] for name in times),
        segments=new[segments] if segments else None,
        attributes={name: new[name] for name in taken},
    )


def _rows(raw: Rows, file: str, passthrough: dict[str, str]) -> Rows:
    """The rows with `id`, `messages` and `file` first, then the other columns (new name: old name)."""
    own_ids = "id" in raw.schema.names and _is_name(raw.schema.field("id").type)
    fields = [pa.field("id", pa.string()), pa.field("messages", MESSAGES), pa.field(FILE, pa.string())]
    schema = pa.schema([*fields, *(raw.schema.field(old).with_name(new) for new, old in passthrough.items())])

    def convert(batch: pa.RecordBatch) -> pa.RecordBatch:
        files = batch.column(file).cast(pa.string())
        ids = compute.coalesce(batch.column("id").cast(pa.string()), files) if own_ids else files
        columns = [ids, pa.nulls(batch.num_rows, MESSAGES), files, *(batch.column(old) for old in passthrough.values())]
        made = pa.record_batch(columns, schema=schema)
        return made.append_column(FAULT, batch.column(FAULT)) if FAULT in batch.schema.names else made

    return Rows(raw.source, schema, lambda: map(convert, raw.read()), raw.notes)


def _passthrough(schema: pa.Schema, left: Sequence[str], added: Sequence[str]) -> dict[str, str]:
    """The columns that are kept, by the name they get; the `id` is one of ours, unless it is no name.

    What a column of ours is called (`mode`, `reason`) would be read as such, or left out, on the way to the method.
    """
    taken = {*BASE.names, *RENDERING.names, REASON.name, FILE, *added}
    kept = [name for name in left if name != "id" or not _is_name(schema.field(name).type)]
    return {free_name(name, taken, schema.names): name for name in kept}


def _file_column(raw: Rows, named: str | None) -> str:
    names = raw.schema.names
    if named is not None and named not in names:
        raise UsageError(f"there is no column {named!r}; there are: {', '.join(names)}")
    textual = [item.name for item in raw.schema if is_text(item.type)]
    column = named or next((name for name in FILES if name in textual), None)
    if column is None:
        raise UsageError(f"{raw.source}: no column with names of files in {', '.join(names)}: give `file_column`")
    if column not in textual:
        raise UsageError(f"{raw.source}: column {column!r} holds {raw.schema.field(column).type}, not names of files")
    return column


def _first_file(raw: Rows, column: str) -> str:
    for batch in raw.read():
        for name in batch.column(column).drop_null():
            return str(name.as_py())
    return ""


def _folder(source: str) -> Path:
    path = Path(source)
    if source == "-" or not path.exists():  # standard input, the Hub
        return Path.cwd()
    return (path if path.is_dir() else path.parent).resolve()


def _is_name(kind: pa.DataType) -> bool:
    return is_text(kind) or bool(pa.types.is_integer(kind))


def _is_list(kind: pa.DataType, item: Callable[[pa.DataType], bool]) -> bool:
    return bool((pa.types.is_list(kind) or pa.types.is_large_list(kind)) and item(kind.value_type))


def _is_words(kind: pa.DataType) -> bool:
    return is_text(kind) or _is_list(kind, is_text)


def _is_records(kind: pa.DataType) -> bool:
    return _is_list(kind, lambda item: bool(pa.types.is_struct(item)))


def _is_value(kind: pa.DataType) -> bool:
    return bool(_is_name(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _is_plain(kind: pa.DataType) -> bool:
    return _is_value(kind) or _is_list(kind, _is_value)


def text_of(value: Any) -> str:
    """A value as text for a description: one line, numbers to four digits, lists with commas; empty for null."""
    if isinstance(value, list):
        return ", ".join(filter(None, map(text_of, value)))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
    return "" if value is None else " ".join(str(value).split())
