"""The asynchronous interface of verifiers, as methods use it.

Those of `filters.verifiers` run in worker processes (`filters.execution.pool`); the judge asks a model
(`synth.generation.judge`).
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from filters.execution.pool import Pool, open_pool
from filters.verdict import RIGHT, UNSCORABLE, Task, Verdict, VerifierError, VerifierSettings
from filters.verifiers import registry
from synth.errors import RunError, UsageError


class Verifier(Protocol):
    """Judges responses, many at a time."""

    name: str
    votes: bool
    """Whether the verdict on a sample depends on the other samples of its task: see `vote`."""

    async def check(self, response: str, task: Task) -> Verdict:
        """One verdict. An error of the check itself is `unscorable`, never an exception."""
        ...

    def vote(self, verdicts: Sequence[Verdict]) -> list[Verdict]:
        """The verdicts on all samples of one task, where one depends on the others."""
        ...

    def gold(self, task: Task) -> str | None:
        """The response that stands for a task's reference; None if there is none."""
        ...

    async def close(self) -> None:
        """End its processes. Checks under way are abandoned."""
        ...


class PoolVerifier:
    """A verifier of `filters.verifiers`, or a user's own function, in worker processes."""

    def __init__(self, settings: VerifierSettings, pool: Pool) -> None:
        self.name = settings.name
        self.votes = registry.entry_of(settings.name).votes
        self._settings = settings
        self._pool = pool

    async def check(self, response: str, task: Task) -> Verdict:
        """See `Verifier.check`.

        Raises:
            RunError: no worker can be started any more.
        """
        try:
            return await self._pool.check(response, task)
        except VerifierError as error:
            again = "run this again (without `restart`): what a run has written to a directory is kept"
            raise RunError(f"{error}; {again}") from error

    def vote(self, verdicts: Sequence[Verdict]) -> list[Verdict]:
        """See `Verifier.vote`."""
        return registry.vote(self._settings, verdicts)

    def gold(self, task: Task) -> str | None:
        """See `Verifier.gold`."""
        return registry.gold(self._settings, task)

    async def close(self) -> None:
        """See `Verifier.close`."""
        await self._pool.close()


async def open_verifier(settings: VerifierSettings, workers: int | None = None) -> Verifier:
    """Start the worker processes of a verifier: as many as this process may use CPUs, unless said otherwise.

    Raises:
        UsageError: there is no such verifier, or it cannot work with these settings.
    """
    try:
        return PoolVerifier(settings, await open_pool(settings, workers))
    except VerifierError as error:
        raise UsageError(f"`verifier` {settings.name}: {error}") from error


async def check_reference(verifier: Verifier, task: Task) -> Verdict:
    """The verdict on a task's own reference, checked as if it were a response.

    The verdicts of a verifier that judges the reference wrong are of no use. Where the data has
    no reference, an empty response tells whether the verifier needs one: if not, the verdict is `right`.
    """
    response = verifier.gold(task)
    if response is not None:
        return await verifier.check(response, task)
    verdict = await verifier.check("", task)
    return verdict if verdict.kind == UNSCORABLE and not verifier.votes else Verdict(RIGHT)


def reference_fault(verdict: Verdict) -> str | None:
    """The message about a reference with this verdict; None if it is right."""
    if verdict.kind == RIGHT:
        return None
    return f"reference {verdict.kind}: {verdict.reason or f'its answer is read as {verdict.answer!r}'}"


@dataclass(frozen=True, slots=True)
class ReferenceReport:
    """The verdicts on the references of some rows: how many were checked, and the faults that were found.

    `absent` counts the tasks without a reference, and without anything in its place: answers to them are judged by what
    else is in their rows, or that they cannot be judged is among the faults.
    """

    checked: int = 0
    absent: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    example: str | None = None
    """The first fault, and in which row (from 0)."""

    def told(self, verifier: str) -> str:
        """The report in one line."""
        faults = ", ".join(f"{count:,} {fault}" for fault, count in self.faults.most_common())
        if self.absent == self.checked and not faults:
            return f"there are no references to check: {verifier} judges answers without them"
        verdict = f"{faults} (the first: {self.example})" if faults else "all right"
        return f"references, the first {self.checked:,} checked by {verifier}: {verdict}"


async def check_references(verifier: Verifier, tasks: Iterable[Task]) -> ReferenceReport:
    """Check the references of some tasks, before a model is loaded.

    Raises:
        UsageError: none of them is right: the verifier, or the column taken for the reference, must be the wrong one.
    """
    checked = list(tasks)
    verdicts = await asyncio.gather(*(check_reference(verifier, task) for task in checked))
    faults = {index: fault for index, verdict in enumerate(verdicts) if (fault := reference_fault(verdict))}
    first = next((f"row {index}, {fault}" for index, fault in faults.items()), None)
    if verdicts and len(faults) == len(verdicts):
        raise UsageError(
            f"`verifier` {verifier.name} judges none of the first {len(verdicts)} references right ({first}). Is it "
            "the right verifier, and is the reference in the right column (`reference_column`)?"
        )
    absent = sum(task.reference is None and verifier.gold(task) is None for task in checked)
    return ReferenceReport(len(verdicts), absent, Counter(fault.split(":", 1)[0] for fault in faults.values()), first)
