"""Continuation: the first half of a passage is the prompt, what a model makes of the second half is the answer.

Non-instructional data (arXiv 2409.00096): rows are conversations, yet hardly anything is asked for in them, and models
that were trained on them still follow instructions better than before. The paper takes passages of OpenWebText, and
their continuations from stronger models.

Differs from the paper: the model is asked to go on by a prompt that is not part of the row, so that chat models do not
talk about the passage; a continuation is as long as the half it stands for, about; and those that recite the passage
are rejected.
"""

import math
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa

from synth.data.prompts import task_of
from synth.data.row import BASE, Outcome, Row
from synth.data.run.record import without
from synth.engines.base import Sampling, Tokenizer
from synth.errors import UsageError
from synth.generation.chat_model import ChatModel
from synth.generation.documents import Cut, halves, passages, whole_sentences
from synth.generation.prompt_files import fill, load_prompt
from synth.generation.screen import answer_fault
from synth.methods.copying import copied
from synth.methods.rephrase import remark, without_lead_in
from synth.seeds import seed_of

HALVES = pa.schema([BASE.field("messages"), BASE.field("reference"), ("passage", pa.int32())])
"""What the input becomes: the first half is the user's turn, `reference` the second, `passage` its number."""

COLUMNS = pa.schema([("tokens", pa.int32())])
"""`tokens` of the continuation."""

LEAST = 16
"""Least tokens of a second half; a shorter one does not show how long a continuation should be."""

SHORTEST, LONGEST = 0.5, 1.5
"""Tokens of a continuation for each of the second half. One that is not done then ends with its last sentence."""

WORDS = 0.75
"""Approximate words per token, as lengths in prompts are in words."""

COPY = 0.5
"""Largest share of a continuation that may be copied from either half word for word."""


@dataclass(frozen=True, slots=True)
class ContinuationSettings:
    """The settings that determine the rows, beside the model.

    Attributes:
        seed: the run's seed.
        passage_tokens: most tokens of a passage, both halves.
        sampling: how continuations are drawn.
    """

    seed: int = 0
    passage_tokens: int = 600
    sampling: Sampling = field(default_factory=lambda: Sampling(max_tokens=2048, temperature=0.7, top_p=0.95))

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            UsageError: a value is out of its range.
        """
        if self.passage_tokens < 3 * LEAST:
            raise UsageError(f"`passage_tokens` must be at least {3 * LEAST}, not {self.passage_tokens}")

    def record(self) -> dict[str, Any]:
        """The settings as JSON values, the prompt's text among them."""
        return without(asdict(self), "sampling") | self.sampling.chosen() | {"prompt": self.prompt()}

    def prompt(self) -> str:
        """The prompt that asks the model to continue."""
        return load_prompt("continuation", {"text", "words"}, {"text", "words"})


def halving(tokenizer: Tokenizer, settings: ContinuationSettings) -> Cut:
    """A function that cuts a document into passages, each in halves; one that cannot be halved has no second half."""

    def cut(document: str, text: str) -> Iterator[dict[str, Any]]:
        if not text:
            yield {"messages": None, "reference": None, "passage": 0}
        for number, passage in enumerate(passages(text, tokenizer, settings.passage_tokens)):
            first, second = halves(passage) or (passage, None)
            turn = {"role": "user", "content": first}
            yield {"messages": [turn], "reference": second, "passage": number}

    return cut


def continuation(chat_model: ChatModel, settings: ContinuationSettings) -> Callable[[Row], Awaitable[Outcome]]:
    """The method for one model, over the rows of `halving`."""
    prompt = settings.prompt()
    tokenizer = chat_model.chat.tokenizer

    def tokens_of(text: str) -> list[int]:
        ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    async def method(row: Row) -> Outcome:
        if not row.messages:
            return Outcome(row, "empty document")
        first, second = task_of(row).prompt, tokens_of(row.reference or "")
        if len(second) < LEAST:
            return Outcome(row, "passage too short")
        ask = fill(prompt, text=first, words=str(round(WORDS * len(second))))
        sampling = replace(
            settings.sampling,
            seed=seed_of(settings.seed, row.id, "continuation"),
            max_tokens=min(settings.sampling.max_tokens, math.ceil(LONGEST * len(second))),
        )
        completion = await chat_model.reply([{"role": "user", "content": ask}], sampling)
        text = without_lead_in(chat_model.chat.parse(completion.text).content)
        if completion.finish == "length" and (whole := whole_sentences(text)):
            text, completion = whole, replace(completion, finish="stop")
        tokens = tokens_of(text)
        row.messages = [*row.messages, {"role": "assistant", "content": text}]
        row.model, row.samples = chat_model.name, 1
        row.extra["tokens"] = len(tokens)
        if fault := answer_fault(completion, chat_model.chat) or remark(text, f"{first} {row.reference}"):
            return Outcome(row, fault)
        if len(tokens) < SHORTEST * len(second):
            return Outcome(row, f"too short: {len(tokens)} tokens, the second half has {len(second)}")
        if copied(tokens, tokens_of(first)) >= COPY:
            return Outcome(row, "copies the first half")
        return Outcome(row, "recites the second half" if copied(tokens, second) >= COPY else None)

    return method
