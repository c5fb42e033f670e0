"""Builds a conversation from columns: the system prompt, earlier turns, the prompt and the answer.

Whole columns are processed at once: each part gives some turns per row, and these are merged in row order.
"""

import json
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute

from filters.response.calls import with_calls
from synth.data.row import MESSAGES, PARTED, as_messages
from synth.data.schema.as_text import written
from synth.data.schema.dialogues import is_cue
from synth.data.schema.turn_columns import Turns, is_settled, joined, turns_of_column, turns_of_values, with_nulls
from synth.data.schema.turns import is_conversation


@dataclass(frozen=True, slots=True)
class TurnColumn:
    """Some of a conversation's turns, from one column.

    Attributes:
        column: its name.
        kind: it holds the text of a turn of `role`; conversations; texts some of which are conversations; or calls of
            tools as JSON.
        role: of its text.
        context: the column that goes on with the text.
    """

    column: str
    kind: Literal["text", "turns", "either", "calls"]
    role: str = "user"
    context: str | None = None


@dataclass(frozen=True, slots=True)
class ConversationColumns:
    """What a conversation is made of, in the order of the turns. A row without `main` has no conversation.

    `thoughts` is the column of what is thought before the answer. `may_think` says whether an answer itself may begin
    with thoughts.
    """

    system: str | None
    history: str | None
    main: TurnColumn
    answer: TurnColumn | None
    thoughts: str | None = None
    may_think: bool = True

    def columns(self) -> list[str]:
        """The names of all columns."""
        named = [part and name for part in (self.main, self.answer) if part for name in (part.column, part.context)]
        return [name for name in (self.system, self.history, *named, self.thoughts) if name]


def messages_of(
    batch: pa.RecordBatch, parts: ConversationColumns, notes: list[str], faults: dict[int, str]
) -> pa.ListArray:
    """The parts of each row in one list; null where the main part is missing or empty. Adds to `faults`.

    The type is `MESSAGES`, or `PARTED` where that of the column is or some turn has parts.
    """
    column = batch.column(parts.main.column)
    if parts.columns() == [parts.main.column] and is_settled(column, may_think=parts.may_think):
        return column
    main = _turns(batch, parts.main, notes, may_think=parts.may_think)
    present = main.count > 0
    found = [main]
    if parts.history is not None:
        pairs = [_of_pairs(value) for value in batch.column(parts.history).to_pylist()]
        found.insert(0, _where(turns_of_values(pairs, notes, parts.history), present))
    if parts.system is not None:
        system = compute.replace_substring_regex(batch.column(parts.system).cast(pa.string()), r"\ASYSTEM: *", "")
        found.insert(0, _system(_said(system, "system"), main, faults))  # Glaive names the speaker here, too
    if parts.answer is not None:
        answers = _turns(batch, parts.answer, notes, may_think=parts.may_think)
        if parts.thoughts is not None:
            answers = _thought(answers, batch.column(parts.thoughts), faults)
        found.append(_where(answers, present))
    for turns in found:
        faults |= turns.faults
    total = np.sum([turns.count for turns in found], axis=0)
    values = found[0].values
    if len(found) > 1:
        row = np.concatenate([np.repeat(np.arange(len(total)), turns.count) for turns in found])
        values = joined([turns.values for turns in found]).take(pa.array(np.argsort(row, kind="stable")))
    offsets = np.concatenate([[0], np.cumsum(total)]).astype(np.int32)
    kind = PARTED if values.type == PARTED.value_type else MESSAGES
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=pa.array(total == 0)).cast(kind)


def last_answer(messages: pa.ListArray) -> pa.StringArray:
    """What each conversation's last turn says where that is the assistant's and not empty, else null.

    Of a turn that calls tools it is the text of the calls, which verifiers are given of answers that call some, too.
    """
    lengths = compute.fill_null(compute.list_value_length(messages), 0).to_numpy(zero_copy_only=False)
    turns = messages.flatten()
    last = turns.take(pa.array(np.cumsum(lengths) - 1, mask=lengths == 0))
    text = compute.struct_field(last, "content")
    is_answer = compute.equal(compute.struct_field(last, "role"), "assistant")
    said = compute.if_else(compute.and_(is_answer, _filled(text)), text, None)
    if last.type.get_field_index("tool_calls") < 0:
        return said
    calls = compute.struct_field(last, "tool_calls")
    calling = compute.and_(is_answer, compute.greater(compute.fill_null(compute.list_value_length(calls), 0), 0))
    if not compute.any(calling).as_py():
        return said
    texts: list[str | None] = said.to_pylist()
    for row in np.flatnonzero(compute.fill_null(calling, False).to_numpy(zero_copy_only=False)):
        [turn] = as_messages([last[int(row)].as_py()])
        texts[int(row)] = with_calls(turn["content"] or "", turn["tool_calls"])
    return pa.array(texts, pa.string())


def _turns(batch: pa.RecordBatch, part: TurnColumn, notes: list[str], *, may_think: bool) -> Turns:
    """The turns that a part adds to each row."""
    column = batch.column(part.column)
    if part.kind == "turns":
        return turns_of_column(column, notes, part.column, may_think=may_think)
    if part.kind in ("either", "calls"):
        told = [
            text
            if part.kind == "either" and (is_conversation(text) or (part.role == "user" and is_cue(text)))
            else [{"role": part.role, "content": text}]
            if text and text.strip()
            else []
            for text in column.to_pylist()
        ]
        return turns_of_values(told, notes, part.column)
    text, faults = written(column, part.column)
    if part.context is not None:
        context = batch.column(part.context).cast(pa.string())
        joined = compute.binary_join_element_wise(text, context, "\n\n")
        text = compute.if_else(compute.and_(_filled(text), _filled(context)), joined, text)
    said = replace(_said(text, part.role), faults=faults)
    if part.role != "assistant" or not may_think:
        return said
    offsets = pa.array(np.concatenate([[0], np.cumsum(said.count)]).astype(np.int32))
    turns = turns_of_column(pa.ListArray.from_arrays(offsets, said.values), notes, part.column)
    return replace(turns, faults=faults | turns.faults)


def _thought(answers: Turns, column: pa.Array, faults: dict[int, str]) -> Turns:
    """Answers with the thoughts of a column beside them. Adds to `faults`."""
    texts = [(text or "").strip() or None for text in column.cast(pa.string()).to_pylist()]
    rows = np.repeat(np.arange(len(texts)), answers.count)
    turns = with_nulls(answers.values)
    at = turns.type.get_field_index("reasoning_content")
    own: list[str | None] = turns.field(at).to_pylist()
    for place, row in enumerate(rows):
        if own[place] and texts[row] and own[place] != texts[row]:
            faults[int(row)] = "thoughts: the column and the answer say different things"
        own[place] = own[place] or texts[row]
    if not any(own):
        return answers
    parts = turns.flatten()
    parts[at] = pa.array(own, pa.string())
    return replace(answers, values=pa.StructArray.from_arrays(parts, fields=list(turns.type)))


def _said(text: pa.Array, role: str) -> Turns:
    """A turn of a role for each text with more than white space."""
    text = text.cast(pa.string())
    keep = _filled(text)
    content = text.filter(keep)
    roles = pa.array([role]).take(pa.array(np.zeros(len(content), np.int64)))
    values = pa.StructArray.from_arrays([roles, content], ["role", "content"])
    return Turns(keep.to_numpy(zero_copy_only=False).astype(np.int64), values, {})


def _system(said: Turns, main: Turns, faults: dict[int, str]) -> Turns:
    """The system's turn of each row, where its conversation does not begin with the same one. Adds to `faults`."""
    starts = np.cumsum(main.count) - main.count
    rows = np.flatnonzero(main.count > 0)
    first = main.values.take(pa.array(starts[rows]))
    begins = np.array(compute.struct_field(first, "role").to_pylist(), object) == "system"
    own = np.cumsum(said.count) - said.count
    wanted = main.count > 0
    for row, at in zip(rows[begins], np.flatnonzero(begins), strict=True):
        if said.count[row] and said.values[own[row]]["content"].as_py() != first[at]["content"].as_py():
            faults[int(row)] = "two system turns: the column and the first turn say different things"
        wanted[row] = False
    return _where(said, wanted)


def _where(turns: Turns, wanted: NDArray[np.bool_]) -> Turns:
    """The turns of some rows."""
    if wanted.all():
        return turns
    values = turns.values.filter(pa.array(np.repeat(wanted, turns.count)))
    faults = {row: why for row, why in turns.faults.items() if wanted[row]}
    return Turns(np.where(wanted, turns.count, 0), values, faults)


def _of_pairs(pairs: object) -> object:
    """Alpaca's history, a list of pairs, as turns; any other value is returned unchanged."""
    if isinstance(pairs, str):
        try:
            pairs = json.loads(pairs) if pairs.strip() else None
        except (ValueError, RecursionError):
            return pairs
    if not isinstance(pairs, list):
        return pairs
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        return [*pairs, None]
    return [turn for asked, answer in pairs for turn in (_turn("user", asked), _turn("assistant", answer))]


def _turn(role: str, content: object) -> dict[str, object]:
    return {"role": role, "content": content}


def _filled(text: pa.Array) -> pa.BooleanArray:
    """Whether there is more than white space."""
    return compute.fill_null(compute.match_substring_regex(text, r"\S"), False)
