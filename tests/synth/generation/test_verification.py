"""What is said of references before a model is loaded."""

from typing import Any

import pytest

from filters.verdict import Task, VerifierSettings
from synth.generation.verification import check_references, open_verifier


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
