"""Names of columns that are kept beside ours."""

import pytest

from synth.data.schema.names import free_name


@pytest.mark.parametrize(
    ("name", "columns", "expected"),
    [
        ("level", {"level"}, "level"),
        ("tokens", {"tokens"}, "input_tokens"),
        ("tokens", {"tokens", "input_tokens"}, "input_input_tokens"),
        ("input_tokens", {"tokens", "input_tokens"}, "input_tokens"),
    ],
)
def test_a_name_is_its_own_or_says_that_it_was_there(name: str, columns: set[str], expected: str) -> None:
    assert free_name(name, {"tokens", "text"}, columns) == expected
