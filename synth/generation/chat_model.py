"""What methods share: a model to talk to, and its answers with their verdicts."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from filters.verdict import RIGHT, WRONG, Task, Verdict
from synth.chat.format import ChatFormat
from synth.data.row import Message, Row
from synth.engines.base import Completion, Engine, Sampling
from synth.errors import UsageError
from synth.generation.screen import text_fault
from synth.generation.verification import Verifier

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NOT_OPEN: Any = None
"""Stands for an engine while settings are checked, before anything is loaded."""


def check_samples(samples: int, sampling: Sampling) -> None:
    """Refuse numbers of samples that cannot be drawn, or that would all be the same.

    Raises:
        UsageError: there is none, or there are several at temperature 0.
    """
    if samples < 1:
        raise UsageError(f"`samples` must be at least 1, not {samples}")
    if samples > 1 and sampling.temperature == 0:
        raise UsageError("at temperature 0 all samples are equal: give a `temperature`, or `samples` 1")


@dataclass(frozen=True, slots=True)
class ChatModel:
    """A model to talk to: its engine, how its conversations are written, and what it is called.

    `scorer` is the same model in an engine that scores, where `engine` does not.
    """

    engine: Engine
    chat: ChatFormat
    name: str
    scorer: Engine | None = None

    async def reply(self, messages: list[Message], sampling: Sampling) -> Completion:
        """One answer to a conversation that ends in a user turn.

        Raises:
            RequestError: see `Engine.generate` and `ChatFormat.answer_prompt`.
        """
        return await self.answer(await self.prompt(messages), sampling)

    async def prompt(self, messages: list[Message]) -> list[int]:
        """Token ids that ask for an answer: made once, they serve for any number of samples.

        Raises:
            RequestError: see `ChatFormat.answer_prompt`.
        """
        return await self.chat.aside(ChatFormat.answer_prompt, messages)

    async def answer(self, prompt: list[int], sampling: Sampling) -> Completion:
        """One answer to a prompt.

        Raises:
            RequestError: see `Engine.generate`.
        """
        ends = replace(sampling, stop_ids=self.chat.answer_stop_ids, stop=self.chat.answer_stop)
        [completion] = await self.engine.generate(prompt, ends)
        return completion

    async def logprobs(self, messages: list[Message]) -> "NDArray[np.float32]":
        """Log-probabilities (nats, [tokens]) of the last answer of a conversation, the token that ends it included.

        Raises:
            RequestError: the conversation is longer than the model's window, or holds a control token.
        """
        encoded = await self.chat.aside(ChatFormat.encode, messages)
        scores = await (self.scorer or self.engine).logprobs(encoded.input_ids)
        start, end = encoded.spans[-1]
        return scores[start:end]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as drawn, and its verdict."""

    completion: Completion
    verdict: Verdict

    @property
    def right(self) -> bool:
        """Whether the verifier takes it for right."""
        return self.verdict.kind == RIGHT

    @property
    def text(self) -> str:
        """What is trained on."""
        return self.completion.text.strip()

    @property
    def tokens(self) -> int:
        """Tokens drawn, the one that ended it included."""
        return len(self.completion.token_ids) + (self.completion.finish == "stop")

    @property
    def perplexity(self) -> float:
        """Per token, under the model that wrote it, given the task."""
        return math.exp(-(self.completion.logprob or 0.0) / max(self.tokens, 1))

    def fill(self, row: Row, model: str) -> None:
        """Make it the answer of a row."""
        row.messages = [*row.messages, {"role": "assistant", "content": self.text}]
        row.model = model
        row.verdict, row.answer = self.verdict.kind, self.verdict.answer
        row.logprob = self.completion.logprob
        row.extra["tokens"] = self.tokens


def each_once(answers: Iterable[Answer]) -> list[Answer]:
    """Of answers with one text the first, in the order drawn."""
    texts: dict[str, Answer] = {}
    for answer in answers:
        texts.setdefault(answer.text, answer)
    return list(texts.values())


async def judged(completion: Completion, chat_model: ChatModel, verifier: Verifier | None, task: Task) -> Answer:
    """An answer with its verdict.

    One that no model should be trained on (cut off, repetitive, …) is `wrong`, and not checked. Without a verifier
    every sound answer counts as right.
    """
    if fault := text_fault(completion, chat_model.chat):
        return Answer(completion, Verdict(WRONG, None, fault))
    if verifier is None:
        return Answer(completion, Verdict(RIGHT))
    return Answer(completion, await verifier.check(completion.text.strip(), task))


async def draw(
    chat_model: ChatModel, prompt: list[int], task: Task, verifier: Verifier | None, sampling: Sampling
) -> Answer:
    """One answer to a prompt, verified."""
    return await judged(await chat_model.answer(prompt, replace(sampling, logprob=True)), chat_model, verifier, task)
