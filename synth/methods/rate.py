"""Rate: a model scores each row, in columns of numbers. Rate once, then filter by any threshold.

Judgements (quality, complexity, difficulty, safety, a prompt of the user's) are asked for in words, one reply each:
1 to 5, read strictly. Perplexity and difficulty of following (IFD, Li et al. 2024, arXiv 2308.12032) are measured: they
come of the model's own log-probabilities.
"""

import asyncio
import math
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from synth.chat.format import Encoded
from synth.data.plain import only_texts, text_of
from synth.data.prompts import PromptSet
from synth.data.row import BASE, Message, Outcome, Row
from synth.data.store.path import path_at
from synth.data.views import THOUGHTS, pieces
from synth.engines.base import Sampling
from synth.errors import RequestError, UsageError
from synth.generation.chat_model import ChatModel
from synth.generation.prompt_files import fill, load_prompt, prompt_names
from synth.methods.verify import answer_of
from synth.scoring.encoding import RowEncoder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MEASURES = ("perplexity", "ifd")
"""The aspects that are measured, not asked for."""

CHARACTERS = 20_000
"""Most characters of a conversation: the model is not asked about longer ones."""

_PLACES = {"question", "answer"}
_SCORE = re.compile(r"^\W*score\W*([1-5])(?: ?/ ?5)?\W*$", re.IGNORECASE | re.MULTILINE)

Rating = Callable[[Row], Awaitable[float]]
"""One number for a row; raises RequestError where there is none."""


@dataclass(frozen=True, slots=True)
class RateSettings:
    """The settings that determine the numbers, beside the model.

    Attributes:
        aspects: names of `MEASURES`, of shipped prompts (`quality`), or prompt files of the user's.
        max_tokens: most tokens of a reply.
    """

    aspects: tuple[str, ...]
    max_tokens: int = 512

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            UsageError: an aspect is unknown, named twice, or its column would be one of ours.
        """
        if not self.aspects:
            raise UsageError(f"nothing to rate by: take {', '.join(known())}")
        names = [column_of(aspect) for aspect in self.aspects]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"{name} is named twice")
            if name in BASE.names:
                raise UsageError(f"{name} is a column of every row; call the prompt's file something else")
        self.prompts()

    def record(self) -> dict[str, Any]:
        """The settings as JSON values, the prompts' texts among them."""
        return {"by": list(self.aspects), "max_tokens": self.max_tokens, "prompts": self.prompts()}

    def prompts(self) -> dict[str, str]:
        """The text of each aspect that is asked for.

        Raises:
            UsageError: a prompt cannot be read, or its places are not {question} and {answer}.
        """
        return {aspect: _prompt(aspect) for aspect in self.aspects if aspect not in MEASURES}

    @property
    def measured(self) -> list[str]:
        """The aspects that are measured: for them the model has to score texts."""
        return [aspect for aspect in self.aspects if aspect in MEASURES]

    @property
    def columns(self) -> pa.Schema:
        """What rating adds: for each aspect a number, and why it is missing where it is."""
        names = [column_of(aspect) for aspect in self.aspects]
        return pa.schema([item for name in names for item in ((name, pa.float64()), (fault_of(name), pa.string()))])


def known() -> list[str]:
    """The aspects that ship."""
    return [*(name.removeprefix("rate-") for name in prompt_names("rate")), *MEASURES]


def column_of(aspect: str) -> str:
    """The column of an aspect: its name, or that of the user's file."""
    return Path(aspect).stem if Path(aspect).suffix else aspect


def fault_of(name: str) -> str:
    """The column that says why a row has no number in the column `name`."""
    return f"{name}_fault"


def check_rows(prompts: PromptSet, aspects: Sequence[str], added: pa.Schema) -> None:
    """Refuse rows that cannot be rated.

    Args:
        prompts: the rows.
        aspects: what they are to be rated by, `reward` included.
        added: the columns that come of it.

    Raises:
        UsageError: they are plain texts, and an aspect is said of answers alone; or they are rated by it already.
    """
    of_answers = [aspect for aspect in aspects if aspect != "perplexity"]
    if of_answers and only_texts(prompts.source):
        raise UsageError(
            f"`by` {of_answers[0]} is said of an answer to a question, and {prompts.source.source} holds plain texts: "
            "take `by` perplexity"
        )
    there = [name for name in added.names if name in prompts.source.schema.names]
    if there:
        raise UsageError(
            f"{prompts.source.source} has a column {there[0]} already: filter by it, or rate by something else"
        )


def rate(
    chat_model: ChatModel, settings: RateSettings, missing: Counter[str] | None = None
) -> Callable[[Row], Awaitable[Outcome]]:
    """The method: every row comes out, with a number for each aspect, or null and the reason.

    Args:
        chat_model: the model.
        settings: what to rate by.
        missing: counts, by column, rows without a number.
    """
    prompts = settings.prompts()
    sampling = Sampling(max_tokens=settings.max_tokens, temperature=0.0)
    measures: dict[str, Rating] = {
        "perplexity": lambda row: perplexity(chat_model, row),
        "ifd": lambda row: following_difficulty(chat_model, row),
    }

    async def one(aspect: str, row: Row) -> tuple[float | None, str | None]:
        try:
            if aspect in measures:
                return await measures[aspect](row), None
            return await _judged(chat_model, prompts[aspect], row, sampling), None
        except RequestError as error:
            return None, str(error)

    async def method(row: Row) -> Outcome:
        numbers = await asyncio.gather(*(one(aspect, row) for aspect in settings.aspects))
        for aspect, (number, fault) in zip(settings.aspects, numbers, strict=True):
            name = column_of(aspect)
            row.extra |= {name: number, fault_of(name): fault}
            if missing is not None and fault is not None:
                missing[name] += 1
        return Outcome(row)

    return method


async def perplexity(chat_model: ChatModel, row: Row) -> float:
    """Perplexity of the last answer given what precedes it: exp of the mean negative log-probability of its tokens.

    Of a plain text: of all its tokens but the first, which nothing precedes, with the end of sequence.

    Raises:
        RequestError: the row does not end in an answer, or the model cannot score it.
    """
    if (text := text_of(row)) is not None:
        tokens = RowEncoder(chat_model.chat).text(text).ids
        return _exp(_loss((await chat_model.engine.logprobs(tokens.tolist()))[1:]))
    encoded = await _encoded(chat_model, row)
    start, end = encoded.spans[-1]
    return _exp(_loss((await chat_model.engine.logprobs(encoded.input_ids))[start:end]))


async def following_difficulty(chat_model: ChatModel, row: Row) -> float:
    """Instruction-following difficulty: the loss on the answer given the prompt, over the loss on the answer alone.

    Near 0 the prompt determines the answer; at 1 and above it does not help, so prompt and answer hardly belong
    together. The paper keeps the highest below 1. Alone, an answer follows the token that begins a text, if the
    tokenizer has one; else its first token, which nothing then precedes, is left out of both losses.

    Raises:
        RequestError: the row does not end in an answer, the model cannot score it, or it is sure of it either way.
    """
    encoded = await _encoded(chat_model, row)
    start, end = encoded.spans[-1]
    begin = chat_model.chat.tokenizer.bos_token_id
    lead = [] if begin is None else [begin]
    given, alone = await asyncio.gather(
        chat_model.engine.logprobs(encoded.input_ids),
        chat_model.engine.logprobs([*lead, *encoded.input_ids[start:end]]),
    )
    left_out = 0 if lead else 1
    loss_alone = _loss(alone[1:])
    if loss_alone == 0:
        raise RequestError("the model is sure of the answer without the prompt")
    return _loss(given[start + left_out : end]) / loss_alone


async def _encoded(chat_model: ChatModel, row: Row) -> Encoded:
    """A row's last answer after its prompt, rendered as the row's columns say."""
    _answer(row)
    record = row.passthrough | {"messages": row.messages}
    return await chat_model.chat.aside(lambda chat, _: RowEncoder(chat).last_answer(record), row.messages)


def _loss(logprobs: "NDArray[np.float32]") -> float:
    """Mean negative log-probability, nats a token."""
    if not len(logprobs):
        raise RequestError("the answer has no token to score")
    loss = -float(logprobs.mean(dtype="float64"))
    if not math.isfinite(loss):
        raise RequestError("the model's log-probabilities are not numbers")
    return loss


def _exp(nats: float) -> float:
    return math.exp(min(nats, 700.0))


def _prompt(aspect: str) -> str:
    shipped = f"rate-{aspect}"
    if shipped in prompt_names("rate"):
        return load_prompt(shipped, {"question"}, _PLACES)
    if not path_at(aspect).is_file():
        raise UsageError(f"there is no aspect {aspect}: take {', '.join(known())}, or a prompt file")
    return load_prompt(aspect, set(), _PLACES)


async def _judged(chat_model: ChatModel, prompt: str, row: Row, sampling: Sampling) -> float:
    answer, question = _answer(row), _question(row.messages[:-1])
    if len(answer) + len(question) > CHARACTERS:
        raise RequestError(f"longer than the {CHARACTERS:,} characters that are asked about")
    asked: list[Message] = [{"role": "user", "content": fill(prompt, question=question, answer=answer)}]
    reply = await chat_model.reply(asked, sampling)
    scores = set(_SCORE.findall(reply.text))
    if len(scores) != 1:
        raise RequestError("no score in the reply" if not scores else "several scores in the reply")
    return float(scores.pop())


def _answer(row: Row) -> str:
    if text_of(row) is not None:
        raise RequestError("a plain text: there is no answer to a question in it")
    if not row.messages:
        raise RequestError("neither turns nor text")
    answer = answer_of(row)
    if answer is None:
        raise RequestError("the last turn is not the assistant's")
    return answer


def _question(messages: list[Message]) -> str:
    """What precedes the answer: the user's turn alone, or all turns with their roles, and calls of tools as text."""
    if len(messages) == 1:
        return messages[0]["content"] or ""
    return "\n\n".join(f"{role}: {text}" for role, text in pieces(messages) if role != THOUGHTS)
