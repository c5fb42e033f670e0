"""Curation: filters in the order given, each seeing only the rows that those before it left.

A filter is a function from a frame to a series of reasons, null where a row passes; see `frame_of` for its columns.
Choosing rows (the best 1,000, one of each cluster) is a filter like any other: it gives a reason to those not chosen.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import polars as pl
import pyarrow as pa

from synth.data.plain import TEXT, has_texts
from synth.data.prompts import PromptSet
from synth.data.row import REASON
from synth.data.schema.names import free_name
from synth.errors import UsageError

Filter = Callable[[pl.DataFrame], pl.Series]

TEXTS = ("prompt", "answer", "text", "system", "thoughts", "calls")
"""Columns of text that every frame has."""

REASON_LENGTH = 400
"""Characters of a reason that are kept: a filter of a user's may quote a whole row."""

_OURS = (*TEXTS, "row", "roles")
_BETWEEN_TURNS = "\n\n"


@dataclass(frozen=True, slots=True)
class OpenStep:
    """One filter, ready to run.

    Attributes:
        text: as given, `length:min=20`.
        name: what its reasons begin with.
        find: gives the reasons.
        keeps: whether it says which rows to keep, not which to remove.
    """

    text: str
    name: str
    find: Filter
    keeps: bool = False


@dataclass(frozen=True, slots=True)
class Removal:
    """The rows that one step removed.

    Attributes:
        step: the step.
        seen: rows that were left for it.
        rows: indices of the rows that it removed, in order.
        reasons: why, row by row, without the step's name.
    """

    step: OpenStep
    seen: int
    rows: list[int]
    reasons: list[str]

    @property
    def categories(self) -> Counter[str]:
        """The number of rows in each category of reasons: the part before the colon."""
        return Counter(reason.split(":", 1)[0] for reason in self.reasons)


@dataclass(frozen=True, slots=True)
class Curation:
    """What became of every row.

    Attributes:
        reasons: of every row, null where it stays: `filter / category: particulars`.
        removals: what each step did, in order.
    """

    reasons: list[str | None]
    removals: list[Removal] = field(default_factory=list)


def schema_of(prompts: PromptSet) -> pa.Schema:
    """The columns of the output: those of the input. One named `reason` is renamed `input_reason`."""
    whole = prompts.schema(pa.schema([REASON]))
    return whole.remove(whole.get_field_index(REASON.name))


def frame_of(prompts: PromptSet) -> pl.DataFrame:
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
    batches = [completed for _, completed in prompts.completed(pa.schema([REASON]))]
    frame = pl.DataFrame(pa.Table.from_batches(batches, schema=schema_of(prompts)))
    renamed = _renamed(frame.columns)
    frame = frame.rename(renamed)
    plain = _plain(renamed[TEXT]) if has_texts(prompts.source.schema) else pl.lit(None, pl.String)
    frame = frame.with_columns(
        _turns("user").alias("prompt"),
        pl.coalesce(_turns("assistant"), plain, "reference").alias("answer"),
        _turns("system", "developer").alias("system"),
        _thoughts(frame).alias("thoughts"),
        _calls(frame).alias("calls"),
        pl.col("messages").list.eval(pl.element().struct.field("role")).alias("roles"),
        pl.int_range(pl.len()).alias("row"),
    )
    said = _turns("system", "developer", others=True)
    unsaid = pl.when(_turns("assistant").is_null()).then(pl.col("reference"))
    whole = pl.concat_str(said, unsaid, separator=_BETWEEN_TURNS, ignore_nulls=True)
    frame = frame.with_columns(pl.coalesce(plain, whole).alias("text"))
    return frame.with_columns(**_of_tokens(frame))


def columns_of(prompts: PromptSet) -> list[str]:
    """The names of the columns that `frame_of` gives, without reading a row."""
    nothing = PromptSet(prompts.source, 0, prompts.fingerprint, limit=0)
    return frame_of(nothing).columns


def curate(
    frame: pl.DataFrame, steps: Sequence[OpenStep], faults: Mapping[int, str] = MappingProxyType({})
) -> Curation:
    """Run the steps one after another. Rows that cannot be read (`faults`, by their index) come before no filter.

    Raises:
        UsageError: a filter failed, or gave something else than a reason for each row.
    """
    curation = Curation([faults.get(row) for row in range(len(frame))])
    left = frame.filter(~pl.col("row").is_in(list(faults))) if faults else frame
    for step in steps:
        reasons = _reasons(step, left)
        removed = reasons.is_not_null()
        removal = Removal(step, len(left), left["row"].filter(removed).to_list(), reasons.filter(removed).to_list())
        for row, reason in zip(removal.rows, removal.reasons, strict=True):
            same = reason.split(":", 1)[0] == step.name.replace("-", " ")
            curation.reasons[row] = reason if same else f"{step.name} / {reason}"
        curation.removals.append(removal)
        left = left.filter(~removed)
    return curation


def curated(
    prompts: PromptSet, reasons: Sequence[str | None], start: int = 0
) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
    """The rows from index `start` on: those that stay, and those that do not with their `reason`, batch by batch."""
    for _, batch in prompts.completed(pa.schema([REASON]), start):
        said = pa.array(reasons[start : start + batch.num_rows], pa.string())
        start += batch.num_rows
        gone = said.is_valid()
        rejected = pa.record_batch([*batch.columns, said], schema=batch.schema.append(REASON)).filter(gone)
        yield batch.filter(said.is_null()), rejected


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


def _reasons(step: OpenStep, frame: pl.DataFrame) -> pl.Series:
    """A step's reasons: one line each, of bounded length."""
    if not len(frame):
        return pl.Series("reason", [], pl.String)
    try:
        reasons = step.find(frame)
    except (ValueError, pl.exceptions.PolarsError) as error:
        first = str(error).partition("\n")[0]  # the rest of polars' message is the whole expression
        raise UsageError(f"{step.text}: {first}") from error
    if not isinstance(reasons, pl.Series) or len(reasons) != len(frame) or reasons.dtype not in (pl.String, pl.Null):
        raise UsageError(
            f"{step.text}: it gave {_described(reasons)}, not a reason or null for each of {len(frame)} rows"
        )
    lines = reasons.cast(pl.String).str.replace_all(r"\s+", " ").str.strip_chars().str.head(REASON_LENGTH)
    return lines.replace("", "no reason given").alias("reason")


def _described(given: object) -> str:
    if isinstance(given, pl.Series):
        return f"{len(given)} values of type {given.dtype}"
    return re.sub(r"\s+", " ", f"{type(given).__name__} {given!r:.80}")
