"""Where several texts may be given, one is one: no function takes a word for its letters."""

import inspect
import re
from typing import Any

import pytest

import synth
from synth.api.places import several

FUNCTIONS = [name for name in synth.__all__ if inspect.isfunction(getattr(synth, name))]


def test_a_text_is_one() -> None:
    assert several("gold") == ("gold",) and several(["gold", "drop"]) == ("gold", "drop") and several(()) == ()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_takes_one_as_well(name: str) -> None:
    for parameter in inspect.signature(getattr(synth, name)).parameters.values():
        one, sequence, several = str(parameter.annotation).replace("collections.abc.", "").partition("Sequence[")
        if sequence and re.search(r"\bstr\b", several):
            assert re.search(r"\bstr\b", one), f"{name}({parameter})"


@pytest.mark.parametrize(
    ("name", "given", "settings"),
    [
        ("self_output", "fallback", {"source": [{"prompt": "Hi", "completion": "Yo"}]}),
        ("train", "freeze", {"source": [{"prompt": "Hi", "completion": "Yo"}], "output": "nowhere"}),
        ("evaluate", "lm_eval", {"models": "samples/model"}),
    ],
)
def test_it_is_named_whole(name: str, given: str, settings: dict[str, Any], model: synth.Model) -> None:
    settings = {**settings, given: "nonsense", "progress": synth.SILENT}
    if name != "evaluate":
        settings["model"] = model if name == "self_output" else model.name
    with pytest.raises(synth.UsageError, match="nonsense"):
        getattr(synth, name)(**settings)
