"""The rows of a data set as filters see them, some at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from synth.data.plain import TEXT, has_texts
from synth.data.prompts import PromptSet
from synth.data.read import faults_of
from synth.data.row import REASON
from synth.data.schema.names import free_name

TEXTS = ("prompt", "answer", "text", "system", "thoughts", "calls")
"""Columns of text that every frame has."""

BLOCK_ROWS = 8_192
BLOCK_BYTES = 32 * 2**20
"""A block ends with the batch that brings it to either."""

_OURS = (*TEXTS, "row", "roles")
_BETWEEN_TURNS = "\n\n"


def schema_of(prompts: PromptSet) -> pa.Schema:
    """The columns of the output: those of the input. One named `reason` is renamed `input_reason`."""
    whole = prompts.schema(pa.schema([REASON]))
    return whole.remove(whole.get_field_index(REASON.name))


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows, one after another.

    Attributes:
        start: index of the first.
        schema: of the batches, as `schema_of` gives it.
        texts: whether some rows may be plain texts.
        batches: the rows with the columns of `schema_of`, in the batches they came in.
        faults: why a row cannot be read, null for those that can.
    """

    start: int
    schema: pa.Schema
    texts: bool
    batches: list[pa.RecordBatch]
    faults: list[str | None]

    @property
    def end(self) -> int:
        """Index of the first row behind them."""
        return self.start + len(self.faults)

    def __reduce__(self) -> tuple[Any, ...]:
        """What goes to another process: of a slice of rows, no more than the slice."""
        packed = pa.BufferOutputStream()
        with pa.ipc.new_stream(packed, self.schema) as stream:
            for batch in self.batches:
                stream.write_batch(batch)
        return _unpacked, (self.start, self.texts, packed.getvalue().to_pybytes(), self.faults)

    def frame(self) -> pl.DataFrame:
        """The rows as filters see them.

        `id`      names the row
        `row`     its index
        `prompt`  the user's turns, an empty line between two
        `answer`  the assistant's turns likewise; a plain text; where there is neither the reference; else null
        `text`    all turns but the system's, and an answer that is the reference; or a plain text
        `system`  the system's turns; null without any
        `thoughts`  what the assistant thought before its turns; null without any
        `calls`   the tools that it called, with their arguments, each on a line; null without any
        `roles`   the roles of the turns

        A turn's text is its content: thoughts and calls stand in no other column.

        Beside these are the set's own columns; one that bears a name of the above goes by `input_NAME`. Scored tokens
        give two more, unless the set has such columns: `tokens`, and `perplexity` of those that are scored.
        """
        frame = pl.DataFrame(pa.Table.from_batches(self.batches, schema=self.schema))
        renamed = _renamed(frame.columns)
        frame = frame.rename(renamed)
        plain = _plain(renamed[TEXT]) if self.texts else pl.lit(None, pl.String)
        frame = frame.with_columns(
            _turns("user").alias("prompt"),
            pl.coalesce(_turns("assistant"), plain, "reference").alias("answer"),
            _turns("system", "developer").alias("system"),
            _thoughts(frame).alias("thoughts"),
            _calls(frame).alias("calls"),
            pl.col("messages").list.eval(pl.element().struct.field("role")).alias("roles"),
            pl.int_range(self.start, self.start + pl.len()).alias("row"),
        )
        said = _turns("system", "developer", others=True)
        unsaid = pl.when(_turns("assistant").is_null()).then(pl.col("reference"))
        whole = pl.concat_str(said, unsaid, separator=_BETWEEN_TURNS, ignore_nulls=True)
        frame = frame.with_columns(pl.coalesce(plain, whole).alias("text"))
        return frame.with_columns(**_of_tokens(frame))


def _unpacked(start: int, texts: bool, packed: bytes, faults: list[str | None]) -> Block:
    stream = pa.ipc.open_stream(packed)
    return Block(start, stream.schema, texts, list(stream), faults)


def blocks_of(prompts: PromptSet) -> Iterator[Block]:
    """All rows, block by block; a set without rows has one block."""
    schema, texts = schema_of(prompts), has_texts(prompts.source.schema)
    start, rows, size = 0, 0, 0
    batches: list[pa.RecordBatch] = []
    faults: list[str | None] = []
    for source, batch in prompts.completed(pa.schema([REASON])):
        batches.append(batch)
        faults += faults_of(source)
        rows += batch.num_rows
        size += batch.nbytes
        if rows >= BLOCK_ROWS or size >= BLOCK_BYTES:
            yield Block(start, schema, texts, batches, faults)
            start, rows, size, batches, faults = start + rows, 0, 0, [], []
    if rows or not start:
        yield Block(start, schema, texts, batches, faults)


def columns_of(prompts: PromptSet) -> list[str]:
    """The names of the columns of a frame, without reading a row."""
    return Block(0, schema_of(prompts), has_texts(prompts.source.schema), [], []).frame().columns


def _renamed(columns: Sequence[str]) -> dict[str, str]:
    """New names for columns that bear one of ours."""
    return {name: free_name(name, {name}, columns) for name in _OURS if name in columns}


def _plain(column: str) -> pl.Expr:
    """The texts of a column where rows are no conversations; null for all others."""
    return pl.when(pl.col("messages").list.len().fill_null(0) == 0).then(pl.col(column).cast(pl.String))


def _turns(*roles: str, others: bool = False) -> pl.Expr:
    """The turns of these roles, or of all others, as one text; null where there are none."""
    role = pl.element().struct.field("role").fill_null("")
    wanted = ~role.is_in(roles) if others else role.is_in(roles)
    content = pl.when(wanted).then(pl.element().struct.field("content").fill_null(""))
    contents = pl.col("messages").list.eval(content).list.drop_nulls()
    return pl.when(contents.list.len() > 0).then(contents.list.join(_BETWEEN_TURNS))


def _thoughts(frame: pl.DataFrame) -> pl.Expr:
    """The thoughts of all turns as one text; null where there are none."""
    if not _has(frame, "reasoning_content"):
        return pl.lit(None, pl.String)
    found = pl.col("messages").list.eval(pl.element().struct.field("reasoning_content")).list.drop_nulls()
    return pl.when(found.list.len() > 0).then(found.list.join(_BETWEEN_TURNS))


def _calls(frame: pl.DataFrame) -> pl.Expr:
    """The calls of all turns, each on a line; null where there are none."""
    if not _has(frame, "tool_calls"):
        return pl.lit(None, pl.String)
    calls = pl.col("messages").list.eval(pl.element().struct.field("tool_calls").list.explode()).list.drop_nulls()
    function = pl.element().struct.field("function").struct
    found = calls.list.eval(pl.format("{}({})", function.field("name"), function.field("arguments")))
    return pl.when(found.list.len() > 0).then(found.list.join("\n"))


def _has(frame: pl.DataFrame, part: str) -> bool:
    """Whether turns have a place for a part."""
    kind = frame.schema["messages"]
    turn = kind.inner if isinstance(kind, pl.List) else None
    return isinstance(turn, pl.Struct) and any(item.name == part for item in turn.fields)


def _of_tokens(frame: pl.DataFrame) -> dict[str, pl.Expr]:
    """What scored tokens tell of a row."""
    columns = {}
    if isinstance(frame.schema.get("input_ids"), pl.List) and "tokens" not in frame.columns:
        columns["tokens"] = pl.col("input_ids").list.len()
    if frame.schema.get("logprobs") in (pl.List(pl.Float32), pl.List(pl.Float64)) and "perplexity" not in frame.columns:
        columns["perplexity"] = (-pl.col("logprobs").list.mean().cast(pl.Float64)).exp()
    return columns
