"""Verify: judge the answers, or the references, that a data set has already."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from itertools import islice

import pyarrow as pa

from filters.verdict import UNSCORABLE, Task, Verdict
from synth.row import Outcome, Row, digest
from synth.tasks import task_of
from synth.verifiers import Verifier

COLUMNS = pa.schema([("verdict_reason", pa.string())])
"""Why a verdict is not `right`."""


def verify(
    verifier: Verifier, answered: Callable[[], Iterable[Row]], *, references: bool = False
) -> Callable[[Row], Awaitable[Outcome]]:
    """The method: every row comes out, with `verifier`, `verdict`, `answer` and the reason.

    Args:
        verifier: judges.
        answered: all rows, for verdicts that depend on other answers to the same task.
        references: judge the row's reference instead of its answer.
    """
    votes: asyncio.Task[dict[str, list[Verdict]]] | None = None

    async def method(row: Row) -> Outcome:
        nonlocal votes
        row.verifier = verifier.name
        task = task_of(row)
        response = verifier.gold(task) if references else answer_of(row)
        if response is None:
            verdict = Verdict(
                UNSCORABLE, None, "no reference" if references else "no answer: the last turn is not the assistant's"
            )
        else:
            verdict = await verifier.check(response, task)
            if verifier.votes:
                votes = votes or asyncio.ensure_future(_vote(verifier, answered()))
                same = [found for found in (await votes)[_key(row)] if found.answer == verdict.answer]
                verdict = same[0]
        row.verdict, row.answer = verdict.kind, verdict.answer
        row.extra["verdict_reason"] = verdict.reason
        return Outcome(row)

    return method


def answer_of(row: Row) -> str | None:
    """The text of the last turn, where it is the assistant's."""
    last = row.messages[-1] if row.messages else {"role": ""}
    return last["content"] if last["role"] == "assistant" else None


async def _vote(verifier: Verifier, rows: Iterable[Row]) -> dict[str, list[Verdict]]:
    """The verdicts on all answers to each task, by what precedes the answer."""
    groups: dict[str, list[Verdict]] = {}
    left = iter(rows)
    while some := list(islice(left, 1_000)):
        checks = (verifier.check(answer_of(row) or "", Task()) for row in some)
        for row, verdict in zip(some, await asyncio.gather(*checks), strict=True):
            groups.setdefault(_key(row), []).append(verdict)
    return {key: verifier.vote(verdicts) for key, verdicts in groups.items()}


def _key(row: Row) -> str:
    return digest(row.messages[:-1])
