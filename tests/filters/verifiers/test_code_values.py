"""Values, objects and tests of all kinds cross between the two processes, and are judged as Python judges them."""

import pytest

from filters.execution.sandbox import isolation_missing
from filters.verdict import Check, Task, VerifierSettings
from filters.verifiers.registry import checker
from tests.filters.verifiers.code_pairs import (
    honest_errors,
    honest_harnesses,
    honest_kept,
    honest_lent,
    honest_objects,
    honest_shared,
    honest_types,
)

pytestmark = pytest.mark.skipif(isolation_missing() is not None, reason=str(isolation_missing()))

HONEST = {
    name: case
    for kind in (honest_shared, honest_kept, honest_lent, honest_types, honest_objects, honest_errors, honest_harnesses)
    for name, case in kind.HONEST.items()
}


@pytest.fixture(scope="module")
def check() -> Check:
    return checker(VerifierSettings("code"))


@pytest.mark.parametrize("name", HONEST)
def test_honest_programs_are_right(check: Check, name: str) -> None:
    program, tests = HONEST[name]
    if "numpy" in program:
        pytest.importorskip("numpy")
    verdict = check(f"```python\n{program}\n```", Task(columns={"tests": tests}))
    assert verdict.kind == "right", verdict
