"""Functions on offer, in the forms that data sets and people write, and calls held against their schemas."""

import json
from pathlib import Path
from typing import Any

import pytest

from filters.functions import read_functions

CITY = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}


@pytest.mark.parametrize(
    "written",
    [
        {"type": "function", "function": {"name": "f", "description": "It.", "parameters": CITY}},
        {"name": "f", "description": "It.", "parameters": CITY},
        {"type": "function", "name": "f", "description": "It.", "parameters": CITY, "strict": True},
        {"name": "f", "description": "It.", "input_schema": CITY},
        {"name": "f", "description": "It.", "inputSchema": CITY},
        {"title": "f", "description": "It.", **CITY},
        {"name": "f", "description": "It.", "parameters": CITY | {"type": "dict"}},
        {"name": "f", "description": "It.", "parameters": json.dumps(CITY)},
        json.dumps({"type": "function", "function": {"name": "f", "description": "It.", "parameters": CITY}}),
        {"name": "f", "description": "It.", "parameters": {"city": {"type": "str"}, "days": {"type": "int, optional"}}},
    ],
)
def test_forms_of_a_function(written: Any) -> None:
    for value in (written, [written], json.dumps([written]), repr([written])):
        functions = read_functions(value)
        assert functions.names == ["f"]
        [offer] = functions.offers
        assert (offer["type"], offer["function"]["description"]) == ("function", "It.")
        assert offer["function"]["parameters"] == CITY
        assert functions.fault("f", {"city": "Paris", "days": 3}) is None
        assert functions.fault("f", {"city": "Paris"}) is None


@pytest.mark.parametrize(
    ("name", "arguments", "fault"),
    [
        ("g", {}, "calls g, which is not on offer"),
        ("f", {"days": 3}, "f: 'city' is a required property"),
        ("f", {"city": 3}, "f: city: 3 is not of type 'string'"),
        ("f", {"city": "Paris", "days": "3"}, "f: days: '3' is not of type 'integer'"),
        ("f", {"city": "Paris", "days": True}, "f: days: True is not of type 'integer'"),
        ("f", {"city": "Paris", "date": "today"}, "f takes no date"),
    ],
)
def test_calls_that_do_not_fit(name: str, arguments: dict[str, Any], fault: str) -> None:
    assert read_functions({"name": "f", "parameters": CITY}).fault(name, arguments) == fault


def test_types_as_python_calls_them_are_those_of_json_schema_in_all_parts() -> None:
    parameters = {
        "type": "dict",
        "properties": {
            "type": {"type": "float"},
            "pairs": {"type": "List[Tuple[float, float]]", "items": {"type": "tuple", "items": {"type": "float"}}},
            "more": {"type": "dict", "properties": {"deep": {"type": ["str", "null"]}}},
            "free": {"type": "any"},
            "big": {"type": "STRING"},
        },
    }
    functions = read_functions({"name": "f", "parameters": parameters})
    good = {"type": 1, "pairs": [[1, 2.5]], "more": {"deep": None}, "free": [1], "big": "x"}
    assert functions.fault("f", good) is None
    for key, bad in {"type": "1", "pairs": [["a"]], "more": {"deep": 3}, "big": 3}.items():
        assert "is not of type" in str(functions.fault("f", {key: bad}))


def test_functions_without_parameters_take_no_arguments() -> None:
    for function in ({"name": "now"}, {"name": "now", "parameters": {}}, {"name": "now", "parameters": None}):
        assert read_functions([function]).fault("now", {}) is None
        assert read_functions([function]).fault("now", {"x": 1}) == "now takes no x"


def test_schemas_that_allow_more_arguments_do() -> None:
    open_ended = {"type": "object", "properties": {}, "additionalProperties": {"type": "integer"}}
    functions = read_functions({"name": "f", "parameters": open_ended})
    assert functions.fault("f", {"x": 1}) is None
    assert functions.fault("f", {"x": "1"}) == "f: x: '1' is not of type 'integer'"


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ("not JSON", "the functions: no JSON"),
        ([], "there is no function"),
        ([3], "function 1 is no object"),
        ([{"name": "f"}, {"parameters": CITY}], "function 2 has no name"),
        ([{"name": "f"}, {"name": "f"}], "function 2 is called f, as another is"),
        ([{"name": "get weather"}], "function 1 has a name that cannot be called: 'get weather'"),
        ([{"type": "web_search"}], "function 1 is of type web_search, and no function"),
        ([{"name": "f", "parameters": [1]}], "the parameters of function 1 (f) are no JSON Schema"),
        ([{"name": "f", "parameters": {"type": "string"}}], "are of type string, and no object"),
        ([{"name": "f", "parameters": {"city": "a city"}}], "they have no `properties`"),
        ([{"name": "f", "parameters": CITY | {"required": "city"}}], "required: 'city' is not of type 'array'"),
        ([{"name": "f", "parameters": {"properties": {"x": {"type": "thing"}}}}], "properties/x/type: 'thing' is not"),
    ],
)
def test_what_is_wrong_with_functions_is_said_in_one_line(written: Any, fault: str) -> None:
    with pytest.raises(ValueError) as raised:
        read_functions(written)
    assert fault in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("part", ["simple_python", "multiple", "irrelevance"])
def test_the_leaderboards_functions_are_read(data: Path, part: str) -> None:
    lines = (data / "bfcl" / f"BFCL_v4_{part}.json").read_text().splitlines()
    assert len(lines) >= 200
    for line in lines:
        assert read_functions(json.loads(line)["function"]).offers
