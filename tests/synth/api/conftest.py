"""What the tests of functions share: the sample model, loaded once, and questions that it can answer."""

from collections.abc import Iterator

import pytest

import synth
from samples.skills.registry import suite
from tests.conftest import MODEL


@pytest.fixture(scope="session")
def model() -> Iterator[synth.Model]:
    with synth.load(MODEL, engine="transformers") as loaded:
        yield loaded


@pytest.fixture(scope="session")
def questions() -> list[dict[str, str]]:
    """Sums, which the sample model mostly gets right."""
    return [{"question": question, "answer": answer} for question, answer in suite("arithmetic", "dev", 8)]
