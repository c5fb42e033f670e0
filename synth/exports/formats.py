"""The formats that trainers take rows in: tokens with labels, messages, prompt and completion, and related ones.

tokens              input_ids, labels, and attention_mask where the trainer wants it: masks are kept
messages            list of {role, content}, and of the parts that turns have (`synth.exports.parts`)
prompt-completion   two lists of messages: what precedes the last assistant turn, and that turn (TRL)
preference          prompt, chosen, rejected: lists of messages (TRL's conversational preference data)
sharegpt            conversations: list of {from, value}; thoughts are text within, calls are turns of function_call
alpaca              instruction, input, output, system, history (LLaMA-Factory's names); thoughts are text within
tasks, prompts, demonstrations, verl, openrlhf   what is asked, without the answer (`synth.exports.tasks`)
module:function     a function of the user's, from a batch of rows to the batch, or the list of dictionaries, to write
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pyarrow import compute

from filters.names import OWN, ImportPathError, function_at, is_import_path, near_or_all
from synth.data.columns import cast_to, lists_of
from synth.data.pairs import has_pairs
from synth.data.read import Rows
from synth.data.row import MESSAGES, PAIRS, SCORES, Message
from synth.errors import UsageError
from synth.exports.parts import Losses, Style, in_style, in_style_of_pairs
from synth.exports.tasks import KINDS, Kind, TaskReader, as_demonstrations, as_openrlhf, as_prompts, as_verl

SHAREGPT_ROLES = {"user": "human", "assistant": "gpt", "tool": "observation"}

Of = Literal["turns", "tokens", "pairs"] | Kind
"""What the rows of a format are made of: conversations, tokens with labels, two answers to one prompt, or tasks."""

NEEDS: dict[Of, tuple[str, ...]] = {
    "turns": ("messages",),
    "tokens": ("input_ids", "labels"),
    "pairs": ("chosen", "rejected"),
    "tasks": ("messages",),
    "prompts": ("messages",),
    "demonstrations": ("messages",),
}
"""The columns that rows are made of."""

ORIGINS: dict[Of, str] = {
    **dict.fromkeys(("turns", *KINDS), "give a data set of conversations"),
    "tokens": "`synth score-tokens` makes them",
    "pairs": "`synth self-output --pairs` leaves such rows in DIR/pairs",
}
"""How to get these columns, for messages."""

Make = Callable[[list[Message]], dict[str, Any] | None]
"""What makes a row's columns of a conversation; None where they cannot hold it."""

Convert = Callable[[pa.RecordBatch], pa.RecordBatch]
"""What makes the rows of a format of a batch of ours."""

OwnFormat = Callable[[pa.RecordBatch], pa.RecordBatch | Sequence[Mapping[str, Any]]]
"""A user's format: from a batch of rows (`messages`, `reference`, and the columns of the set) to what is written."""


@dataclass(frozen=True, slots=True)
class Format:
    """A format of rows, made from batches of ours.

    Attributes:
        name: as it is written in commands.
        schema: of the rows that are made; None where it is taken from the first of them.
        takes: what it needs of a row, for messages.
        convert: makes its rows of a batch; one for each row of the batch that it can hold.
        of: what its rows are made of.
        make: makes a row of one conversation, where that is all it is made of.
        style: how it holds parts of turns, where it holds nothing but text, whoever takes it.
    """

    name: str
    schema: pa.Schema | None
    takes: str
    convert: Convert
    of: Of = "turns"
    make: Make | None = None
    style: Style | None = None


ATTENTION = pa.field("attention_mask", pa.list_(pa.int8()))


@dataclass(slots=True)
class Exported:
    """Rows in one format. Reading them fills in the counts.

    Attributes:
        format: the format.
        schema: of the batches.
        source: the rows as they came.
        attention: whether tokens come with an attention mask.
        left_out: rows that can be read but that the format cannot hold.
        longest: tokens of the longest row, where the format is one of tokens.
        masked: scored tokens without loss, likewise.
        scorer: what scored the first row, likewise.
        tasks: what made tasks of the rows, where the format is of these.
    """

    format: Format
    schema: pa.Schema
    source: Rows
    attention: bool
    left_out: int = 0
    longest: int = 0
    masked: int = 0
    scorer: str | None = None
    tasks: TaskReader | None = None

    @property
    def form(self) -> str:
        """The name of the format."""
        return self.format.name

    def batches(self, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """The rows, or the first `limit` of them.

        Raises:
            UsageError: as for `Rows.readable`; or there are rows, and the format can hold none.
        """
        made = 0
        for batch in self.source.readable(limit):
            converted = (
                self._tokens(batch) if self.format.of == "tokens" else _conformed(self.format, batch, self.schema)
            )
            self.left_out += batch.num_rows - converted.num_rows
            made += converted.num_rows
            yield converted
        if self.left_out and not made:
            why = f": {self.tasks.told()}" if self.tasks else f", which takes {self.format.takes}"
            raise UsageError(
                f"{self.source.source}: none of its {self.left_out:,} rows can be written as {self.form}{why}"
            )

    def _tokens(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        kept = self.format.convert(batch)
        ids, labels = kept["input_ids"], kept["labels"]
        sizes = compute.list_value_length(ids).to_numpy(zero_copy_only=False)
        self.longest = max(self.longest, int(sizes.max(initial=0)))
        if "logprobs" in kept.schema.names and lists_of(kept.schema.field("logprobs").type, pa.types.is_floating):
            scored, unlearnt = kept["logprobs"].flatten().is_valid(), compute.equal(labels.flatten(), -100)
            if len(scored) == len(unlearnt):
                self.masked += compute.sum(compute.and_(scored, unlearnt)).as_py() or 0
        if self.scorer is None and "scorer" in kept.schema.names and kept.num_rows:
            self.scorer = kept["scorer"][0].as_py()
        columns = [ids, labels]
        if self.attention:
            offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
            ones = pa.array(np.ones(offsets[-1], np.int8))
            columns.insert(1, pa.ListArray.from_arrays(pa.array(offsets), ones))
        return pa.record_batch(
            [column.cast(item.type) for column, item in zip(columns, self.schema, strict=True)], schema=self.schema
        )


def form_of(schema: pa.Schema) -> str:
    """The default format of rows with a schema."""
    names = set(schema.names)
    if names >= {"input_ids", "labels"}:
        return "tokens"
    return "preference" if has_pairs(schema) else "messages"


def format_of(form: str | OwnFormat) -> Format:
    """A format by its name in `FORMATS`, or a user's function, perhaps by `module:function`.

    Raises:
        UsageError: there is none.
    """
    if not isinstance(form, str):
        return _own(getattr(form, "__name__", type(form).__name__), form)
    if form in FORMATS:
        return FORMATS[form]
    if not is_import_path(form):
        raise UsageError(f"`form` {form}: no such format{near_or_all(form, [*FORMATS, OWN])}")
    try:
        return _own(form, function_at(form))
    except ImportPathError as error:
        raise UsageError(f"`form` {error}") from error


def in_format(
    rows: Rows,
    format: Format,
    *,
    attention: bool = False,
    style: Style = "fields",
    tasks: TaskReader | None = None,
) -> Exported:
    """Bring rows to a format.

    Args:
        rows: with the columns of ours; for a format of pairs, as `synth.data.pairs.pairs` gives them.
        format: the format.
        attention: add an attention mask to tokens.
        style: how parts of turns are written, where there are any.
        tasks: makes tasks of the rows, where the format is of these.

    Raises:
        UsageError: the rows lack what the format is made of, or a user's function failed on the first of them.
    """
    if missing := [name for name in NEEDS[format.of] if name not in rows.schema.names]:
        raise UsageError(f"{rows.source} has no {' and '.join(missing)}: {ORIGINS[format.of]}")
    if format.of == "tokens":
        for name in NEEDS[format.of]:
            if not lists_of(kind := rows.schema.field(name).type, pa.types.is_integer):
                raise UsageError(f"column {name} of {rows.source} is {kind}; it must hold lists of whole numbers")
    if Losses.of(rows.schema):
        format = _with_parts(format, rows.schema, style)
    schema = format.schema
    if tasks is not None:
        format = replace(format, convert=_after(tasks, format.convert))
        schema = format.convert(pa.RecordBatch.from_pylist([], schema=rows.schema)).schema
    elif schema is None:
        made = (format.convert(batch) for batch in rows.readable() if batch.num_rows)
        schema = next((batch.schema for batch in made if batch.num_rows), pa.schema([]))
    elif attention and format.of == "tokens":
        schema = pa.schema([schema[0], ATTENTION, schema[1]])
    return Exported(format, schema, rows, attention, tasks=tasks)


def _after(tasks: TaskReader, convert: Convert) -> Convert:
    return lambda batch: convert(tasks.tasks(batch))


def _conformed(format: Format, batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A batch in a format, with the columns and types that its first batch had."""
    made = format.convert(batch)
    if made.schema.equals(schema):
        return made
    if not made.num_rows:
        return pa.RecordBatch.from_pylist([], schema=schema)
    try:
        return pa.record_batch([cast_to(made[item.name], item.type) for item in schema], schema=schema)
    except (KeyError, pa.ArrowException) as error:
        raise UsageError(f"`form` {format.name}: later rows are of other columns than the first: {error}") from error


def _own(name: str, function: OwnFormat) -> Format:
    def convert(batch: pa.RecordBatch) -> pa.RecordBatch:
        try:
            made = function(batch)
            return made if isinstance(made, pa.RecordBatch) else pa.RecordBatch.from_pylist(list(made))
        except Exception as error:  # a user's code may raise anything
            raise UsageError(f"`form` {name} failed: {type(error).__name__}: {error}") from error

    return Format(name, None, "what your function takes", convert)


def _with_parts(format: Format, schema: pa.Schema, style: Style) -> Format:
    """A format for rows of a schema whose turns have parts, or that say how they are rendered."""
    style = format.style or style
    if format.make is not None and format.schema is not None:
        made, convert = in_style(style, schema, format.make, format.schema)
    elif format.of == "pairs":
        made, convert = in_style_of_pairs(style, schema, _PREFERENCE.names)
    else:
        return format
    takes = f"{format.takes}, all of them text" if style.startswith("text") else format.takes
    return replace(format, schema=made, convert=convert, takes=takes)


def _of_messages(name: str, schema: pa.Schema, takes: str, make: Make, style: Style | None = None) -> Format:
    """A format whose rows are made of conversations one by one; None where one cannot be."""

    def convert(batch: pa.RecordBatch) -> pa.RecordBatch:
        rows = [make(messages) if messages else None for messages in batch["messages"].to_pylist()]
        return pa.RecordBatch.from_pylist([row for row in rows if row is not None], schema=schema)

    return Format(name, schema, takes, convert, make=make, style=style)


def _tokens(batch: pa.RecordBatch) -> pa.RecordBatch:
    lengths = [compute.list_value_length(batch[name]) for name in ("input_ids", "labels")]
    return batch.filter(compute.fill_null(compute.equal(*lengths), False))


def _preference(batch: pa.RecordBatch) -> pa.RecordBatch:
    sides = [batch[name] for name in ("messages", "chosen", "rejected")]
    whole = np.all([compute.list_value_length(side).to_numpy() > 0 for side in sides], axis=0)
    return pa.record_batch(sides, schema=_PREFERENCE).filter(pa.array(whole))


def _messages(messages: list[Message]) -> dict[str, Any] | None:
    return {"messages": messages}


def _prompt_completion(messages: list[Message]) -> dict[str, Any] | None:
    if len(messages) < 2 or messages[-1]["role"] != "assistant":
        return None
    return {"prompt": messages[:-1], "completion": messages[-1:]}


def _sharegpt(messages: list[Message]) -> dict[str, Any] | None:
    turns = [{"from": SHAREGPT_ROLES.get(turn["role"], turn["role"]), "value": turn["content"]} for turn in messages]
    return {"conversations": turns}


def _alpaca(messages: list[Message]) -> dict[str, Any] | None:
    system = messages[0]["content"] if messages[0]["role"] == "system" else ""
    turns = messages[1:] if messages[0]["role"] == "system" else messages
    if not turns or [turn["role"] for turn in turns] != ["user", "assistant"] * (len(turns) // 2):
        return None
    pairs = [[turns[at]["content"], turns[at + 1]["content"]] for at in range(0, len(turns), 2)]
    return {"instruction": pairs[-1][0], "input": "", "output": pairs[-1][1], "system": system, "history": pairs[:-1]}


_PREFERENCE = pa.schema([PAIRS.field(name) for name in ("prompt", "chosen", "rejected")])
_SHAREGPT = pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())]))
_ALPACA = [
    *((name, pa.string()) for name in ("instruction", "input", "output", "system")),
    ("history", pa.list_(pa.list_(pa.string()))),
]

_FORMATS = (
    Format(
        "tokens",
        pa.schema([SCORES.field("input_ids"), SCORES.field("labels")]),
        "as many labels as tokens",
        _tokens,
        of="tokens",
    ),
    _of_messages("messages", pa.schema([("messages", MESSAGES)]), "turns", _messages),
    _of_messages(
        "prompt-completion",
        pa.schema([("prompt", MESSAGES), ("completion", MESSAGES)]),
        "turns that end in the assistant's",
        _prompt_completion,
    ),
    Format(
        "preference",
        _PREFERENCE,
        "what was asked, in turns or a column of its own, and two answers",
        _preference,
        of="pairs",
    ),
    _of_messages("sharegpt", pa.schema([("conversations", _SHAREGPT)]), "turns", _sharegpt, "text with calls"),
    _of_messages("alpaca", pa.schema(_ALPACA), "alternating questions and answers", _alpaca, "text"),
    Format("tasks", None, "tasks", lambda tasks: tasks, of="tasks"),
    Format("prompts", None, "tasks", as_prompts, of="prompts"),
    Format("demonstrations", None, "tasks with human answers", as_demonstrations, of="demonstrations"),
    Format("verl", None, "tasks", as_verl, of="tasks"),
    Format("openrlhf", None, "tasks", as_openrlhf, of="tasks"),
)
FORMATS = {format.name: format for format in _FORMATS}
"""The formats that are known by name."""
