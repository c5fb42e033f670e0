"""The row: one conversation, with where it came from. Its columns are what every command reads and writes.

`score-tokens` adds those of `SCORES`, filters add flat columns, and columns the input had beside these are carried
through.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

Message = dict[str, Any]
"""One turn: `role` (system, user, assistant, tool, …) and `content`, a text, "" where a turn only calls tools.

Parts stand beside these only where a turn has them; none is ever None or empty:

    reasoning_content   the thoughts before the content, without the markers of any template
    tool_calls          [{"type": "function", "function": {"name": …, "arguments": JSON text}}, …], some with `id`
    tool_call_id, name  of a turn of the role `tool`: which call it answers, and which tool that was
"""

_ALWAYS = ("role", "content")
MESSAGES = pa.list_(pa.struct([(name, pa.string()) for name in _ALWAYS]))
"""Conversations of turns without parts."""

_CALL = pa.struct([("name", pa.string()), ("arguments", pa.string())])
_TOOL_CALLS = pa.list_(pa.struct([("id", pa.string()), ("type", pa.string()), ("function", _CALL)]))
PARTED = pa.list_(
    pa.struct(
        [
            ("role", pa.string()),
            ("content", pa.string()),
            ("reasoning_content", pa.string()),
            ("tool_calls", _TOOL_CALLS),
            ("tool_call_id", pa.string()),
            ("name", pa.string()),
        ]
    )
)
"""Conversations of turns with parts. In Arrow, what a turn has not is null; `as_messages` leaves it out."""

UNVERIFIED = "unverified"
"""The verdict on an answer that is taken as it came, where a verifier could have judged it and was not to."""

BASE = pa.schema(
    [
        ("id", pa.string()),  # stable digest of source, method, settings and sample number
        ("messages", MESSAGES),
        ("method", pa.string()),
        ("model", pa.string()),  # who wrote the last answer
        ("parent", pa.string()),  # id of the row it came from
        ("reference", pa.string()),  # the human answer, if any
        ("verifier", pa.string()),
        ("verdict", pa.string()),  # right, wrong or unscorable; `UNVERIFIED`
        ("answer", pa.string()),  # what the verifier extracted
        ("samples", pa.int32()),  # drawn
        ("logprob", pa.float64()),  # sum, nats, of the last answer under the writing model
    ]
)

RENDERING = pa.schema(
    [
        ("tools", pa.string()),  # JSON text of the functions that may be called, as `tools` of a chat template
        ("mode", pa.string()),  # thinking or plain: how the model was asked to answer
        ("template_args", pa.string()),  # JSON text: the variables the chat template is rendered with, but `tools`
        ("drawn", pa.list_(pa.list_(pa.int32()))),  # the tokens of each assistant turn, null where the text gives them
    ]
)
"""Columns that say how a row's conversation is rendered; a data set has those that apply to it."""

ANSWERED = ("mode", "template_args", "drawn")
"""Those that tell of a row's answer, and go when it is answered anew."""

PAIRS = pa.schema(
    [
        ("id", pa.string()),
        ("prompt", MESSAGES),
        ("chosen", MESSAGES),  # a right answer, as the assistant's turn
        ("rejected", MESSAGES),  # a wrong one
        ("model", pa.string()),
        ("parent", pa.string()),
    ]
)
"""Preference pairs, in the conversational form that trainers take for direct preference optimisation (DPO)."""

SCORES = pa.schema(
    [
        ("input_ids", pa.list_(pa.int32())),
        ("labels", pa.list_(pa.int32())),  # the token itself, or `IGNORED`
        ("logprobs", pa.list_(pa.float32())),  # nats, given the tokens before it; null = not scored
        ("scorer", pa.string()),  # model, revision and which tokens were scored
    ]
)
"""What `score-tokens` adds. A token that is scored and whose label is `IGNORED` was masked."""

PREDICTIONS = pa.schema(
    [
        ("entropies", pa.list_(pa.float32())),  # nats, of the distribution that predicts the token; null = not scored
        ("ranks", pa.list_(pa.int32())),  # of the token in it: 1 is the likeliest
    ]
)
"""What `score-tokens --entropy` adds beside `SCORES`."""

IGNORED = -100
"""The label of a token without loss, as every trainer on torch reads it."""

REASON = pa.field("reason", pa.string())
"""Rejected rows have the columns of the accepted ones, and why."""

INDEX = pa.field("synth:index", pa.int64())
"""Of a row, a rejected row or a pair of a shard: which row of the whole run it came from. A joined data set has no such
column."""

FAULT = "synth:fault"
"""Why a row could not be read, null where it could; a column that rows have on their way in, and that is never written.
Such a row has no messages, and every command rejects it with this reason."""


WIDE = 200
"""More columns than this are mostly empty: sets whose rows each bring columns of their own."""


@dataclass(slots=True)
class Row:
    """One conversation on its way to a data set; None where a column does not apply.

    `extra` holds the columns its method adds (JSON values), `passthrough` those that came with the input row. `fault`
    says why it could not be read.
    """

    id: str
    messages: list[Message]
    method: str
    model: str | None = None
    parent: str | None = None
    reference: str | None = None
    verifier: str | None = None
    verdict: str | None = None
    answer: str | None = None
    samples: int | None = None
    logprob: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    passthrough: dict[str, Any] = field(default_factory=dict)
    fault: str | None = None

    def own(self) -> dict[str, Any]:
        """The row without what it carries, as one flat dictionary of JSON values."""
        return {name: getattr(self, name) for name in BASE.names} | self.extra

    def record(self) -> dict[str, Any]:
        """The whole row as one flat dictionary, column by column."""
        return self.own() | self.passthrough


def _is_nothing(value: object) -> bool:
    return value is None or value in ("", [])


def _present(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _present(item) for name, item in value.items() if item is not None}
    return [_present(item) for item in value] if isinstance(value, list) else value


def digest(*parts: object) -> str:
    """A stable 128-bit name (32 hex digits) for JSON-serialisable parts.

    The same parts give the same name on every machine and in every version.
    """
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def pairs_schema(schema: pa.Schema) -> pa.Schema:
    """The columns of preference pairs found by a run whose rows have a schema: with parts and tools if those have."""
    plain = schema.field("messages").type != PARTED if "messages" in schema.names else True
    more = [item for item in (*RENDERING, INDEX) if item.name in schema.names and item.name != "drawn"]
    return pa.schema([*(PAIRS if plain else with_parts(PAIRS)), *more])


def as_messages(turns: Iterable[Mapping[str, Any]] | None) -> list[Message]:
    """Turns as Arrow or JSON gives them, in the types of `PARTED`, without what they do not have."""
    return [
        {name: _present(value) for name, value in turn.items() if name in _ALWAYS or not _is_nothing(value)}
        for turn in turns or ()
    ]


def conversations_of(column: pa.Array) -> list[list[Message] | None]:
    """A column of `MESSAGES` or `PARTED` as conversations in memory."""
    found: list[list[Message] | None] = column.to_pylist()
    if column.type == MESSAGES:
        return found
    return [turns if turns is None else as_messages(turns) for turns in found]


def records_of(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows of a batch as dictionaries, their conversations as in memory, whatever parts their type has."""
    records: list[dict[str, Any]] = batch.to_pylist()
    for name in (item.name for item in batch.schema if _may_lack_parts(item.type)):
        for record in records:
            if record[name] is not None:
                record[name] = as_messages(record[name])
    return records


def _may_lack_parts(kind: pa.DataType) -> bool:
    """Whether a column holds lists of turns that may have more than a role and a content."""
    turn = kind.value_type if pa.types.is_list(kind) or pa.types.is_large_list(kind) else None
    return turn is not None and pa.types.is_struct(turn) and {*_ALWAYS} < {item.name for item in turn}


def has_parts(messages: Iterable[Message]) -> bool:
    """Whether some turn has more than a role and a content, so that its conversation needs `PARTED`."""
    return any(len(turn) > len(_ALWAYS) for turn in messages)


def base(messages: pa.DataType = MESSAGES) -> pa.Schema:
    """`BASE` with conversations of a type."""
    return pa.schema([item.with_type(messages) if item.name == "messages" else item for item in BASE])


def with_parts(schema: pa.Schema) -> pa.Schema:
    """A schema whose conversations are `PARTED`, whatever they were."""
    return pa.schema([item.with_type(PARTED) if item.type == MESSAGES else item for item in schema])


def batch_of(records: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    """Records (`Row.record`, plus `reason` where the schema has it) as one Arrow batch of that schema.

    Lone surrogates, which a model's broken bytes can decode to, are replaced: Arrow strings are valid UTF-8.

    Raises:
        ValueError: a turn has parts, for which the schema has no place: Arrow would drop them without a word.
    """
    for name in (item.name for item in schema if item.type == MESSAGES):
        if any(has_parts(record.get(name) or ()) for record in records):
            raise ValueError(f"{name!r} has turns with parts, and the schema has no place for these")
    try:
        return _batch(records, schema)
    except UnicodeEncodeError:
        clean = json.dumps(list(records), ensure_ascii=False).encode("utf-8", "replace")
        return _batch(json.loads(clean), schema)


def _batch(records: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    if len(schema) <= WIDE:
        return pa.RecordBatch.from_pylist(list(records), schema=schema)
    columns: dict[str, dict[int, Any]] = {}
    for index, record in enumerate(records):  # row by row: column by column, as Arrow goes, takes far longer
        for name, value in record.items():
            if value is not None:
                columns.setdefault(name, {})[index] = value
    arrays = [
        pa.array([there.get(index) for index in range(len(records))], item.type)
        if (there := columns.get(item.name))
        else pa.nulls(len(records), item.type)
        for item in schema
    ]
    return pa.record_batch(arrays, schema=schema)


@dataclass(slots=True)
class Outcome:
    """What became of one row: accepted, or rejected with the reason.

    Attributes:
        row: the row.
        reason: why it was rejected; None where it was accepted.
        more: further accepted rows from the same input.
        pairs: preference pairs found on the way, with the columns of `PAIRS`.
    """

    row: Row
    reason: str | None = None
    more: list[Row] = field(default_factory=list)
    pairs: list[dict[str, Any]] = field(default_factory=list)
