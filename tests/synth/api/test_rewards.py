"""`synth.rewards`: wrong settings fail at once, and rewards have import paths."""

from typing import Any

import pytest

import synth
from synth import reward_functions
from synth.errors import UsageError


@pytest.mark.parametrize(
    ("parts", "settings", "fault"),
    [
        (["maths"], {}, "no reward maths; did you mean math"),
        (["lengths"], {}, "did you mean length"),
        (["nowhere:check"], {}, "cannot be imported"),
        (["os:cpu_count"], {}, "cannot be called with"),
        ([3], {}, "3 is no reward"),
        (["judge"], {}, "needs a model that judges: `judge`"),
        (["format"], {}, "no verifier beside it"),
        (["format:("], {}, "no regular expression"),
        (["math"], {"weights": [1, 2]}, "2 for 1 parts"),
        (["math"], {"weights": [float("nan")]}, "`weights` are numbers"),
        (["math"], {"time_limit": 0}, "`time_limit` 0 is too small"),
    ],
)
def test_wrong_settings_fail_at_once(parts: list[Any], settings: dict[str, Any], fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        synth.rewards(*parts, **settings)


def test_by_import_path() -> None:
    assert reward_functions.exact.verifier == "exact"
    assert reward_functions.exact is reward_functions.exact
    assert reward_functions.function_call.__name__ == "function-call"
    assert reward_functions.verifier(["?"], ["4"], reference=["4"], verifier=["exact"]) == [1.0]
    assert {"math", "code", "verifier"} <= set(dir(reward_functions))
    with pytest.raises(AttributeError, match="there are: math"):
        _ = reward_functions.maths
