"""Asks a model all tasks of its suites at once, and judges the answers.

Answers are rows like any others, in a run like any other: they can be read, resumed and reported. `SuiteScore`s are
counted from them (`synth.evaluation.scores`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import pyarrow as pa

from filters.response.calls import with_calls
from filters.verdict import UNSCORABLE, WRONG, Verdict, VerifierSettings
from filters.verifiers.registry import entry_of
from synth.chat.thinking import Mode
from synth.data.row import BASE, Outcome, Row, digest, with_parts
from synth.engines.base import Sampling
from synth.errors import RequestError, UsageError
from synth.evaluation.alarms import signs_of
from synth.evaluation.suites import Item, Suite
from synth.evaluation.switch import named, observed
from synth.generation.chat_model import ChatModel
from synth.generation.judge import Judge
from synth.generation.verification import Verifier, check_references, open_verifier

COLUMNS = pa.schema(
    [
        ("suite", pa.string()),
        ("item", pa.int32()),  # its place in the suite, from 0
        ("new", pa.bool_()),  # whether the suite is of the new task
        ("verdict_reason", pa.string()),  # why it is not right
        ("tokens", pa.int32()),  # of the answer
        ("refused", pa.bool_()),
        ("repetitive", pa.bool_()),
        ("cut_off", pa.bool_()),
        ("language", pa.string()),  # of prose; null where it cannot be told
    ]
)

MODE_COLUMNS = pa.schema(
    [
        ("mode", pa.string()),  # in which it was asked: thinking, plain
        ("obeyed", pa.bool_()),  # whether it thinks where it is to, and does not where it is not to
        ("unended", pa.bool_()),  # thoughts without an end
        ("thought_tokens", pa.int32()),
    ]
)
"""Of a model that can think."""

FIRST = 20
"""References of each suite that are checked with their own verifier before any model is asked."""

Verifiers = dict[VerifierSettings, Verifier]


async def open_verifiers(stack: AsyncExitStack, suites: Sequence[Suite], judge: Judge | None = None) -> Verifiers:
    """Start each verifier that the suites need, once, and try it on their first references; the stack closes them.

    Args:
        stack: closes them.
        suites: the tasks to judge.
        judge: the verifier `judge`, where a suite asks for it.

    Raises:
        UsageError: one cannot be started, or judges none of a suite's references right.
    """
    verifiers: Verifiers = {}
    for suite in suites:
        for item in suite.items:
            if item.verifier not in verifiers:
                verifiers[item.verifier] = await _open(item.verifier, judge)
                stack.push_async_callback(verifiers[item.verifier].close)
        for settings in {item.verifier: None for item in suite.items}:
            if not entry_of(settings.name).asks_model:
                tasks = islice((item.task for item in suite.items if item.verifier == settings), FIRST)
                try:
                    await check_references(verifiers[settings], tasks)
                except UsageError as error:
                    raise UsageError(f"suite {suite.name}: {error}") from error
    return verifiers


async def _open(settings: VerifierSettings, judge: Judge | None) -> Verifier:
    entry = entry_of(settings.name)
    if entry.votes:
        raise UsageError(
            f"`verifier` {entry.name} compares samples of one task: it cannot judge a suite's single answers"
        )
    if not entry.asks_model:
        return await open_verifier(settings)
    if judge is None:
        raise UsageError(f"`verifier` {entry.name} needs a model that judges: `judge` MODEL")
    return judge


@dataclass(frozen=True, slots=True)
class EvaluationRun:
    """The items of all suites as rows to be answered and judged.

    Attributes:
        suites: what is asked.
        sampling: how answers are drawn; temperature 0 unless asked otherwise.
        mode: in which they are to be asked, one of `synth.values.Asked`; None is as the models have it.
        modes: in which they are asked (`asked_in`); none of a model that does not think.
    """

    suites: Sequence[Suite]
    sampling: Sampling
    mode: str | None = None
    modes: tuple[Mode, ...] = ()

    def asked_in(self, modes: tuple[Mode, ...]) -> "EvaluationRun":
        """The same, asked in these modes, one after the other."""
        return replace(self, modes=modes)

    @property
    def total(self) -> int:
        """Items in all."""
        return sum(len(suite.items) for suite in self.suites) * max(1, len(self.modes))

    @property
    def schema(self) -> pa.Schema:
        """The columns of the answers."""
        schema = pa.schema([*BASE, *COLUMNS])
        return with_parts(pa.schema([*schema, *MODE_COLUMNS])) if self.modes else schema

    def settings(self) -> dict[str, Any]:
        """The settings that determine verdicts, beside the model (JSON values)."""
        settings: dict[str, Any] = {
            "suites": {suite.name: suite.fingerprint for suite in self.suites},
            "new": [suite.name for suite in self.suites if suite.new],
            "max_tokens": self.sampling.max_tokens,
            "temperature": self.sampling.temperature,
            "seed": self.sampling.seed,
        }
        return settings if self.mode is None else settings | {"mode": self.mode}

    def items(self, start: int = 0) -> Iterator[tuple[str, Mode | None, Suite, int, Item]]:
        """Every item, from an index on: what its suite is called, the mode, the suite and its place there; in order."""
        for suite in self.suites:
            for mode in self.modes or (None,):
                name = named(suite.name, mode, self.modes)
                for at in range(start, len(suite.items)):
                    yield name, mode, suite, at, suite.items[at]
                start = max(0, start - len(suite.items))

    def rows(self, start: int = 0) -> Iterator[Row]:
        """The rows to complete, from an index on."""
        for name, mode, suite, at, item in self.items(start):
            row_id = digest("eval", name, at, item.messages)
            extra = {"suite": name, "item": at, "new": suite.new} | ({"mode": mode} if mode else {})
            yield Row(row_id, item.messages, "eval", reference=item.task.reference, extra=extra)

    def method(self, chat_model: ChatModel, verifiers: Verifiers) -> Callable[[Row], Awaitable[Outcome]]:
        """The method for one model: every row comes out, with the answer and its verdict.

        A question that the model cannot be asked (it does not fit in the window, holds a control token, …) is
        unscorable, with the reason. Thoughts are not judged, and an answer whose thoughts do not end is wrong.
        """
        items = {(name, at): item for name, _, _, at, item in self.items()}
        in_mode = {mode: replace(chat_model, chat=chat_model.chat.in_mode(mode)) for mode in self.modes}

        async def method(row: Row) -> Outcome:
            item = items[row.extra["suite"], row.extra["item"]]
            mode = row.extra.get("mode")
            asked = in_mode[mode] if mode else chat_model
            row.verifier = item.verifier.name
            if not item.messages:
                return _judged(row, Verdict(UNSCORABLE, None, "no prompt"))
            try:
                completion = await asked.reply(item.messages, self.sampling)
            except RequestError as error:
                return _judged(row, Verdict(UNSCORABLE, None, f"not asked: {error}"))
            turn = asked.chat.parse(completion.text)
            signs = signs_of(replace(completion, text=turn.content))
            row.messages = [*row.messages, turn.message()]
            row.model = asked.name
            row.extra |= {name: getattr(signs, name) for name in ("refused", "repetitive", "cut_off", "language")}
            row.extra["tokens"] = len(completion.token_ids)
            if mode:
                row.extra |= observed(completion.text, turn, mode, asked.chat)
            if turn.fault:
                return _judged(row, Verdict(WRONG, None, turn.fault))
            said = with_calls(turn.content, turn.tool_calls)
            return _judged(row, await verifiers[item.verifier].check(said, item.task))

        return method


def _judged(row: Row, verdict: Verdict) -> Outcome:
    row.verdict, row.answer = verdict.kind, verdict.answer
    row.extra["verdict_reason"] = verdict.reason
    return Outcome(row)


async def answer_all(
    run: EvaluationRun,
    chat_model: ChatModel,
    verifiers: Verifiers,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:
    """All answers of a model, as records in the order of the items; all are asked at once.

    Args:
        run: what is asked.
        chat_model: the model.
        verifiers: judge its answers.
        report: called after each with how many there are, of how many.

    Raises:
        RunError: the engine is dead, or a verifier is.
    """
    method = run.method(chat_model, verifiers)
    done = 0

    async def answered(row: Row) -> dict[str, Any]:
        nonlocal done
        outcome = await method(row)
        done += 1
        report(done, run.total)
        return outcome.row.record()

    return list(await asyncio.gather(*(answered(row) for row in run.rows())))
