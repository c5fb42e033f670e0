"""What methods share: a chat model, and its answers with their verdicts."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from filters.response.calls import with_calls
from filters.verdict import RIGHT, WRONG, Task, Verdict
from synth.chat.format import ChatFormat
from synth.chat.thinking import Mode
from synth.chat.turn import Turn
from synth.data.row import Message, Row
from synth.engines.base import Completion, Engine, Sampling
from synth.errors import RequestError, UsageError
from synth.generation.screen import answer_fault
from synth.generation.verification import Verifier

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NOT_OPEN: Any = None
"""Stands for an engine while settings are checked, before anything is loaded."""


def renders(chat: ChatFormat) -> bool:
    """Whether rows say how they are rendered (`RENDERING`): with thoughts, a date, tools, or other arguments."""
    return chat.thinking.own or bool(chat.template.arguments) or "tools" in chat.template.variables


def check_samples(samples: int, sampling: Sampling) -> None:
    """Refuse a number of samples that cannot be drawn, or several that would be identical.

    Raises:
        UsageError: there is none, or there are several at temperature 0.
    """
    if samples < 1:
        raise UsageError(f"`samples` must be at least 1, not {samples}")
    if samples > 1 and sampling.temperature == 0:
        raise UsageError("at temperature 0 all samples are equal: give a `temperature`, or `samples` 1")


@dataclass(frozen=True, slots=True)
class ChatModel:
    """A chat model: its engine, its chat format and its name.

    `scorer` is the same model in an engine that scores, where `engine` does not. `mode` is the one that was asked for,
    if any; `thought_tokens` are the most tokens of thoughts, beside those of the answer (None: they share them).
    """

    engine: Engine
    chat: ChatFormat
    name: str
    scorer: Engine | None = None
    mode: Mode | None = None
    thought_tokens: int | None = None

    @property
    def thinks(self) -> bool:
        """Whether its answers may begin with thoughts."""
        return self.chat.thinking.own and self.chat.begun != "content"

    def with_format(self, chat: ChatFormat) -> Self:
        """The same model where conversations are written in another way."""
        return replace(self, chat=chat)

    def in_mode(self, mode: Mode) -> Self:
        """The same model, which thinks or does not.

        Raises:
            UsageError: its chat template has no such mode.
        """
        return replace(self, chat=self.chat.in_mode(mode), mode=mode)

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
        if self.thought_tokens is None or not self.thinks:
            [completion] = await self.engine.generate(prompt, ends)
            return completion
        room = replace(ends, max_tokens=sampling.max_tokens + self.thought_tokens)
        [completion] = await self.engine.generate(prompt, room)
        said = len(self.chat.template.token_ids(self.chat.parse(completion.text).content))
        over = said > sampling.max_tokens or len(completion.token_ids) - said > self.thought_tokens
        return replace(completion, finish="length") if over else completion

    def rendering(self) -> dict[str, Any]:
        """How prompts are rendered, as columns of `RENDERING`; nothing where rows do not say (`renders`)."""
        if not renders(self.chat):
            return {}
        return {"mode": self.mode, "template_args": json.dumps(self.chat.template.arguments, sort_keys=True)}

    def put(self, row: Row, completion: Completion, turn: Turn | None = None, *, asked: bool = True) -> Turn:
        """Add an answer to a row, with what is needed to train on it as it was drawn (columns of `RENDERING`).

        Args:
            row: ends in what is answered.
            completion: as drawn.
            turn: what it says; as the chat format parses it, if None.
            asked: whether it was drawn as the answer to the row itself. Otherwise (a restatement, an edit) its thoughts
                are about something else, and only its content is taken.

        Returns:
            What the answer says.
        """
        turn = turn or self.chat.parse(completion.text)
        message = turn.message() if asked else {"role": "assistant", "content": turn.content}
        earlier = row.extra.get("drawn") or [None] * sum(turn["role"] == "assistant" for turn in row.messages)
        drawn = [*earlier, self._kept(row.messages, message, completion) if asked else None]
        row.extra["drawn"] = None if all(ids is None for ids in drawn) else drawn
        if renders(self.chat):
            chat = self.chat if asked else self.chat.for_turn(message, anew=True)
            shown = "thinking" if "reasoning_content" in message else "plain"
            row.extra["mode"] = self.mode if asked and self.mode else shown
            row.extra["template_args"] = json.dumps(chat.template.arguments, sort_keys=True)
        row.messages = [*row.messages, message]
        return turn

    def _kept(self, asked: Sequence[Message], message: Message, completion: Completion) -> list[int] | None:
        """The drawn tokens with the one that ended them, unless the message alone says them."""
        text, ended = completion.text, completion.stop_reason
        plain = message == {"role": "assistant", "content": text} and not self.chat.thinking.own and self.chat.verbatim
        if plain and ended == self.chat.written_end and self.chat.template.token_ids(text) == [*completion.token_ids]:
            return None  # the common case, told without writing the conversation
        ids = [*completion.token_ids, *([ended] if isinstance(ended, int) else [])]
        try:
            encoded, prompt = self.chat.last_answer([*asked, message]), self.chat.answer_prompt(asked)
        except RequestError:
            return ids
        start, end = encoded.spans[-1]
        same = start == len(prompt) and encoded.input_ids[:end] == [*prompt, *ids]
        return None if same else ids

    async def logprobs(self, messages: list[Message]) -> "NDArray[np.float32]":
        """Log-probabilities (nats, [tokens]) of the last answer of a conversation, the token that ends it included.

        Raises:
            RequestError: the conversation is longer than the model's window, or holds a control token.
        """
        encoded = await self.chat.aside(ChatFormat.last_answer, messages)
        scores = await (self.scorer or self.engine).logprobs(encoded.input_ids)
        start, end = encoded.spans[-1]
        return scores[start:end]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as drawn, what it says, and its verdict."""

    completion: Completion
    turn: Turn
    verdict: Verdict

    @property
    def right(self) -> bool:
        """Whether the verifier judges it right."""
        return self.verdict.kind == RIGHT

    @property
    def text(self) -> str:
        """What it says to the user."""
        return self.turn.content

    @property
    def whole(self) -> str:
        """What it says and which tools it calls, as one text, which verifiers are given."""
        return with_calls(self.turn.content, self.turn.tool_calls)

    @property
    def tokens(self) -> int:
        """Tokens drawn, the one that ended it included."""
        return len(self.completion.token_ids) + (self.completion.finish == "stop")

    @property
    def perplexity(self) -> float:
        """Per token, under the model that wrote it, given the task."""
        return math.exp(-(self.completion.logprob or 0.0) / max(self.tokens, 1))

    def fill(self, row: Row, chat_model: ChatModel, *, asked: bool = True) -> None:
        """Make it the answer of a row, with a verdict where the row has a verifier; `asked` as for `ChatModel.put`."""
        chat_model.put(row, self.completion, self.turn, asked=asked)
        row.model = chat_model.name
        if row.verifier is not None:
            row.verdict, row.answer = self.verdict.kind, self.verdict.answer
        row.logprob = self.completion.logprob
        row.extra["tokens"] = self.tokens


def each_once(answers: Iterable[Answer]) -> list[Answer]:
    """The first answer of each distinct text and calls, in the order drawn."""
    texts: dict[str, Answer] = {}
    for answer in answers:
        texts.setdefault(answer.whole, answer)
    return list(texts.values())


async def judged(completion: Completion, chat_model: ChatModel, verifier: Verifier | None, task: Task) -> Answer:
    """An answer with its verdict.

    One that no model should be trained on (cut off, repetitive, …) is `wrong`, and not checked. Without a verifier
    every sound answer counts as right.
    """
    turn = chat_model.chat.parse(completion.text)
    if fault := answer_fault(completion, chat_model.chat):
        return Answer(completion, turn, Verdict(WRONG, None, fault))
    if verifier is None:
        return Answer(completion, turn, Verdict(RIGHT))
    return Answer(completion, turn, await verifier.check(with_calls(turn.content, turn.tool_calls), task))


async def draw(
    chat_model: ChatModel, prompt: list[int], task: Task, verifier: Verifier | None, sampling: Sampling
) -> Answer:
    """One answer to a prompt, verified."""
    return await judged(await chat_model.answer(prompt, replace(sampling, logprob=True)), chat_model, verifier, task)
