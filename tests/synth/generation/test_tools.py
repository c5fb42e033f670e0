"""Tools as people name them: files of JSON or JSON lines, and lists."""

import json
from pathlib import Path
from typing import Any

import pytest

from synth.errors import UsageError
from synth.generation.tools import open_tools

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "It.", "parameters": CITY}}
TIME = {"name": "time", "parameters": {"type": "object", "properties": {}}}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([WEATHER, TIME]),
        json.dumps([WEATHER, TIME], indent=2),
        f"{json.dumps(WEATHER)}\n\n{json.dumps(TIME)}\n",
        "\ufeff" + json.dumps([WEATHER, TIME]),
    ],
)
def test_a_file_of_functions(tmp_path: Path, text: str) -> None:
    file = tmp_path / "tools"
    file.write_text(text, encoding="utf-8")
    for given in (file, str(file)):
        assert open_tools(given).names == ["weather", "time"]


def test_one_function_in_a_file_and_functions_of_a_caller(tmp_path: Path) -> None:
    file = tmp_path / "tool.json"
    file.write_text(json.dumps(WEATHER, indent=1))
    assert open_tools(file).names == ["weather"]
    assert open_tools([WEATHER, TIME]).names == ["weather", "time"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is neither a JSON list nor JSON lines of functions"),
        ("[]", "there is no function"),
        ("weather: {city: string}\n", "is neither a JSON list nor JSON lines"),
        (json.dumps([WEATHER])[:-1], "is neither a JSON list nor JSON lines"),
        (json.dumps(WEATHER) + '\n{"name": }\n', "line 2 is no JSON"),
        (json.dumps([WEATHER, {"description": "It."}]), "function 2 has no name"),
        (json.dumps([TIME, TIME]), "function 2 is called time, as another is"),
        (json.dumps([{"name": "f", "parameters": {"type": "array"}}]), "no object"),
        ("[" * 100_000, "is nested too deep"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_line(tmp_path: Path, text: str, fault: str) -> None:
    file = tmp_path / "tools.json"
    file.write_text(text)
    with pytest.raises(UsageError) as raised:
        open_tools(file)
    assert fault in str(raised.value)
    assert str(raised.value).startswith(f"`tools` {file}") and str(raised.value).count("`tools`") == 1
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("given", ["nowhere.json", [], [3], [{"name": "a b"}]])
def test_what_cannot_be_tools_is_refused(given: Any) -> None:
    with pytest.raises(UsageError, match="`tools`"):
        open_tools(given)
