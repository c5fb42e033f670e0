"""Encodes rows as tokens: which are scored and trained on, and which no mask may cover."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from synth.chat.format import ChatFormat, Encoded, Example
from synth.data.row import IGNORED, Message
from synth.errors import RequestError, UsageError
from synth.values import Overlong, TrainOn

Protection = Literal["end-of-turn", "answer"]


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """A row's tokens; arrays of shape `[tokens]`.

    `wanted` tokens are scored and trained on; the first token never is, as nothing precedes it. `protected` ones are
    never masked. `untrained` says of each assistant turn that would be trained on, did the chat template write it as it
    stands, what becomes of it instead. `last` is the index of the last message that a conversation's tokens hold.
    """

    ids: NDArray[np.int32]
    wanted: NDArray[np.bool_]
    protected: NDArray[np.bool_]
    untrained: tuple[str, ...] = ()
    last: int | None = None


@dataclass(frozen=True, slots=True)
class RowEncoder:
    """Turns rows into tokens.

    Attributes:
        chat: of the model that is to be trained.
        train_on: every token, those of all assistant turns, or those of the last one.
        protect: the tokens that end a turn, or those of the row's `answer` (its last mention in the last assistant
            turn), or both.
        overlong: what becomes of rows longer than `window`: rejected, cut at the end, or kept whole (and scored in
            overlapping windows).
        window: tokens; None where any length will do.
        every: a loss is taken on every token, whatever is trained on: rows of which nothing is are taken, too.
    """

    chat: ChatFormat
    train_on: TrainOn = "assistant"
    protect: Collection[Protection] = ()
    overlong: Overlong = "drop"
    window: int | None = None
    every: bool = False

    def conversation(
        self,
        messages: Sequence[Message],
        answer: str | None = None,
        *,
        drawn: Sequence[Sequence[int] | None] | None = None,
        args: Mapping[str, Any] | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> list[EncodedRow]:
        """The tokens of a conversation: one row, or several where no one text holds all turns as they were drawn.

        An assistant turn that the chat template writes otherwise than it stands (without its thoughts, say) is left in
        the text, which is what the model will see, and is not trained on.

        Args:
            messages: the conversation.
            answer: the row's `answer`, which may be protected.
            drawn: the row's `drawn`: token ids of its assistant turns.
            args: the row's template arguments; None where it was not drawn from a prompt that is known.
            tools: the row's tools.

        Raises:
            RequestError: the chat template refuses it, or writes a question, a system message or every answer otherwise
                than it stands; a message holds a control token; nothing of it is trained on; or it is too long.
        """
        if not messages:
            raise RequestError("empty conversation")
        chat = self._rendered(args, tools)
        turns = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
        asked = turns[-1:] if self.train_on == "last" else turns
        anyway = self.every or self.train_on == "all"
        if not asked and not anyway:
            raise RequestError("no assistant turn to train on")
        if self.train_on == "all":
            encoded = chat.encode(messages)
            examples, rewritten = [Example(encoded, turns)], encoded.rewritten
        else:
            examples, rewritten = chat.examples(messages, drawn)
            if not examples and self.every:
                examples = [Example(chat.encode(messages), turns)]
        lost = {index: _rewritten(messages, index, how) for index, how in rewritten.items()}
        whole = [index for index in asked if index not in lost]
        fatal = [index for index in lost if self.train_on == "all" or index not in turns]
        if fatal or not (whole or anyway):
            how = lost[fatal[0] if fatal else asked[-1]]
            raise RequestError(f"the chat template does not write a message as it stands: {how}")
        rows: list[EncodedRow] = []
        faults: list[str] = []
        for example in examples:
            if anyway or not set(whole).isdisjoint(example.turns):
                try:
                    rows.append(self._example(example, whole, answer if turns[-1:] == example.turns[-1:] else None))
                except RequestError as error:
                    faults.append(str(error))
        if not rows:
            raise RequestError(faults[0])
        untrained = [] if self.every else [lost[index] for index in asked if index in lost]
        return [replace(rows[0], untrained=(*untrained, *faults)), *rows[1:]]

    def _example(self, example: Example, whole: Collection[int], answer: str | None) -> EncodedRow:
        encoded = example.encoded
        wanted = np.zeros(len(encoded.input_ids), np.bool_)
        for index, (start, end) in zip(example.turns, encoded.spans, strict=True):
            wanted[start:end] = index in whole
        if self.train_on == "all":
            wanted[:] = True
        marked = None
        if "answer" in self.protect and answer and encoded.spans:
            marked = _mention(encoded.text, encoded.offsets, encoded.spans[-1], answer)
        last = max(example.turns, default=None)
        return replace(self._row(encoded.input_ids, wanted, marked), last=last)

    def tokens_of(
        self,
        messages: Sequence[Message],
        *,
        drawn: Sequence[Sequence[int] | None] | None = None,
        args: Mapping[str, Any] | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> list[list[int]]:
        """All that a conversation may be as token ids: the examples of its turns, and its text as one.

        Raises:
            RequestError: the chat template refuses it, or a message holds a control token.
        """
        chat = self._rendered(args, tools)
        examples, _ = chat.examples(messages, drawn)
        return [*(example.encoded.input_ids for example in examples), chat.encode(messages).input_ids]

    def length(self, record: Mapping[str, Any]) -> int:
        """Tokens of all that is trained on of a row, its prompts included.

        Args:
            record: the row's `messages`, and what it has of the columns of `RENDERING`.

        Raises:
            RequestError: the chat template refuses the conversation, or a message holds a control token.
        """
        given = rendering(record)
        chat = self._rendered(given.get("args"), given.get("tools", ()))
        examples, _ = chat.examples(record["messages"] or [], given.get("drawn"))
        return sum(len(example.encoded.input_ids) for example in examples)

    def prompt(self, record: Mapping[str, Any]) -> tuple[list[int], ChatFormat]:
        """What asks for the last answer of a row, whether it is there or not, as tokens; and how the row is written.

        Args:
            record: as for `length`.

        Raises:
            RequestError: as for `ChatFormat.answer_prompt`; or nothing is asked.
        """
        given = rendering(record)
        chat = self._rendered(given.get("args"), given.get("tools", ()))
        messages = list(record["messages"] or [])
        while messages and messages[-1]["role"] == "assistant":
            messages.pop()
        if not messages:
            raise RequestError("no question to answer")
        return chat.answer_prompt(messages), chat

    def last_answer(self, record: Mapping[str, Any]) -> Encoded:
        """The answer that a row ends in, after the prompt that it was drawn from.

        Args:
            record: as for `length`.

        Raises:
            RequestError: as for `ChatFormat.last_answer`.
        """
        given = rendering(record)
        chat = self._rendered(given.get("args"), given.get("tools", ()))
        return chat.last_answer(record["messages"], (given.get("drawn") or [None])[-1])

    def _rendered(self, args: Mapping[str, Any] | None, tools: Sequence[Mapping[str, Any]]) -> ChatFormat:
        """The chat format in which a row is written; arguments of another model's template say nothing of this one's.

        Raises:
            RequestError: this model's chat template refuses the row's template arguments, or takes no tools.
        """
        chat = self.chat
        if args is not None and args.keys() <= {*chat.template.reads, "strftime_now"}:
            try:
                chat = chat.with_args(args)
            except UsageError as error:
                raise RequestError(str(error)) from error
        return chat.with_tools(tools) if tools else chat

    def text(self, text: str) -> EncodedRow:
        """The tokens of a plain text, as in pre-training: what the tokenizer puts before it, it, end of sequence.

        Raises:
            RequestError: it is empty or too long.
        """
        if not text.strip():
            raise RequestError("empty text")
        tokenizer = self.chat.tokenizer
        ids: list[int] = tokenizer(text, split_special_tokens=True, verbose=False)["input_ids"]
        if tokenizer.eos_token_id is not None and ids[-1] != tokenizer.eos_token_id:
            ids.append(tokenizer.eos_token_id)
        return self._row(ids, np.ones(len(ids), np.bool_), None)

    def tokens(self, ids: Sequence[int], labels: Sequence[int]) -> EncodedRow:
        """Tokens that were prepared elsewhere, and are trained on as their labels say.

        Raises:
            RequestError: they are not this tokenizer's, the labels do not go with them, or they are too long.
        """
        tokens, wanted = np.array(ids, np.int64), np.array(labels, np.int64) != IGNORED
        if len(tokens) != len(wanted) or (tokens != np.array(labels, np.int64))[wanted].any():
            raise RequestError("labels that are not its tokens")
        if not len(tokens) or not 0 <= tokens.min() <= tokens.max() < len(self.chat.tokenizer):
            raise RequestError("input_ids that are not tokens of the model's tokenizer")
        return self._row(tokens.tolist(), wanted, None)

    def _row(self, ids: list[int], wanted: NDArray[np.bool_], marked: slice | None) -> EncodedRow:
        tokens = np.array(ids, np.int32)
        wanted[0] = False
        protected = np.zeros(len(tokens), np.bool_)
        if "end-of-turn" in self.protect:
            protected |= np.isin(tokens, self.chat.end_ids)
        if marked is not None:
            protected[marked] = True
        if self.window is not None and len(tokens) > self.window:
            if self.overlong == "drop":
                raise RequestError(f"overlong: {len(tokens):,} tokens, the window holds {self.window:,}")
            if self.overlong == "truncate":
                tokens, wanted, protected = tokens[: self.window], wanted[: self.window], protected[: self.window]
        if not wanted.any() and not (self.every and len(tokens) > 1):
            raise RequestError("no token to train on")
        return EncodedRow(tokens, wanted, protected & wanted)


def rendering(record: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of `RowEncoder.conversation` that a row's columns of `RENDERING` give.

    Raises:
        RequestError: a column is no JSON of its kind.
    """
    given: dict[str, Any] = {}
    for column, name, kind in (("template_args", "args", dict), ("tools", "tools", list)):
        if isinstance(text := record.get(column), str):
            try:
                given[name] = json.loads(text)
            except ValueError as error:
                raise RequestError(f"{column} that are no JSON") from error
            if not isinstance(given[name], kind):
                raise RequestError(f"{column} that are no {'object' if kind is dict else 'list'} in JSON")
    if record.get("drawn") is not None:
        given["drawn"] = record["drawn"]
    return given


def windows(length: int, size: int) -> list[tuple[int, int, int]]:
    """How a sequence longer than the model's window is scored: as (start, end, first scored) of overlapping windows.

    Each begins half a window after the one before, so that every token but those of the first window has at least half
    a window before it; each token is scored once.
    """
    if length <= size:
        return [(0, length, 0)]
    parts = [(0, size, 0)]
    while parts[-1][1] < length:
        scored = parts[-1][1]
        end = min(length, scored + size - size // 2)
        parts.append((end - size, end, scored))
    return parts


def _rewritten(messages: Sequence[Message], index: int, how: str) -> str:
    """How a chat template rewrites one message, with the message's number."""
    return f"message {index + 1} ({messages[index]['role']}): {how}"


def _mention(text: str, offsets: Sequence[tuple[int, int]], span: tuple[int, int], answer: str) -> slice | None:
    """The tokens of an answer's last mention in the tokens `span` of a text; None where it is not there."""
    begin, end = offsets[span[0]][0], offsets[span[1] - 1][1]
    at = text.rfind(answer, begin, end)
    if at < 0:
        return None
    inside = [index for index in range(*span) if offsets[index][1] > at and offsets[index][0] < at + len(answer)]
    return slice(inside[0], inside[-1] + 1)
