"""What is said of references before a model is loaded."""

from typing import Any

import pytest

from filters.execution.pool import open_pool
from filters.verdict import Task, VerifierSettings
from synth.errors import RunError
from synth.generation.verification import PoolVerifier, check_references, open_verifier


@pytest.mark.parametrize(
    ("verifier", "tasks", "said"),
    [
        ("refusal", [Task(), Task()], "there are no references to check: refusal judges answers without them"),
        ("refusal", [Task("refuse")], "references, the first 1 checked by refusal: all right"),
        ("number", [Task("7"), Task("8")], "references, the first 2 checked by number: all right"),
        (
            "number",
            [Task("7"), Task()],
            "references, the first 2 checked by number: 1 reference unscorable "
            "(the first: row 1, reference unscorable: no reference)",
        ),
    ],
)
def test_what_is_said_of_references(loop: Any, verifier: str, tasks: list[Task], said: str) -> None:
    async def told() -> str:
        opened = await open_verifier(VerifierSettings(verifier))
        try:
            return (await check_references(opened, tasks)).told(verifier)
        finally:
            await opened.close()

    assert loop.run(told()) == said


def test_dead_workers_are_told_without_a_promise(loop: Any) -> None:
    """An export and a trainer's reward keep nothing of what was judged; a run keeps what it has written."""

    async def check() -> None:
        pool = await open_pool(VerifierSettings("number"), 1)
        await pool.close()
        await PoolVerifier(VerifierSettings("number"), pool).check("7", Task("7"))

    with pytest.raises(RunError, match=r"the pool was closed; run this again .* what a run has written .* is kept"):
        loop.run(check())
