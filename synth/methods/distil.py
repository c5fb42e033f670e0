"""Distil: answers of a stronger model to a list of prompts, the right ones kept, and what they cost.

Sequence-level distillation (Kim and Rush 2016, arXiv 1606.07947) with rejection: several answers are drawn to each
prompt, and every distinct one that is sound, and right where there is a verifier, becomes a row. Such rows are foreign
to the model that is trained on them, and make it forget more than its own answers do: `synth self-output` is the other
way.

Tokens are counted as the teacher's own tokenizer and chat template count them. Not counted: requests that failed or
were tried again, those under way when a run was killed, and other models that judge.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa

from synth.data.prompts import task_of
from synth.data.row import Outcome, Row, digest
from synth.data.run.record import without
from synth.engines.base import Sampling, sequence_room
from synth.errors import RequestError, UsageError
from synth.generation.chat_model import Answer, ChatModel, check_samples, draw
from synth.generation.runner import Run
from synth.generation.verification import Verifier, check_reference, reference_fault
from synth.seeds import seed_of

COLUMNS = pa.schema(
    [
        ("samples_right", pa.int32()),  # of the samples drawn
        ("tokens", pa.int32()),  # of the answer, its end included
        ("cost", pa.float64()),  # of all samples of its prompt; on the first of a prompt's rows alone
    ]
)

MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Prices:
    """What a million tokens cost, read and written, in any currency."""

    into: float
    out: float

    def __post_init__(self) -> None:
        """Refuse impossible prices.

        Raises:
            UsageError: one is negative, or not a number.
        """
        for name, price in (("price_in", self.into), ("price_out", self.out)):
            if not 0 <= price < float("inf"):
                raise UsageError(f"`{name}` must be 0 or more, not {price}")

    def cost(self, into: int, out: int) -> float:
        """What so many tokens cost, read and written."""
        return (self.into * into + self.out * out) / MILLION


class Ledger:
    """What a run has spent and may spend.

    Before a prompt is sent, the most that its answers can cost is set aside. Where that is more than what is left, the
    prompt waits for others to cost less than was set aside for them; when none is under way, the run is stopped. So
    the budget is never exceeded, and nothing that was paid for is lost.

    Attributes:
        prices: of tokens, or None where nothing is counted.
        most: the budget, over all processes of a run; None is no limit.
        spent: so far.
        exhausted: whether the run was stopped for the budget.
    """

    def __init__(self, prices: Prices | None, most: float | None = None) -> None:
        if most is not None and prices is None:
            raise UsageError("`most` needs prices: give `price_in` and `price_out`")
        if most is not None and not most > 0:
            raise UsageError(f"`most` must be above 0, not {most}")
        self.prices = prices
        self.most = most
        self.spent = 0.0
        self.exhausted = False
        self._aside: list[float] = []
        self._returned = asyncio.Event()
        self._stop: Callable[[], None] = lambda: None

    def watch(self, run: Run) -> None:
        """Take over what the run's earlier processes spent, and the function that stops the run."""
        ahead = (outcome.row.extra.get("cost") or 0.0 for outcome in run.sink.ahead.values())
        self.spent = (run.sink.record.cost or 0.0) + sum(ahead)
        self._stop = run.stop

    @asynccontextmanager
    async def set_aside(self, bound: float) -> AsyncIterator[None]:
        """Keep `bound` for the body, which spends no more than that."""
        while self.most is not None and self.spent + sum(self._aside) + bound > self.most:
            if not self._aside and not self.exhausted:
                self.exhausted = True
                self._stop()
                self._stop()  # the rows that wait, this one among them, are abandoned: nothing was paid for them
            self._returned.clear()
            await self._returned.wait()
        self._aside.append(bound)
        try:
            yield
        finally:
            self._aside.remove(bound)
            if not self.exhausted:
                self._returned.set()


@dataclass(frozen=True, slots=True)
class DistilSettings:
    """The settings that determine the rows, beside the teacher and the verifier.

    Attributes:
        seed: the run's seed.
        samples: answers drawn to each prompt.
        sampling: how.
    """

    seed: int = 0
    samples: int = 1
    sampling: Sampling = field(default_factory=lambda: Sampling(max_tokens=2048, temperature=0.7, top_p=0.95))

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            UsageError: a value is out of its range.
        """
        check_samples(self.samples, self.sampling)

    def record(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return without(asdict(self), "sampling") | self.sampling.chosen()


def distil(
    teacher: ChatModel, verifier: Verifier | None, settings: DistilSettings, ledger: Ledger
) -> Callable[[Row], Awaitable[Outcome]]:
    """The method for one teacher."""

    async def method(row: Row) -> Outcome:
        if not row.messages:
            return Outcome(row, "no prompt")
        if verifier is not None:
            row.verifier = verifier.name
            if fault := reference_fault(await check_reference(verifier, task_of(row))):
                return Outcome(row, fault)
        prompt = await teacher.prompt(row.messages)
        room = sequence_room(len(prompt), teacher.engine.max_length, settings.sampling.max_tokens)
        prices = ledger.prices
        async with ledger.set_aside(settings.samples * prices.cost(len(prompt), room) if prices else 0.0):
            answers, failed = await _draw_all(row, prompt, teacher, verifier, settings)
            if prices:
                row.extra["cost"] = sum(prices.cost(len(prompt), answer.tokens) for answer in answers)
                ledger.spent += row.extra["cost"]
        if failed and not answers:
            raise failed[0]
        return _outcome(row, answers, teacher)

    return method


async def _draw_all(
    row: Row, prompt: list[int], teacher: ChatModel, verifier: Verifier | None, settings: DistilSettings
) -> tuple[list[Answer], list[RequestError]]:
    """The answers to a prompt, and the errors of failed requests: the answers have been paid for in any case."""
    task = task_of(row)
    drawn = await asyncio.gather(
        *(
            draw(
                teacher,
                prompt,
                task,
                verifier,
                replace(settings.sampling, seed=seed_of(settings.seed, row.id, "sample", number)),
            )
            for number in range(settings.samples)
        ),
        return_exceptions=True,
    )
    answers: list[Answer] = []
    failed: list[RequestError] = []
    for one in drawn:
        if isinstance(one, RequestError):
            failed.append(one)
        elif isinstance(one, BaseException):
            raise one
        else:
            answers.append(one)
    if verifier is not None:
        verdicts = verifier.vote([answer.verdict for answer in answers])
        answers = [replace(answer, verdict=verdict) for answer, verdict in zip(answers, verdicts, strict=True)]
    return answers, failed


def _outcome(row: Row, answers: list[Answer], teacher: ChatModel) -> Outcome:
    """Rows with the right answers, each text once."""
    right = [answer for answer in answers if answer.right]
    row.samples = len(answers)
    row.extra["samples_right"] = len(right)
    if not right:
        first = answers[0].verdict
        why = first.reason or first.answer
        return Outcome(row, f"no right answer: of {len(answers)} the first is {first.kind}: {why}")
    first_of: dict[str, Answer] = {}
    for answer in right:
        first_of.setdefault(answer.whole, answer)
    more = [
        replace(row, id=digest(row.id, number), extra=row.extra | {"cost": None}) for number in range(1, len(first_of))
    ]
    for item, answer in zip([row, *more], first_of.values(), strict=True):
        answer.fill(item, teacher)
    return Outcome(row, None, more)
