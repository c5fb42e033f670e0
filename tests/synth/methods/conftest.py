"""What tests of methods share."""

from collections.abc import Iterator
from typing import Any

import pytest

from filters.verdict import VerifierSettings
from synth.generation.verification import Verifier, open_verifier


@pytest.fixture(scope="module")
def verifier(loop: Any) -> Iterator[Verifier]:
    """The verifier of numbers, unless a module has another."""
    made = loop.run(open_verifier(VerifierSettings("math")))
    yield made
    loop.run(made.close())
