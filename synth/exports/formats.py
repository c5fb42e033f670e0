"""The forms that trainers take rows in: tokens with labels, messages, prompt and completion, and their kin.

tokens              input_ids, labels, and attention_mask where the trainer wants it: masks are kept
messages            list of {role, content}
prompt-completion   two lists of messages: what precedes the last assistant turn, and that turn (TRL)
preference          prompt, chosen, rejected: lists of messages (TRL's conversational preference data)
sharegpt            conversations: list of {from, value}
alpaca              instruction, input, output, system, history (LLaMA-Factory's names)
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute

from synth.data.pairs import has_pairs
from synth.data.read import Rows
from synth.data.row import MESSAGES, PAIRS, SCORES, Message
from synth.errors import UsageError

SHAREGPT_ROLES = {"user": "human", "assistant": "gpt", "tool": "observation"}

SCHEMAS = {
    "tokens": pa.schema([SCORES.field("input_ids"), SCORES.field("labels")]),
    "messages": pa.schema([("messages", MESSAGES)]),
    "prompt-completion": pa.schema([("prompt", MESSAGES), ("completion", MESSAGES)]),
    "preference": pa.schema([PAIRS.field(name) for name in ("prompt", "chosen", "rejected")]),
    "sharegpt": pa.schema([("conversations", pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())])))]),
    "alpaca": pa.schema(
        [
            *((name, pa.string()) for name in ("instruction", "input", "output", "system")),
            ("history", pa.list_(pa.list_(pa.string()))),
        ]
    ),
}

_TAKES = {
    "tokens": "as many labels as tokens",
    "messages": "turns",
    "prompt-completion": "turns that end in the assistant's",
    "preference": "what was asked, in turns or a column of its own, and two answers",
    "sharegpt": "turns",
    "alpaca": "questions and answers in turn",
}
"""What of a row each form needs."""

ATTENTION = pa.field("attention_mask", pa.list_(pa.int8()))


@dataclass(slots=True)
class Exported:
    """Rows in one form. Reading them fills in the counts.

    Attributes:
        form: its name.
        schema: of the batches.
        source: the rows as they came.
        attention: whether `tokens` come with an attention mask.
        left_out: rows that can be read but that the form cannot hold.
        longest: tokens of the longest row, where the form is `tokens`.
        masked: scored tokens without loss, likewise.
        scorer: what scored the first row, likewise.
    """

    form: str
    schema: pa.Schema
    source: Rows
    attention: bool
    left_out: int = 0
    longest: int = 0
    masked: int = 0
    scorer: str | None = None

    def batches(self, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """The rows, or the first `limit` of them.

        Raises:
            UsageError: as for `Rows.readable`; or there are rows, and the form can hold none.
        """
        made = 0
        for batch in self.source.readable(limit):
            formed = self._tokens(batch) if self.form == "tokens" else self._made(batch)
            self.left_out += batch.num_rows - formed.num_rows
            made += formed.num_rows
            yield formed
        if self.left_out and not made:
            raise UsageError(
                f"{self.source.source}: none of its {self.left_out:,} rows can be written as {self.form}, which takes "
                f"{_TAKES[self.form]}"
            )

    def _tokens(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        lengths = [compute.list_value_length(batch[name]) for name in ("input_ids", "labels")]
        kept = batch.filter(compute.fill_null(compute.equal(*lengths), False))
        ids, labels = kept["input_ids"], kept["labels"]
        sizes = compute.list_value_length(ids).to_numpy(zero_copy_only=False)
        self.longest = max(self.longest, int(sizes.max(initial=0)))
        if "logprobs" in kept.schema.names and _of_numbers(kept.schema.field("logprobs").type, pa.types.is_floating):
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

    def _made(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        if self.form == "preference":
            sides = [batch[name] for name in ("messages", "chosen", "rejected")]
            whole = np.all([compute.list_value_length(side).to_numpy() > 0 for side in sides], axis=0)
            return pa.record_batch(sides, schema=self.schema).filter(pa.array(whole))
        make = _MAKERS[self.form]
        rows = [make(messages) if messages else None for messages in batch["messages"].to_pylist()]
        return pa.RecordBatch.from_pylist([row for row in rows if row is not None], schema=self.schema)


def form_of(schema: pa.Schema) -> str:
    """The form that rows of a schema are in by themselves."""
    names = set(schema.names)
    if names >= {"input_ids", "labels"}:
        return "tokens"
    return "preference" if has_pairs(schema) else "messages"


def formed(rows: Rows, form: str, *, attention: bool = False) -> Exported:
    """Bring rows to a form.

    Args:
        rows: with the columns of ours; for `preference`, as `synth.data.pairs.pairs` gives them.
        form: one of `SCHEMAS`.
        attention: add an attention mask to `tokens`.

    Raises:
        UsageError: the rows lack what the form is made of.
    """
    needed = {"tokens": ("input_ids", "labels"), "preference": ("chosen", "rejected")}.get(form, ("messages",))
    if missing := [name for name in needed if name not in rows.schema.names]:
        how = {
            "tokens": "`synth score-tokens` makes them",
            "preference": "`synth self-output --pairs` leaves such rows in DIR/pairs",
        }.get(form, "give a data set of conversations")
        raise UsageError(f"{rows.source} has no {' and '.join(missing)}: {how}")
    if form == "tokens":
        for name in needed:
            if not _of_numbers(kind := rows.schema.field(name).type, pa.types.is_integer):
                raise UsageError(f"column {name} of {rows.source} is {kind}; it must hold lists of whole numbers")
    schema = SCHEMAS[form]
    if attention and form == "tokens":
        schema = pa.schema([schema[0], ATTENTION, schema[1]])
    return Exported(form, schema, rows, attention)


def _of_numbers(kind: pa.DataType, are: Callable[[pa.DataType], bool]) -> bool:
    return bool((pa.types.is_list(kind) or pa.types.is_large_list(kind)) and are(kind.value_type))


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


_MAKERS: dict[str, Callable[[list[Message]], dict[str, Any] | None]] = {
    "messages": _messages,
    "prompt-completion": _prompt_completion,
    "sharegpt": _sharegpt,
    "alpaca": _alpaca,
}
