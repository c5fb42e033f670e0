"""`function-call`, on the leaderboard's own possible answers."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from filters.response.calls import with_calls
from filters.verdict import Task, VerifierSettings
from filters.verifiers.registry import checker, gold

SETTINGS = VerifierSettings("function-call")
ONE = '[{"geo.area": {"base": [10], "height": [5, 5.0], "unit": ["cm", ""]}}]'


def lines(data: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (data / "bfcl" / name).read_text().splitlines()]


@pytest.mark.parametrize(
    "response",
    [
        "geo.area(base=10, height=5)",
        "geo_area(base=10, height=5.0, unit='CM')",
        "[geo.area(base=10, height=5)]",
        "Of course:\n```python\ngeo.area(base=10, height=5)\n```",
        "I will call\ngeo.area(base=10, height=5)\nto find out.",
        '{"name": "geo.area", "arguments": {"base": 10, "height": 5}}',
        '[{"name": "geo.area", "parameters": {"base": 10.0, "height": 5}}]',
        '{"geo.area": {"base": 10, "height": 5}}',
        '<tool_call>\n{"name": "geo.area", "arguments": {"base": 10, "height": 5}}\n</tool_call>',
        json.dumps({"tool_calls": [{"function": {"name": "geo.area", "arguments": '{"base": 10, "height": 5}'}}]}),
    ],
)
def test_forms_of_a_right_call(response: str) -> None:
    verdict = checker(SETTINGS)(response, Task(ONE))
    assert verdict.kind == "right", verdict


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("geo.area(base=10)", "height is missing"),
        ("geo.area(base=11, height=5)", "base is 11"),
        ("geo.area(base='10', height=5)", "base is '10'"),
        ("geo.area(base=True, height=5)", "base is True"),
        ("geo.volume(base=10, height=5)", "calls geo.volume"),
        ("geo.area(base=10, height=5, depth=1)", "not to be given depth"),
        ("geo.area(base=10, height=5); geo.area(base=10, height=5)", "no call found"),
        ("[geo.area(base=10, height=5), geo.area(base=10, height=5)]", "2 calls instead of 1"),
        ("The area is 25.", "no call found"),
        ("__import__('os').system('true')", "no call found"),
        ("(" * 10**5, "no call found"),
    ],
)
def test_forms_of_a_wrong_call(response: str, reason: str) -> None:
    verdict = checker(SETTINGS)(response, Task(ONE))
    assert verdict.kind == "wrong"
    assert reason in (verdict.reason or "")


def test_several_calls_in_any_order() -> None:
    two = '[{"f": {"a": [1]}}, {"f": {"a": [2]}}]'
    assert checker(SETTINGS)("[f(a=2), f(a=1)]", Task(two)).kind == "right"
    assert checker(SETTINGS)("[f(a=1), f(a=1)]", Task(two)).kind == "wrong"


def test_calls_with_values_in_common_are_told_apart() -> None:
    two = '[{"f": {"a": [1, 2]}}, {"f": {"a": [1]}}]'
    for response in ("[f(a=1), f(a=2)]", "[f(a=2), f(a=1)]", "[f(a=1), f(a=1)]"):
        assert checker(SETTINGS)(response, Task(two)).kind == "right", response
    assert checker(SETTINGS)("[f(a=2), f(a=2)]", Task(two)).reason == "a is 2"


AREA = {
    "name": "geo.area",
    "parameters": {
        "type": "dict",
        "properties": {
            "base": {"type": "float"},
            "height": {"type": "integer"},
            "unit": {"type": "string", "default": "cm"},
            "marks": {"type": "array", "items": {"type": "integer"}},
        },
        "required": ["base", "height"],
    },
}


def turn(*calls: tuple[str, Any], content: str = "") -> str:
    written = [
        {"type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for name, arguments in calls
    ]
    return with_calls(content, written)


def test_the_calls_of_a_turn_are_judged() -> None:
    check = checker(SETTINGS)
    assert check(turn(("geo.area", {"base": 10, "height": 5})), Task(ONE)).kind == "right"
    assert check(turn(("geo.area", {"base": 10, "height": 5}), content="I look."), Task(ONE)).kind == "right"
    assert check(turn(("geo.area", {"base": 10})), Task(ONE)).reason == "height is missing"
    long = turn(("geo.area", {"base": 10, "height": 5, "unit": "x" * 300_000}))
    assert "unit is" in (check(long, Task(ONE)).reason or "")
    two = turn(("f", {"a": 2}), ("f", {"a": 1}))
    assert check(two, Task('[{"f": {"a": [1]}}, {"f": {"a": [2]}}]')).kind == "right"
    assert check(turn(("f", {"a": 1})), Task(None)).kind == "unscorable"
    assert check(turn(("f", {"a": 1})), Task(None, columns={"tools": [AREA]})).kind == "unscorable"
    assert check(turn(("f", {"a": 1})), Task("It is 3 o'clock.", columns={"tools": [AREA]})).kind == "wrong"
    assert check("It is three.", Task("It is 3 o'clock.", columns={"tools": json.dumps([AREA])})).kind == "right"


@pytest.mark.parametrize("name", ["math", "exact", "json", "number", "refusal", "regex"])
def test_to_other_verifiers_a_turn_that_calls_tools_is_no_answer(name: str) -> None:
    verdict = checker(VerifierSettings(name, pattern="."))(turn(("f", {"a": 4})), Task("4"))
    assert (verdict.kind, verdict.reason) == ("wrong", "calls tools instead of an answer")


@pytest.mark.parametrize(
    "reference",
    [
        '[{"name": "geo.area", "arguments": {"base": 10, "height": 5, "marks": [1, 2]}}]',
        '{"name": "geo.area", "parameters": {"base": 10.0, "height": 5, "marks": [1, 2], "unit": "cm"}}',
        "[geo.area(base=10, height=5, marks=[1, 2])]",
        turn(("geo.area", {"base": 10, "height": 5, "marks": [1, 2]})),
    ],
)
def test_a_reference_that_makes_the_call_is_what_will_do(reference: str) -> None:
    check = checker(SETTINGS)
    task = Task(reference, columns={"tools": json.dumps([AREA])})
    given: dict[str, Any] = {"base": 10, "height": 5, "marks": [1, 2]}
    assert check(gold(SETTINGS, task) or "", task).kind == "right"
    for more in ({}, {"unit": "cm"}):
        assert check(turn(("geo_area", given | more)), task).kind == "right"
    for other in ({"unit": "m"}, {"marks": [1]}, {"marks": 1}, {"base": 9}, {"depth": 1}):
        assert check(turn(("geo.area", given | other)), task).kind == "wrong", other


def test_arguments_are_of_the_types_of_the_schema() -> None:
    possible = [{"geo.area": {"base": [10], "height": ["", 5, "5"], "unit": ["cm", ""], "marks": ["", [1], ["1"]]}}]
    task = Task(None, columns={"ground_truth": possible, "function": [AREA]})
    check = checker(SETTINGS)
    assert check(turn(("geo.area", {"base": 10, "height": 5})), task).kind == "right"
    assert check(turn(("geo.area", {"base": 10.0, "marks": [1]})), task).kind == "right"
    fault = check(turn(("geo.area", {"base": 10, "height": "5"})), task).reason
    assert fault == "geo.area: height: '5' is not of type 'integer'"
    fault = check("geo.area(base=10, marks=['1'])", task).reason
    assert fault == "geo.area: marks/0: '1' is not of type 'integer'"
    broken = Task(None, columns={"ground_truth": possible, "function": [{"name": "?", "parameters": 3}]})
    assert check(turn(("geo.area", {"base": 10, "height": "5"})), broken).kind == "right"


def test_no_call_where_no_function_fits(data: Path) -> None:
    check = checker(SETTINGS)
    row = lines(data, "BFCL_v4_irrelevance.json")[0]
    task = Task(None, columns={"function": row["function"]})
    assert check("I have no function for that.", task).kind == "right"
    assert check("determine_body_mass_index(weight=10, height=5)", task).kind == "wrong"
    assert check("I have no function for that.", Task(None)).kind == "unscorable"
    assert check("f(a=1)", Task("not JSON")).kind == "unscorable"


@pytest.mark.parametrize("part", ["simple_python", "multiple"])
def test_possible_answers_are_right_and_changed_ones_wrong(data: Path, part: str) -> None:
    check = checker(SETTINGS)
    answers = lines(data, f"possible_answer__BFCL_v4_{part}.json")
    assert len(answers) in (400, 200)
    for row in answers:
        truth = row["ground_truth"]
        for task in (Task(json.dumps(truth)), Task(None, columns={"ground_truth": truth})):
            response = gold(SETTINGS, task) or ""
            assert check(response, task).kind == "right", row["id"]
        [(name, parameters)] = truth[0].items()
        assert check(response.replace(name, f"{name}_x", 1), task).kind == "wrong", row["id"]
        required = [key for key, values in parameters.items() if "" not in values]
        if required:
            without = copy.deepcopy(truth)
            del without[0][name][required[0]]
            assert check(gold(SETTINGS, Task(json.dumps(without))) or "", task).kind == "wrong", row["id"]
            other = copy.deepcopy(truth)
            other[0][name][required[0]] = ["something else"]
            assert check(gold(SETTINGS, Task(json.dumps(other))) or "", task).kind == "wrong", row["id"]
