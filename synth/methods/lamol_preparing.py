"""LAMOL's data: a task's rows as examples that a model learns to answer and to generate (see `synth.methods.lamol`)."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa

from synth.data.prompts import PromptSet
from synth.data.row import BASE, IGNORED, Message, Outcome, Row, digest, has_parts
from synth.engines.base import Tokenizer
from synth.errors import RequestError
from synth.generation.pipeline import Job
from synth.methods.lamol import TOKEN, LamolSettings, example_format

PREPARED = pa.schema(
    [
        (TOKEN, pa.string()),
        ("text", pa.string()),  # the whole example
        ("input_ids", pa.list_(pa.int32())),
        ("labels", pa.list_(pa.int32())),  # the answer's tokens and the end of sequence; `IGNORED` elsewhere
    ]
)

_KEPT = ("id", "method", "parent")
"""Columns of ours that prepared rows have; `messages` would be taken for the chat template's."""


def preparing_job(prompts: PromptSet, tokenizer: Any, settings: LamolSettings) -> Job:
    """The job that makes a task's rows into examples; no model takes part.

    Args:
        prompts: the rows.
        tokenizer: of the model that is to learn them.
        settings: `tokens` and `answer_token` are read here.

    Raises:
        UsageError: as for `preparing`.
    """
    vocabulary = digest(sorted(tokenizer.get_vocab().items()))
    decides = {"tokens": settings.tokens, "answer_token": settings.answer_token, "tokenizer": vocabulary}
    method = preparing(tokenizer, settings)
    return Job(
        command="lamol",
        settings=decides | {"input": prompts.fingerprint},
        method=lambda _: method,
        rows=lambda recorded, _: answered_rows(prompts, recorded),
        schema=_without_turns(prompts.schema(PREPARED)),
        prompts=prompts,
    )


def answered_rows(prompts: PromptSet, settings: dict[str, Any]) -> Callable[[int], Iterator[Row]]:
    """A task's rows with their answers, whoever wrote them, from any index on; `settings` are all that decide them."""
    name = digest("lamol", settings)

    def rows(start: int) -> Iterator[Row]:
        for row in prompts.answered(PREPARED)(start):
            yield replace(row, id=digest(name, row.id), method="lamol", parent=row.id)

    return rows


def preparing(tokenizer: Tokenizer, settings: LamolSettings) -> Callable[[Row], Awaitable[Outcome]]:
    """The method that makes a task's rows into examples: tokens with labels, the columns of `PREPARED`.

    A row with a generation token of its own (pseudo-replay of an old task) keeps it; all others get the first of
    `settings.tokens`.

    Raises:
        UsageError: as for `example_format`.
    """
    formats = {token: example_format(tokenizer, token, settings.answer_token) for token in settings.tokens}

    async def prepare(row: Row) -> Outcome:
        token = row.passthrough.get(f"input_{TOKEN}") or settings.tokens[0]
        row.extra[TOKEN] = token
        asked, answer = split_answer(row)
        if [turn["role"] for turn in asked] not in (["user"], ["system", "user"]) or answer is None:
            return Outcome(row, "not one question with its answer")
        if has_parts(row.messages):
            return Outcome(row, "thoughts or calls of tools, which have no place in the format")
        question = "\n\n".join(turn["content"].strip() for turn in asked).strip()
        if not question or not answer:
            return Outcome(row, f"empty {'answer' if question else 'question'}")
        if token not in formats:
            return Outcome(row, f"a generation token that was not named: {token}")
        if held := next(
            (word for word in (*formats, settings.answer_token) if word in question or word in answer), None
        ):
            return Outcome(row, f"holds a token of the format: {held}")
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        try:
            encoded = formats[token].encode(turns)
        except RequestError as error:
            return Outcome(row, f"cannot be written: {error}")
        begin, end = encoded.spans[-1]
        ids = list(encoded.input_ids)
        row.extra |= {"text": encoded.text, "input_ids": ids}
        row.extra["labels"] = [tid if begin <= at < end else IGNORED for at, tid in enumerate(ids)]
        return Outcome(row)

    return prepare


def split_answer(row: Row) -> tuple[list[Message], str | None]:
    """A conversation up to its answer, and that: its closing turn, or else its reference."""
    if row.messages and row.messages[-1]["role"] == "assistant":
        return row.messages[:-1], row.messages[-1]["content"].strip()
    return row.messages, None if row.reference is None else row.reference.strip()


def _without_turns(schema: pa.Schema) -> pa.Schema:
    """The schema without the columns of conversations."""
    return pa.schema([item for item in schema if item.name in _KEPT or item.name not in BASE.names])
