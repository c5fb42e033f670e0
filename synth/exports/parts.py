"""Turns with parts, and what rows are rendered with, in the form that a trainer takes them in.

objects   turns, tools and template arguments as JSON values, so that a trainer sees what a row has and no nulls
          (`datasets`' feature Json; TRL, axolotl)
fields    the columns as they are here: arguments and tools are JSON text
text      turns of role and content alone: thoughts within the content, between <think> and </think>; calls as turns of
          the role function_call, whose content is their JSON (LLaMA-Factory), each as a turn of the role tool_call
          (ms-swift), or not at all (torchtune)
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from synth.data.row import MESSAGES, PARTED, Message, conversations_of

Style = Literal["objects", "fields", "text", "text with calls", "text with each call"]

JSON = pa.json_(pa.string())
OBJECTS = pa.list_(JSON)

CALL_ROLE = "function_call"
"""LLaMA-Factory's role of a turn that is nothing but calls."""

EACH_CALL_ROLE, RESULT_ROLE = "tool_call", "tool_response"
"""ms-swift's roles of a turn that is one call, and of one that is what a tool gave."""

ARGUMENTS = "chat_template_kwargs"
"""What TRL calls a row's template arguments."""


@dataclass(frozen=True, slots=True)
class Losses:
    """What rows hold that a trainer may not take: thoughts or calls in turns, tools, template arguments."""

    parts: bool
    tools: bool
    arguments: bool

    @classmethod
    def of(cls, schema: pa.Schema) -> "Losses":
        """By the columns of rows."""
        kinds = {item.type for item in schema}
        return cls(PARTED in kinds, "tools" in schema.names, "template_args" in schema.names)

    def __bool__(self) -> bool:
        return self.parts or self.tools or self.arguments


def beside(schema: pa.Schema, style: Style) -> list[pa.Field]:
    """The columns that a trainer gets beside conversations."""
    has = Losses.of(schema)
    if style == "objects":
        fields = [("tools", has.tools), (ARGUMENTS, has.arguments)]
        return [pa.field(name, JSON) for name, wanted in fields if wanted]
    fields = [("tools", has.tools and style != "text"), ("template_args", has.arguments and style == "fields")]
    return [pa.field(name, pa.string()) for name, wanted in fields if wanted]


def columns_beside(batch: pa.RecordBatch, fields: list[pa.Field]) -> list[pa.Array]:
    """Those columns of a batch."""
    found = []
    for item in fields:
        text = batch["template_args" if item.name == ARGUMENTS else item.name].to_pylist()
        if item.name == ARGUMENTS:
            text = [value or "{}" for value in text]
        found.append(pa.array(text, pa.string()).cast(item.type))
    return found


def conversation_type(kind: pa.DataType, style: Style) -> pa.DataType:
    """What conversations of a type become."""
    return OBJECTS if style == "objects" else MESSAGES if style.startswith("text") else kind


def converted(style: Style, rows: list[list[Message] | None]) -> list[Any]:
    """Conversations in a style; None for one that it cannot hold."""
    if style == "objects":
        return [None if turns is None else [_as_object(turn) for turn in turns] for turns in rows]
    if style == "fields":
        return list(rows)
    if style == "text with each call":
        return [None if turns is None else in_turns_of_calls(turns) for turns in rows]
    return [None if turns is None else in_text(turns, calls=style == "text with calls") for turns in rows]


def in_text(turns: list[Message], *, calls: bool) -> list[Message] | None:
    """A conversation of roles and contents alone; None where it cannot be one.

    That is where a turn calls tools and `calls` may not be written, where it says something beside its calls, or where
    several results follow one another, which LLaMA-Factory has no place for.
    """
    found: list[Message] = []
    for turn in turns:
        role, content = turn["role"], turn["content"]
        if turn.get("tool_calls"):
            if not calls or content:
                return None
            content = json.dumps([_function(call) for call in turn["tool_calls"]], ensure_ascii=False)
            role = CALL_ROLE
        if role == "tool" and (not calls or (found and found[-1]["role"] == "tool")):
            return None
        found.append({"role": role, "content": _with_thoughts(turn, content)})
    return found


def in_turns_of_calls(turns: list[Message]) -> list[Message]:
    """A conversation of roles and contents alone: what is thought and said before calls, then a turn for each call."""
    found: list[Message] = []
    for turn in turns:
        content, calls = _with_thoughts(turn, turn["content"]), turn.get("tool_calls", ())
        if content or not calls:
            found.append({"role": RESULT_ROLE if turn["role"] == "tool" else turn["role"], "content": content})
        texts = (json.dumps(_function(call), ensure_ascii=False) for call in calls)
        found += [{"role": EACH_CALL_ROLE, "content": text} for text in texts]
    return found


def _with_thoughts(turn: Message, content: str) -> str:
    """A turn's thoughts and a content as one text."""
    thoughts = turn.get("reasoning_content")
    return f"<think>\n{thoughts}\n</think>\n\n{content}" if thoughts else content


def in_style(
    style: Style, schema: pa.Schema, make: Callable[[list[Message]], Mapping[str, Any] | None], result: pa.Schema
) -> tuple[pa.Schema, Callable[[pa.RecordBatch], pa.RecordBatch]]:
    """The schema and the conversion of a format whose rows are made of conversations one by one.

    Args:
        style: of the trainer.
        schema: of the rows as they come.
        make: makes a row's columns of its conversation; None where it cannot.
        result: the columns that `make` gives.
    """
    kind = schema.field("messages").type
    fields = [item.with_type(conversation_type(kind, style)) if item.type == MESSAGES else item for item in result]
    more = beside(schema, style)
    whole = pa.schema([*fields, *more])

    def convert(batch: pa.RecordBatch) -> pa.RecordBatch:
        made = [make(turns) if turns else None for turns in converted(style, conversations_of(batch["messages"]))]
        kept = pa.array([row is not None for row in made])
        columns = [_array([row[item.name] for row in made if row is not None], item.type) for item in fields]
        others = [column.filter(kept) for column in columns_beside(batch, more)]
        return pa.record_batch([*columns, *others], schema=whole)

    return whole, convert


def in_style_of_pairs(
    style: Style, schema: pa.Schema, names: Sequence[str]
) -> tuple[pa.Schema, Callable[[pa.RecordBatch], pa.RecordBatch]]:
    """The same for preference pairs; `names` are what prompt and sides are called."""
    kind = conversation_type(schema.field("messages").type, style)
    more = beside(schema, style)
    whole = pa.schema([*((name, kind) for name in names), *more])

    def convert(batch: pa.RecordBatch) -> pa.RecordBatch:
        columns = [converted(style, conversations_of(batch[name])) for name in ("messages", "chosen", "rejected")]
        kept = [all(sides) for sides in zip(*columns, strict=True)]
        made = [_array([turns for turns, stays in zip(column, kept, strict=True) if stays], kind) for column in columns]
        others = [column.filter(pa.array(kept)) for column in columns_beside(batch, more)]
        return pa.record_batch([*made, *others], schema=whole)

    return whole, convert


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Values of a type; turns are JSON text where they are objects."""
    if kind != OBJECTS:
        return pa.array(values, kind)
    texts = [turns and [json.dumps(turn, ensure_ascii=False) for turn in turns] for turns in values]
    return pa.array(texts, pa.list_(pa.string())).cast(OBJECTS)


def _function(call: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": call["function"]["name"], "arguments": json.loads(call["function"]["arguments"])}


def _as_object(turn: Message) -> Message:
    """A turn whose calls pass objects, as chat templates want them."""
    if "tool_calls" not in turn:
        return turn
    return turn | {"tool_calls": [call | {"function": _function(call)} for call in turn["tool_calls"]]}
