"""Objects that say they are equal, programs that end in time, tests that are skipped: no lie makes a test pass."""

import pytest

from filters.execution.sandbox import isolation_missing
from filters.verdict import Check, Task, VerifierSettings
from filters.verifiers.registry import checker
from tests.filters.verifiers.code_pairs import lies_ends, lies_objects

pytestmark = pytest.mark.skipif(isolation_missing() is not None, reason=str(isolation_missing()))


@pytest.fixture(scope="module")
def check() -> Check:
    return checker(VerifierSettings("code", time_limit=3, memory_limit=256))


LIES = lies_objects.LIES | lies_ends.LIES


@pytest.mark.parametrize("name", LIES)
def test_lies_are_wrong(check: Check, name: str) -> None:
    program, tests = LIES[name]
    if "numpy" in program:
        pytest.importorskip("numpy")
    verdict = check(f"```python\n{program}\n```", Task(columns={"tests": tests}))
    assert verdict.kind == "wrong", verdict
