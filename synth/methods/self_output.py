"""Self-output: the model answers the tasks itself, and its right answers become the data.

Training on answers that the model gave itself changes it least, and what is right among them still teaches the task:
selective self-rehearsal (arXiv 2409.04787), self-output chosen by perplexity among several samples
(arXiv 2501.14315: 32 samples, temperature 0.7, top-p 0.95, the right one of lowest perplexity), the shortest
right one (arXiv 2502.20122). Tasks with no right answer fall back, in a chosen order, to a restatement of the human
answer, to a correction of the model's own answer, or to the human answer itself.

Without a verifier answers are taken as they come, and marked so: the baseline of simple self-distillation
(arXiv 2604.01193).
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa

from filters.verdict import UNSCORABLE, Verdict
from synth.data.prompts import task_of
from synth.data.row import UNVERIFIED, Message, Outcome, Row, digest
from synth.data.run.record import without
from synth.engines.base import Sampling
from synth.errors import UsageError
from synth.generation.chat_model import Answer, ChatModel, check_samples, draw, each_once
from synth.generation.verification import Verifier, check_reference, reference_fault
from synth.methods import minimum_change as edits
from synth.methods import paraphrase as restatements
from synth.seeds import seed_of

SELECT = ("first", "lowest-perplexity", "highest-perplexity", "shortest", "longest", "random", "all")
FALLBACKS = ("paraphrase", "minimum-change", "gold", "drop")

COLUMNS = pa.schema(
    [
        ("samples_right", pa.int32()),  # of the samples drawn; null where none was judged
        *edits.COLUMNS,
        ("note", pa.string()),  # why a fallback was taken
    ]
)


@dataclass(frozen=True, slots=True)
class SelfOutputSettings:
    """The settings that determine the rows, beside the models and the verifier.

    Attributes:
        seed: the run's seed.
        samples: answers drawn for each task, at most.
        select: which of the right ones is taken; `first` draws one after the other and stops at the first right one.
        fallback: what is tried, in this order, for a task with no right answer.
        pairs: also make preference pairs of right and wrong answers to the same task.
        sampling: how answers are drawn.
        paraphrase: how the fallback of that name works.
        minimum_change: likewise.
    """

    seed: int = 0
    samples: int = 8
    select: str = "first"
    fallback: tuple[str, ...] = ("drop",)
    pairs: bool = False
    sampling: Sampling = field(default_factory=lambda: Sampling(max_tokens=2048, temperature=0.7, top_p=0.95))
    paraphrase: restatements.ParaphraseSettings = field(default_factory=restatements.ParaphraseSettings)
    minimum_change: edits.MinimumChangeSettings = field(default_factory=edits.MinimumChangeSettings)

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            UsageError: a value is out of its range or unknown.
        """
        check_samples(self.samples, self.sampling)
        if self.select not in SELECT:
            raise UsageError(f"`select` {self.select} is unknown; take {', '.join(SELECT)}")
        for way in self.fallback:
            if way not in FALLBACKS:
                raise UsageError(f"`fallback` {way} is unknown; take {', '.join(FALLBACKS)}, in the order to be tried")
        if self.pairs and self.samples < 2:
            raise UsageError("`pairs` needs right and wrong answers to the same task: give `samples` 2 or more")

    def record(self) -> dict[str, Any]:
        """The settings as JSON values."""
        record = without(asdict(self), "sampling") | self.sampling.chosen()
        record["paraphrase"] = self.paraphrase.record() if "paraphrase" in self.fallback else None
        record["minimum_change"] = self.minimum_change.record() if "minimum-change" in self.fallback else None
        return record


def self_output(
    chat_model: ChatModel,
    verifier: Verifier | None,
    settings: SelfOutputSettings,
    *,
    editor: ChatModel | None = None,
    demonstrations: Callable[[Row], list[Message]] = lambda _: [],
) -> Callable[[Row], Awaitable[Outcome]]:
    """The method for one model.

    Args:
        chat_model: the model that answers.
        verifier: judges the answers; None takes them unverified, and goes with neither fallbacks nor pairs.
        settings: those that determine the rows.
        editor: the model that restates and mends for the fallbacks; `chat_model` if None.
        demonstrations: turns to show before a task, not part of the row.
    """
    editor = editor or chat_model
    if verifier is None:
        return _unverified(chat_model, settings, demonstrations)
    restate = restatements.restating(editor, verifier, settings.paraphrase)
    mend = edits.mending(editor, editor, verifier, settings.minimum_change)

    async def method(row: Row) -> Outcome:
        row.verifier = verifier.name
        reference = await check_reference(verifier, task_of(row))
        if fault := reference_fault(reference):
            return Outcome(row, fault)
        answers = await _draw_all(row, chat_model, verifier, settings, demonstrations(row))
        right = [answer for answer in answers if answer.right]
        row.samples = len(answers)
        row.extra["samples_right"] = len(right)
        pairs = preference_pairs(row, answers, chat_model) if settings.pairs else []
        if right:
            more = _complete(row, right, chat_model, settings)
            return Outcome(row, None, more, pairs)
        return await fall_back(row, answers, reference)

    async def fall_back(row: Row, answers: list[Answer], reference: Verdict) -> Outcome:
        drawn, fault = row.samples, _why(answers)
        for way in settings.fallback:
            if way == "paraphrase":
                problem = await restate(row) if row.reference is not None else "no reference to restate"
            elif way == "minimum-change":
                problem = await mend(row, answers[0])
            elif way == "gold":
                problem = None if row.reference is not None else "no reference to take"
                if problem is None:
                    restatements.keep_reference(row, reference, fault)
            else:
                break
            if problem is None:
                row.samples = drawn
                row.extra["note"] = fault
                return Outcome(row)
            fault = f"{fault}; {problem}"
        return Outcome(row, fault)

    return method


def _unverified(
    chat_model: ChatModel, settings: SelfOutputSettings, demonstrations: Callable[[Row], list[Message]]
) -> Callable[[Row], Awaitable[Outcome]]:
    """The method that takes an answer whether it is right or not, as long as it is one (`answer_fault`)."""

    async def method(row: Row) -> Outcome:
        answers = await _draw_all(row, chat_model, None, settings, demonstrations(row))
        sound = [answer for answer in answers if answer.right]
        row.samples = len(answers)
        if not sound:
            return Outcome(row, f"no usable answer: of {len(answers)} the first is {answers[0].verdict.reason}")
        row.verdict = UNVERIFIED
        return Outcome(row, None, _complete(row, sound, chat_model, settings))

    return method


async def _draw_all(
    row: Row, chat_model: ChatModel, verifier: Verifier | None, settings: SelfOutputSettings, shown: list[Message]
) -> list[Answer]:
    """The answers to a task: up to the first right one, or all of them at once."""
    system = [turn for turn in row.messages if turn["role"] == "system"]
    messages = [*system, *shown, *(turn for turn in row.messages if turn["role"] != "system")]
    prompt, task = await chat_model.prompt(messages), task_of(row)

    def sample(number: int) -> Awaitable[Answer]:
        seed = seed_of(settings.seed, row.id, "sample", number)
        return draw(chat_model, prompt, task, verifier, replace(settings.sampling, seed=seed))

    if settings.select == "first" and not settings.pairs and not (verifier and verifier.votes):
        answers = []
        for number in range(settings.samples):
            answers.append(await sample(number))
            if answers[-1].right:
                break
        return answers
    answers = list(await asyncio.gather(*map(sample, range(settings.samples))))
    if verifier is None:
        return answers
    verdicts = verifier.vote([answer.verdict for answer in answers])
    return [replace(answer, verdict=verdict) for answer, verdict in zip(answers, verdicts, strict=True)]


def _complete(row: Row, right: list[Answer], chat_model: ChatModel, settings: SelfOutputSettings) -> list[Row]:
    """Fill the row with the chosen answer; with `all`, further rows with the other right ones, each text once."""
    row.method = "self-output"
    if settings.select == "all":
        distinct = each_once(right)
    else:
        distinct = [choose(right, settings.select, random.Random(seed_of(settings.seed, row.id, "choice")))]
    more = [replace(row, id=digest(row.id, number), extra=dict(row.extra)) for number in range(1, len(distinct))]
    for item, answer in zip([row, *more], distinct, strict=True):
        answer.fill(item, chat_model)
    return more


def choose(right: Sequence[Answer], select: str, choice: random.Random) -> Answer:
    """One of the right answers, as `select` says; the earlier where two are equal."""
    if select == "lowest-perplexity":
        return min(right, key=lambda answer: answer.perplexity)
    if select == "highest-perplexity":
        return max(right, key=lambda answer: answer.perplexity)
    if select == "shortest":
        return min(right, key=lambda answer: answer.tokens)
    if select == "longest":
        return max(right, key=lambda answer: answer.tokens)
    return choice.choice(right) if select == "random" else right[0]


def preference_pairs(row: Row, answers: Sequence[Answer], chat_model: ChatModel) -> list[dict[str, Any]]:
    """Right and wrong answers to one task, paired in the order drawn, each used once; see `pairs_schema`.

    Answers that could not be judged, or were cut off, are not used as wrong ones.
    """
    right = each_once(answer for answer in answers if answer.right)
    wrong = each_once(
        answer
        for answer in answers
        if answer.verdict.kind == "wrong" and answer.completion.finish == "stop" and answer.whole
    )
    tools = {name: value for name, value in row.record().items() if name == "tools" and value}
    return [
        {
            "id": digest(row.id, "pair", number),
            "prompt": row.messages,
            "chosen": [good.turn.message()],
            "rejected": [bad.turn.message()],
            "model": chat_model.name,
            "parent": row.parent,
            **tools,
            **chat_model.rendering(),
        }
        for number, (good, bad) in enumerate(zip(right, wrong, strict=False))
    ]


def _why(answers: Sequence[Answer]) -> str:
    """The reason for a task with no right answer: whether the first was wrong or could not be judged, and why."""
    first = answers[0].verdict
    if all(answer.verdict.kind == UNSCORABLE for answer in answers):
        return f"no answer could be judged: {first.reason}"
    return f"no right answer: of {len(answers)} the first is {first.kind}: {first.reason or first.answer}"
