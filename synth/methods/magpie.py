"""Magpie: a chat model asks itself questions, and answers them (Xu et al. 2024, arXiv 2406.08464).

Given only what its chat template puts before a user message, an aligned model continues with a user message. The
answer is then drawn in the usual way. The result is data in the model's own words that covers what it was taught, from
nothing but the model: pseudo-replay.

Differs from the paper's repository: the text before the user message and what ends a turn are derived from the
tokenizer's chat template (`synth.chat.format`) rather than listed by model family; a question is never cleaned up, but
kept as drawn or rejected.
"""

import json
import math
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from filters.functions import Functions
from synth.chat.format import ChatFormat
from synth.data.row import Message, Outcome, Row, digest
from synth.data.run.record import without
from synth.data.store.path import path_at
from synth.engines.base import Sampling
from synth.errors import RequestError, UsageError
from synth.generation.chat_model import ChatModel
from synth.generation.runner import empty_rows
from synth.generation.screen import answer_fault, question_fault
from synth.seeds import seed_of
from synth.small_text import read_small

DOMAIN = "The user asks about {domain}."
LANGUAGE = "The user writes in {language}."
FOLLOW_UP = "The user goes on with a follow-up on what was said before."


@dataclass(frozen=True, slots=True)
class System:
    """A system prompt and how often it is taken, relative to the others."""

    text: str
    weight: float = 1.0


def system_prompts(given: str | Sequence[System] | None) -> tuple[System, ...]:
    """System prompts as they are given: a text, @FILE of JSON lines, or themselves.

    Raises:
        UsageError: the file cannot be read, or holds something else.
    """
    if not isinstance(given, str):
        return tuple(given or ())
    if not given.startswith("@"):
        return (System(given),)
    file = given[1:]
    try:
        lines = read_small(path_at(file)).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"`system`: {file} cannot be read: {error}") from error
    systems = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            systems.append(System(str(entry["text"]), float(entry.get("weight", 1))))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UsageError(f'`system`: {file} line {number} is not {{"text": …, "weight": …}}') from error
    if not systems:
        raise UsageError(f"`system`: {file} holds no system prompt")
    return tuple(systems)


@dataclass(frozen=True, slots=True)
class MagpieSettings:
    """The settings that determine the rows of a run, beside the model.

    Attributes:
        seed: the run's seed.
        turns: user turns a conversation has.
        system: system prompts; one is chosen per row by weight. It is part of the conversation.
        domain: topics; one is chosen per row. It steers the questions only and is not part of the conversation.
        language: the questions' language; steers as a domain does.
        tools: functions on offer, as the chat template's `tools`: the model asks what needs them, and calls them.
        question: how user turns are drawn (temperature 1, top-p 1 in the paper).
        answer: how answers are drawn (greedy in the paper).
    """

    seed: int = 0
    turns: int = 1
    system: tuple[System, ...] = ()
    domain: tuple[str, ...] = ()
    language: str | None = None
    tools: Functions | None = None
    question: Sampling = field(default_factory=lambda: Sampling(max_tokens=1024))
    answer: Sampling = field(default_factory=lambda: Sampling(max_tokens=2048, temperature=0.0))

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            UsageError: a value is out of its range.
        """
        if self.turns < 1:
            raise UsageError(f"`turns` must be at least 1, not {self.turns}")
        if not all(0 <= system.weight < math.inf for system in self.system):
            raise UsageError("the weight of a system prompt must be a number, and must not be negative")
        if self.system and not sum(system.weight for system in self.system):
            raise UsageError("all system prompts have weight 0; none could be chosen")

    def record(self) -> dict[str, Any]:
        """The settings as JSON values, for `run.json` and the rows' ids."""
        own = {"question_tokens": self.question.max_tokens, "answer_temperature": self.answer.temperature}
        own |= {"answer_top_p": self.answer.top_p, "logprob": self.answer.logprob}
        chosen = self.question.chosen() | {"max_tokens": self.answer.max_tokens} | own
        tools = {"tools": digest(list(self.tools.offers))} if self.tools else {}
        return without(asdict(self), "question", "answer", "tools") | chosen | tools


def magpie(chat_model: ChatModel, settings: MagpieSettings) -> Callable[[Row], Awaitable[Outcome]]:
    """The method for one model and one set of settings.

    Where it offers tools, a conversation ends at the first turn that calls one: the result is not the model's to say.

    Raises:
        UsageError: the chat template takes no system turn or no tools, and settings need it; or it has no second user
            turn.
    """
    if settings.tools:
        chat_model = _offering(chat_model, settings.tools)
    engine, chat = chat_model.engine, chat_model.chat
    ask = replace(settings.question, stop_ids=chat.stop_ids, stop=chat.stop)
    _check_template(chat, settings)

    async def converse(row: Row) -> Outcome:
        choice = random.Random(seed_of(settings.seed, row.id, "choice"))
        system, steering = _choose(choice, settings)
        row.messages += system
        if settings.tools:
            row.extra["tools"] = json.dumps(settings.tools.offers, ensure_ascii=False)
        for turn in range(settings.turns):
            before = _steered(row.messages, steering, follow_up=turn > 0)
            prompt = chat.user_prompt(before)
            seed = seed_of(settings.seed, row.id, "question", turn)
            [question] = await engine.generate(prompt.ids, replace(ask, seed=seed))
            row.messages.append({"role": "user", "content": question.text.strip()})
            if fault := question_fault(question, chat):
                return Outcome(row, _where("question", turn, settings.turns, fault))

            seed = seed_of(settings.seed, row.id, "answer", turn)
            answer = await chat_model.answer(chat.answer_prompt(row.messages), replace(settings.answer, seed=seed))
            said = chat_model.put(row, answer)
            row.logprob = answer.logprob
            if fault := answer_fault(answer, chat):
                return Outcome(row, _where("answer", turn, settings.turns, fault))
            if said.tool_calls:
                break
        row.samples = 1
        return Outcome(row)

    return converse


def magpie_rows(settings: dict[str, Any], model: str) -> Callable[[int], Iterator[Row]]:
    """Endless empty rows; see `empty_rows`."""
    return empty_rows("magpie", settings, model)


def _offering(chat_model: ChatModel, tools: Functions) -> ChatModel:
    """The model where these tools are offered.

    Raises:
        UsageError: its chat template takes no tools, or something else stands in their place.
    """
    if chat_model.chat.prefix is not None:
        raise UsageError("`tools` are offered before the question, where `prefix` puts another text: give one of them")
    try:
        return chat_model.with_format(chat_model.chat.with_tools(tools.offers))
    except RequestError as error:
        raise UsageError(f"`tools` cannot be offered: {error}") from error


def _check_template(chat: ChatFormat, settings: MagpieSettings) -> None:
    if settings.system or settings.domain or settings.language:
        chat.user_prompt([{"role": "system", "content": "text"}])
    if settings.turns > 1:
        turn = [{"role": "user", "content": "text"}, {"role": "assistant", "content": "text"}]
        chat.user_prompt(turn)


def _choose(choice: random.Random, settings: MagpieSettings) -> tuple[list[Message], list[str]]:
    """The row's own system turn, if any, and the sentences that steer its questions."""
    system: list[Message] = []
    if settings.system:
        weights = [system.weight for system in settings.system]
        [chosen] = choice.choices(settings.system, weights)
        system = [{"role": "system", "content": chosen.text}]
    steering = []
    if settings.domain:
        steering.append(DOMAIN.format(domain=choice.choice(settings.domain)))
    if settings.language:
        steering.append(LANGUAGE.format(language=settings.language))
    return system, steering


def _steered(messages: Sequence[Message], steering: list[str], *, follow_up: bool) -> list[Message]:
    """The conversation with steering added to its system turn, as the model sees it while it asks."""
    if not steering:
        return list(messages)
    sentences = [*steering, FOLLOW_UP] if follow_up else steering
    if messages and messages[0]["role"] == "system":
        return [{"role": "system", "content": " ".join([messages[0]["content"], *sentences])}, *messages[1:]]
    return [{"role": "system", "content": " ".join(sentences)}, *messages]


def _where(what: str, turn: int, turns: int, fault: str) -> str:
    return f"{what} {turn + 1} {fault}" if turns > 1 else f"{what} {fault}"
