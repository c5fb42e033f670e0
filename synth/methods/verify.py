"""Verify: judge the answers, or the references, that a data set has already."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from itertools import islice

import pyarrow as pa

from filters.response.calls import with_calls
from filters.verdict import UNSCORABLE, Task, Verdict, VerifierSettings
from filters.verifiers import registry
from synth.data.prompts import PromptSet, task_of
from synth.data.row import Outcome, Row, digest
from synth.generation.verification import Verifier

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
                voted = (await votes)[_key(row)]
                verdict = next(other for other in voted if other.answer == verdict.answer)
        row.verdict, row.answer = verdict.kind, verdict.answer
        row.extra["verdict_reason"] = verdict.reason
        return Outcome(row)

    return method


def nothing_to_judge(prompts: PromptSet, settings: VerifierSettings | None, *, references: bool) -> str | None:
    """Why none of the rows can be judged: the message for people; None where one can.

    Args:
        prompts: the rows.
        settings: the verifier; None, or one that asks a model, takes the column `reference` for a reference.
        references: whether references are judged, or answers.
    """
    if not references and prompts.has_answers():
        return None
    if settings is None or registry.entry_of(settings.name).asks_model:
        has_references = any(task.reference for task in prompts.tasks())
    else:
        has_references = any(registry.gold(settings, task) for task in prompts.tasks())
    source = prompts.source.source
    if references:
        return None if has_references else f"{source} has no references to judge"
    judged = "; its references can be judged: `references`" if has_references else ""
    return (
        f"{source} holds prompts without answers: there is nothing to judge{judged}. `synth self-output` has a model "
        "answer them and keeps what is right, `synth eval` counts it"
    )


def answer_of(row: Row) -> str | None:
    """What the last turn says, where it is the assistant's; of one that calls tools, the JSON text of the calls."""
    if not row.messages or row.messages[-1]["role"] != "assistant":
        return None
    last = row.messages[-1]
    return with_calls(last["content"], last.get("tool_calls", ()))


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
