"""The common shapes of conversation data, turned into `messages` and `reference`, whole columns at a time.

    messages              list of turns (`schema.turns`), or its JSON text; also `conversation` or `conversations`
    ShareGPT              the same with {from, value} and roles such as human and gpt
    prompt / completion   text, or lists of messages (TRL); other pairs of names are in `ANSWERS`
    alpaca                instruction, input, output, history (pairs of earlier questions and answers)
    dialogues             in one text or as bare exchanges (`schema.dialogues`); also in the columns `DIALOGUES`
    xLAM                  query, tools, and in `answers` the calls

A `system` column (`SYSTEM`) beside any of them is the system's turn, and one of `THOUGHTS` beside a question and an
answer is what was thought before the answer. `messages` become the user's turns and, where the data has an answer, the
assistant's; an answer that is no text (a number, an object) is written as its JSON. `reference` becomes the text of the
closing assistant turn, unless the data has a `reference` column, or a `method` column, which says that a model wrote
the answer. The columns used up are gone, all others are carried through. Of those, what bears a name of
`synth.data.row.BASE` is ours if its values fit without loss and, where the rows were not `messages` before, if it
describes the task rather than somebody's answer (`TASK_COLUMNS`); else it is renamed `input_NAME`.
`synth.data.schema.rendering` says what becomes of `tools` and of other columns that say how conversations are rendered.

Turns have parts (`synth.data.row.PARTED`) where those of the source may: where their type says so, or some do among the
first `LOOKED_AT` bytes.

A row whose conversation or values cannot be read has null `messages`, and `FAULT` says why.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
from pyarrow import compute

from synth.data.row import BASE, FAULT, MESSAGES, RENDERING
from synth.data.schema.as_text import is_exact, is_writable, of_several, written
from synth.data.schema.assemble import ConversationColumns, TurnColumn, last_answer, messages_of
from synth.data.schema.dialogues import holds_exchanges, is_cue, is_dialogue
from synth.data.schema.names import free_name
from synth.data.schema.parts import Unreadable, calls_of_content
from synth.data.schema.rendering import NAMES, found_in, read_column
from synth.data.schema.turn_columns import as_type, passes_objects
from synth.data.schema.turns import holds_text, holds_texts, is_conversation, is_text, turn_fields
from synth.errors import UsageError

TURN_COLUMNS = ("messages", "conversations", "conversation")

ANSWERS = {
    "prompt": ("completion", "response", "canonical_solution"),
    "question": ("answer", "response"),
    "problem": ("solution",),
    "query": ("response", "answer"),
    "instruction": ("output", "response"),
    "inputs": ("targets",),
    "input": ("output",),
}
"""Names of a prompt column, each with the names its answer goes by."""

ALTERNATIVES = "answers"
"""The answer's column where several are right (`synth.data.schema.as_text.of_several`): carried, too, since it holds
the others."""

LOOSE = ("inputs", "input")
"""Names of prompts that mean something else beside another one; `input` without its answer is no prompt at all."""

DIALOGUES = ("chat", "dialogue", "data", "text")
"""Columns that hold whole conversations if their first value is one, and nothing else may be the prompt."""

CONTEXT = {"instruction": ("input", "context"), "question": ("context",)}
"""What follows the prompt, after an empty line, in the same user turn."""

SYSTEM = ("system", "system_prompt", "system_message")
HISTORY = "history"

THOUGHTS = ("reasoning_content", "thinking", "reasoning")
"""What was thought before an answer that stands in a column of its own."""

LOOKED_AT = 2**30
"""Bytes of rows, in Arrow, of which the first with parts tells that there are such."""

LABEL = "label"  # whether an answer is good, in data for KTO (TRL)

TASK_COLUMNS = ("id", "reference", "verifier")

OTHERWISE = ("text", "input_ids", "reason")
"""With one of these, rows may lack a conversation: plain texts, tokens, or rows rejected by an earlier run."""

_TOLD = 8
"""Most names of columns in one note."""

First = Callable[[str], object]
"""The first value of a column that is not null."""

Look = Callable[[ConversationColumns], tuple[pa.DataType, bool]]
"""The type of conversations made of some columns, as far as one looks; and whether answers may begin with thoughts."""


@dataclass(slots=True)
class Shape:
    """How the rows of one schema become ours: `convert` turns a batch of that schema into one of `schema`.

    What `convert` gives has the column `FAULT`, too, where a row of the batch cannot be read. `read` are the columns
    that the conversation comes from; of these, `inexact` are written as text though their type does not say how.
    `notes` say what was recognised and what is not kept; conversion adds to them as it meets such data.
    """

    schema: pa.Schema
    convert: Callable[[pa.RecordBatch], pa.RecordBatch]
    notes: list[str] = field(default_factory=list)
    read: frozenset[str] = frozenset()
    inexact: frozenset[str] = frozenset()


def recognise(
    schema: pa.Schema,
    *,
    prompt_column: str | None = None,
    reference_column: str | None = None,
    first: First = lambda name: None,
    mixed: Collection[str] = (),
    look: Look = lambda parts: (MESSAGES, True),
) -> Shape:
    """Find the conversation in the columns of `schema`.

    Args:
        schema: of the rows as they come.
        prompt_column: the column that holds the prompt (text or messages), instead of a guess.
        reference_column: the column that holds the answer, likewise.
        first: looks into a column, where its type does not tell whether its text is JSON.
        mixed: columns of text that hold the JSON of values that were no text.
        look: looks at conversations, where their type does not tell whether turns have parts.

    Raises:
        UsageError: a named column is missing or of another type, a name is there twice, no known columns are there,
            or several answers are.
    """
    names = [name for name in schema.names if name != FAULT]
    if twice := {name for name, count in Counter(names).items() if count > 1}:
        raise UsageError(f"several columns are called {' and '.join(sorted(twice))}: rename them")
    for name in (prompt_column, reference_column):
        if name is not None and name not in names:
            raise UsageError(f"there is no column {name!r}; there are: {', '.join(names)}")
    seen = Seen(schema, first, mixed)
    parts = seen.parts(prompt_column, reference_column)
    kind, may_think = look(parts)
    return _plan(seen, replace(parts, may_think=may_think), reference_column, kind)


@dataclass(frozen=True, slots=True)
class Seen:
    """The columns as they are there. See `recognise`."""

    schema: pa.Schema
    first: First
    mixed: Collection[str]

    def parts(self, prompt_column: str | None, reference_column: str | None) -> ConversationColumns:
        """What conversations are made of; by the columns named, or else by known names.

        Raises:
            UsageError: no column, several, or one of another type might be the prompt or the answer.
        """
        turns = next((name for name in TURN_COLUMNS if self.holds_turns(name)), None) or self.dialogue()
        if prompt_column is None and turns is not None:
            main, answer = TurnColumn(turns, "turns"), None
        else:
            prompt = prompt_column or self.prompt()
            named = reference_column
            if named is None and prompt_column is None:
                named = self.answer(prompt)
            main = self.part(prompt, "user")
            answer = self.part(named, "assistant") if named is not None else self.calls(prompt_column)
        used = {main.column, main.context, answer and answer.column, reference_column}
        system = next((name for name in SYSTEM if name not in used and self.is_said(name)), None)
        history = HISTORY if main.kind != "turns" and HISTORY not in used and self.is_history() else None
        beside = answer is not None and answer.kind == "text"
        thoughts = next((name for name in THOUGHTS if beside and name not in used and self.is_prose(name)), None)
        return ConversationColumns(system, history, main, answer, thoughts)

    def type(self, name: str) -> pa.DataType:
        """A column's type; null where there is no such column."""
        return self.schema.field(name).type if name in self.schema.names else pa.null()

    def holds_turns(self, name: str) -> bool:
        """Whether a column holds conversations, as lists or as JSON text."""
        kind = self.type(name)
        if holds_text(kind) or holds_texts(kind):
            return is_conversation(self.first(name)) or is_dialogue(self.first(name))
        return turn_fields(kind) is not None or holds_exchanges(kind)

    def dialogue(self) -> str | None:
        """The column of dialogues where no other holds a prompt."""
        if any(name in self.schema.names for name in ANSWERS if name not in LOOSE):
            return None
        texts = (name for name in DIALOGUES if self.is_said(name) and is_dialogue(self.first(name)))
        return next(texts, None) or ("data" if holds_texts(self.type("data")) else None)

    def calls(self, prompt_column: str | None) -> TurnColumn | None:
        """The column of calls that answer a query, as xLAM has them beside `tools`."""
        if prompt_column is not None or "tools" not in self.schema.names or not self.is_said(ALTERNATIVES):
            return None
        try:
            calls_of_content(self.first(ALTERNATIVES), ALTERNATIVES)
        except Unreadable:
            return None
        return TurnColumn(ALTERNATIVES, "calls", "function_call")

    def is_said(self, name: str) -> bool:
        """Whether a column holds texts."""
        return holds_text(self.type(name))

    def is_prose(self, name: str) -> bool:
        """Whether a column holds texts of several words, not names such as on and off."""
        return self.is_said(name) and " " in str(self.first(name) or "").strip()

    def is_history(self) -> bool:
        """Whether there are earlier questions and answers, as lists of pairs."""
        kind = self.type(HISTORY)
        if self.is_said(HISTORY):
            return str(self.first(HISTORY)).lstrip().startswith("[")
        while pa.types.is_list(kind) or pa.types.is_large_list(kind):
            kind = kind.value_type
        return kind != self.type(HISTORY) and holds_text(kind)

    def prompt(self) -> str:
        """The column with a known name for a prompt."""
        found = [name for name in ANSWERS if name in self.schema.names and self._may_be_prompt(name)]
        for name in LOOSE:  # a prompt in FLAN and Aya, and anything elsewhere
            if name in found and (len(found) > 1 or (name == "input" and "output" not in self.schema.names)):
                found.remove(name)
        if len(found) == 1:
            return found[0]
        problem = f"several columns may be the prompt ({', '.join(found)})" if found else "no conversation recognised"
        columns = ", ".join(f"{item.name} ({_short(item.type)})" for item in self.schema)
        raise UsageError(f"{problem} in the columns {columns}: name them with `prompt_column` and `reference_column`")

    def answer(self, prompt: str) -> str | None:
        """The column with a known name for the answer to a prompt."""
        found = [name for name in ANSWERS[prompt] if name in self.schema.names]
        if len(found) > 1:
            raise UsageError(
                f"several columns may be the answer ({', '.join(found)}): name them with `prompt_column` and "
                "`reference_column`"
            )
        if not found and of_several(self.type(ALTERNATIVES)):
            return ALTERNATIVES
        return found[0] if found else None

    def part(self, name: str, role: str) -> TurnColumn:
        """What a column adds to the conversation."""
        kind = self.type(name)
        if turn_fields(kind) or (holds_texts(kind) and is_conversation(self.first(name))):
            return TurnColumn(name, "turns")
        if not (is_text(kind) or (role == "assistant" and is_writable(kind))):
            raise UsageError(f"column {name!r} holds {_short(kind)}; a {role}'s turn is text or a list of messages")
        either = name in self.mixed or (is_text(kind) and name not in ANSWERS and is_conversation(self.first(name)))
        either = either or (role == "user" and is_text(kind) and is_cue(self.first(name)))
        context = next((item for item in CONTEXT.get(name, ()) if self.is_said(item)), None)
        return TurnColumn(name, "either" if either else "text", role, context)

    def _may_be_prompt(self, name: str) -> bool:
        kind = self.type(name)
        return is_text(kind) or turn_fields(kind) is not None or (holds_texts(kind) and self.holds_turns(name))


def _plan(seen: Seen, parts: ConversationColumns, reference: str | None, kind_of_turns: pa.DataType) -> Shape:
    """Lay out the columns to come: carried ones cast or renamed, `messages` where the main part was.

    `reference` is the column the user named for it, if any.
    """
    schema, read = seen.schema, parts.columns()
    used = {*(name for name in read if not of_several(schema.field(name).type)), reference, FAULT}
    notes: list[str] = []
    rendered = found_in(schema, used, seen.first)
    passthrough = _passthrough(schema, used, reference, parts.main.column == "messages", rendered, notes)
    if read != ["messages"]:
        notes.insert(0, f"conversation read from: {', '.join(read)}{_beside(passthrough, schema)}")
    if LABEL in schema.names and LABEL not in used and pa.types.is_boolean(schema.field(LABEL).type):
        notes.append("'label' says which answers are good (KTO), and all are read; filter by column:label,equals=true")
    if reference is not None and reference not in read:  # a column beside whole conversations, and no turn of them
        if not is_writable(kind := schema.field(reference).type):
            raise UsageError(f"column {reference!r} holds {_short(kind)}; a reference is text")
        passthrough["reference"] = (reference, pa.string())
    derived = "reference" not in passthrough and (reference is not None or "method" not in passthrough)
    fields = [pa.field(name, kind) for name, (_, kind) in passthrough.items()]
    at = sum(item.name not in used for item in list(schema)[: schema.get_field_index(parts.main.column)])
    fields[at:at] = [pa.field("messages", kind_of_turns)]
    if derived:
        fields.insert(at + 1, pa.field("reference", pa.string()))
    result = pa.schema(fields)
    whole = result.append(pa.field(FAULT, pa.string()))
    must_talk = not set(OTHERWISE) & (set(schema.names) - used)

    def convert(batch: pa.RecordBatch) -> pa.RecordBatch:
        faults: dict[int, str] = {}
        columns = {
            name: read_column(name, batch.column(old), faults) if old in rendered else _cast(batch, old, kind, faults)
            for name, (old, kind) in passthrough.items()
        }
        messages = as_type(kind_of_turns, messages_of(batch, parts, notes, faults), faults)
        if FAULT in batch.schema.names:
            faults |= {index: why for index, why in enumerate(batch.column(FAULT).to_pylist()) if why is not None}
        if must_talk and messages.null_count:
            what = "conversation" if parts.main.kind == "turns" else "prompt"
            nothing = f"no {what}: there is nothing in {parts.main.column!r}"
            faults |= {int(row): nothing for row in np.flatnonzero(messages.is_null()) if int(row) not in faults}
        if faults:
            columns[FAULT] = pa.array([faults.get(index) for index in range(batch.num_rows)], pa.string())
            messages = compute.if_else(columns[FAULT].is_null(), messages, None)
        columns["messages"] = messages
        if derived:
            columns["reference"] = last_answer(messages)
        named = whole if faults else result
        return pa.record_batch([columns[item.name] for item in named], schema=named)

    texts = [parts.answer.column] if parts.answer and parts.answer.kind != "turns" else []
    texts += [old for name, (old, _) in passthrough.items() if name == "reference"]
    inexact = [name for name in texts if not is_exact(schema.field(name).type)]
    inexact += [name for name in rendered if pa.types.is_nested(schema.field(name).type) and rendered[name] != "drawn"]
    inexact += [name for name in read if passes_objects(schema.field(name).type)]
    return Shape(result, convert, notes, frozenset([*read, *texts, *rendered]), frozenset(inexact))


def _passthrough(
    schema: pa.Schema,
    used: Collection[str | None],
    reference: str | None,
    were_messages: bool,
    rendered: Mapping[str, str],
    notes: list[str],
) -> dict[str, tuple[str, pa.DataType]]:
    """The columns that are no part of the conversation: new name: old name, type."""
    passthrough: dict[str, tuple[str, pa.DataType]] = {}
    for item in schema:
        if item.name in used:
            continue
        name, kind = item.name, item.type
        if name in rendered:
            name = rendered[name]
            kind = RENDERING.field(name).type
            if name != item.name:
                notes.append(f"column {item.name!r} is read as {name!r}")
        elif name in RENDERING.names:
            name = free_name(name, RENDERING.names, schema.names)
            notes.append(f"column {item.name!r} is carried as {name!r}, and no part of the conversation")
        elif name in BASE.names:
            ours = BASE.field(name).type
            fits = is_writable(kind) if name == "reference" and reference is None else _fits(kind, ours)
            replaced = name == "reference" and reference is not None
            if fits and (were_messages or name in TASK_COLUMNS) and not replaced:
                kind = ours
            else:
                name = free_name(name, BASE.names, schema.names)
                notes.append(f"column {item.name!r} is carried as {name!r}")
        passthrough[name] = (item.name, kind)
    return passthrough


def _beside(passthrough: Mapping[str, tuple[str, pa.DataType]], schema: pa.Schema) -> str:
    """Text columns with unknown names, which a reader might think are part of the conversation."""
    known = {*BASE.names, *(name for names in NAMES.values() for name in names)}
    names = [old for old, _ in passthrough.values() if old not in known and is_text(schema.field(old).type)]
    more = f" and {len(names) - _TOLD:,} more" if len(names) > _TOLD else ""
    return f"; no part of it: {', '.join(names[:_TOLD])}{more}" if names else ""


def _cast(batch: pa.RecordBatch, name: str, kind: pa.DataType, faults: dict[int, str]) -> pa.Array:
    """A column of another type; where a value cannot be had in it null, and `faults` says so."""
    column = batch.column(name)
    if column.type == kind:
        return column
    if kind == pa.string():
        text, odd = written(column, name)
        faults |= odd
        return text
    try:
        return column.cast(kind)
    except pa.ArrowInvalid:
        found = []
        for index, value in enumerate(column.to_pylist()):
            try:
                found.append(pa.scalar(value).cast(kind).as_py())
            except pa.ArrowInvalid:
                found.append(None)
                faults[index] = f"unfit value: {value} in column {name!r} is no {kind}"
        return pa.array(found, kind)


def _fits(kind: pa.DataType, ours: pa.DataType) -> bool:
    """Whether values of a type can be ours without loss (a too large integer is found when it comes)."""
    if ours == pa.string():
        return is_text(kind) or bool(pa.types.is_integer(kind))
    if ours == pa.int32():
        return bool(pa.types.is_integer(kind) or pa.types.is_null(kind))
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return kind == ours or (ours == pa.float64() and bool(is_number or pa.types.is_null(kind)))


def _short(kind: pa.DataType) -> str:
    text = str(kind)
    return text if len(text) <= 60 else f"{text[:57]}…"
