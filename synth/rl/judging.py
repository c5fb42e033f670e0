"""The verdicts of verifiers as rewards: 1 for right, 0 for wrong, None for what cannot be judged.

Verifiers run in worker processes with a hard time limit (`filters.execution.pool`), or a model judges.
"""

import asyncio
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from filters.verdict import RIGHT, UNSCORABLE, WRONG, Task, Verdict, VerifierError, VerifierSettings
from filters.verifiers import registry
from synth.errors import UsageError
from synth.generation.judge import Judge
from synth.generation.models import Model
from synth.generation.verification import Verifier, open_verifier
from synth.rl.batch import Batch, Values

BY_ROW = "verifier"
"""The part whose verifier each row names."""

AHEAD = 8
"""Checks for each worker that are written out at a time: rows with large tests take memory."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A part: what a verifier says.

    Attributes:
        settings: of the verifier; without a name, each row names its own.
        judge: the model that judges, where the verifier asks one.
        judge_prompt: how it is asked.
        workers: processes of each verifier; None is a share of the CPUs.
    """

    settings: VerifierSettings
    judge: Model | None = None
    judge_prompt: str = "judge"
    workers: int | None = None

    @property
    def name(self) -> str:
        """What it is called."""
        return self.settings.name.rpartition(":")[2].rpartition(".")[2] or BY_ROW

    def check(self) -> None:
        """Refuse what can be seen to be wrong before anything is started.

        Raises:
            UsageError: there is no such verifier, or it cannot work with these settings, or not here.
        """
        try:
            entry = registry.entry_of(self.settings.name or "exact")
            if entry.asks_model:
                if self.judge is None:
                    raise UsageError(f"`verifier` {entry.name} needs a model that judges: `judge` MODEL")
                Judge(self.judge.unopened(), self.judge_prompt)
            elif entry.settings or ":" in entry.name:  # the others have nothing to be wrong
                registry.checker(self.settings)
        except VerifierError as error:
            raise UsageError(f"`verifier` {self.settings.name}: {error}") from error

    def __reduce__(self) -> tuple[Any, ...]:
        """Its judge goes to another process by name."""
        judge = None if self.judge is None else self.judge.description()
        return _judged, (self.settings, judge, self.judge_prompt, self.workers)

    def started(self) -> "Judging":
        """The part at work in this process. Its verifiers are started with the first completions."""
        return Judging(self)


class Judging:
    """See `Judged`. Bound to the event loop that it is used on."""

    def __init__(self, part: Judged) -> None:
        self._part = part
        self._verifiers: dict[str, asyncio.Task[Verifier]] = {}
        self._workers = part.workers or _workers()
        self._places = asyncio.Semaphore(AHEAD * self._workers)

    async def verdicts(self, batch: Batch) -> list[Verdict]:
        """The verdict on each completion.

        Raises:
            UsageError: the verifier cannot be started with its settings.
            RunError: its workers die.
        """
        names = [self._part.settings.name or _named(task) for task in batch.tasks]
        responses = [completion.response for completion in batch.completions]
        checks = (self._check(*one) for one in zip(names, responses, batch.tasks, strict=True))
        verdicts = list(await asyncio.gather(*checks))
        if self._part.settings.name and registry.entry_of(self._part.settings.name).votes:
            verifier = await self._verifier(self._part.settings.name)
            for group in _groups(batch.prompts):
                voted = verifier.vote([verdicts[at] for at in group])
                for at, verdict in zip(group, voted, strict=True):
                    verdicts[at] = verdict
        return verdicts

    async def close(self) -> None:
        """End the worker processes. A judge is its owner's to free."""
        for starting in self._verifiers.values():
            starting.cancel()
        for started in await asyncio.gather(*self._verifiers.values(), return_exceptions=True):
            if not isinstance(started, BaseException):
                await started.close()

    async def _check(self, name: str | None, response: str, task: Task) -> Verdict:
        if name is None:
            return Verdict(UNSCORABLE, None, "its row names no verifier")
        async with self._places:
            return await (await self._verifier(name)).check(response, task)

    async def _verifier(self, name: str) -> Verifier:
        if name not in self._verifiers or self._verifiers[name].cancelled() or _failed(self._verifiers[name]):
            self._verifiers[name] = asyncio.ensure_future(self._start(name))
        return await asyncio.shield(self._verifiers[name])

    async def _start(self, name: str) -> Verifier:
        part = self._part
        if part.judge is not None and registry.entry_of(name).asks_model:
            return Judge(await part.judge.opened(), part.judge_prompt)
        return await open_verifier(replace(part.settings, name=name), self._workers)


def _judged(settings: VerifierSettings, judge: Callable[[], Model] | None, prompt: str, workers: int | None) -> Judged:
    return Judged(settings, judge and judge(), prompt, workers)


def values_of(verdicts: Sequence[Verdict]) -> Values:
    """1 for right, 0 for wrong, None for what cannot be judged."""
    return [None if verdict.kind == UNSCORABLE else float(verdict.kind == RIGHT) for verdict in verdicts]


def forms_of(verdicts: Sequence[Verdict]) -> Values:
    """1 where the verifier found an answer, 0 where it found none; None where it does not say, or cannot judge."""

    def form(verdict: Verdict) -> float | None:
        if verdict.kind == RIGHT or verdict.answer is not None:
            return 1.0
        return 0.0 if verdict.kind == WRONG and verdict.reason is not None else None

    return list(map(form, verdicts))


def _named(task: Task) -> str | None:
    """The verifier that a row names, if data may name it: no function of anybody's, and none that asks a model."""
    name = task.columns.get("verifier")
    known = registry.VERIFIERS.get(name) if isinstance(name, str) else None
    return known.name if known is not None and known.judges_single_answers else None


def _groups(prompts: Sequence[Any]) -> list[list[int]]:
    """The completions of each prompt, by their places."""
    groups: dict[str, list[int]] = {}
    for at, prompt in enumerate(prompts):
        groups.setdefault(json.dumps(prompt, default=str), []).append(at)
    return list(groups.values())


def _failed(starting: "asyncio.Task[Verifier]") -> bool:
    return starting.done() and starting.exception() is not None


def _workers() -> int:
    """Worker processes: the CPUs of this process, shared with the other processes of a training on this machine."""
    beside = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return max(1, len(os.sched_getaffinity(0)) // (int(beside) if beside.isdecimal() and int(beside) else 1))
