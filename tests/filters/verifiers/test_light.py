"""The verifiers that only read: exact, number, choice, regex, json."""

from typing import Any

import pytest

from filters.verdict import Task, Verdict, VerifierError, VerifierSettings
from filters.verifiers.registry import checker


def judge(name: str, response: str, reference: str | None, prompt: str = "", **columns: Any) -> Verdict:
    return checker(VerifierSettings(name))(response, Task(reference, prompt, columns))


@pytest.mark.parametrize(
    ("response", "reference", "kind"),
    [
        ("  Paris. ", "paris", "right"),
        ("New\n York", "New York", "right"),
        ("Paris, France", "Paris", "wrong"),
        ("", "Paris", "wrong"),
        ("Paris", None, "unscorable"),
        ("Paris", " ", "unscorable"),
    ],
)
def test_exact(response: str, reference: str | None, kind: str) -> None:
    assert judge("exact", response, reference).kind == kind


def test_exact_takes_any_of_several_right_answers() -> None:
    answers = {"text": ["Santa Clara", "Levi's Stadium"], "answer_start": [1, 2]}
    for response, kind in (("santa clara", "right"), ("Levi's Stadium.", "right"), ("Houston", "wrong")):
        assert judge("exact", response, "Santa Clara", answers=answers).kind == kind
    assert judge("exact", "a", "b", answers=["a", "b"]).kind == "wrong"  # options, for all that is known


@pytest.mark.parametrize(
    ("response", "reference", "kind", "answer"),
    [
        ("There are 1,234 of them.", "1234", "right", "1,234"),
        ("98 - 30 = 68. The answer is 68.", "#### 68", "right", "68"),
        ("The answer is 98 - 30 = 68 rolls", "68", "right", "68"),
        ("It is .5", "1/2", "right", ".5"),
        ("2e3", "2000", "right", "2e3"),
        ("$7.50 each", "7.5", "right", "7.50"),
        ("1 1/2 cups", "1.5", "right", "1 1/2"),
        ("-3", "3", "wrong", "-3"),
        ("0.33", "1/3", "wrong", "0.33"),
        ("first 5, then 6", "5", "wrong", "6"),
        ("none", "5", "wrong", None),
        ("5", "five", "unscorable", None),
        ("1e99999999", "5", "wrong", "1e9999"),
    ],
)
def test_number(response: str, reference: str, kind: str, answer: str | None) -> None:
    verdict = judge("number", response, reference)
    assert (verdict.kind, verdict.answer) == (kind, answer)


OPTIONS = ["a red fox", "a blue whale", "an ant", "none of these"]
LINES = "Which is largest?\nA) a red fox\nB) a blue whale\nC. an ant\n(D) none of these"


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("B", "B"),
        ("(B)", "B"),
        ("**B**", "B"),
        ("B. A whale is far larger.", "B"),
        ("The answer is (B).", "B"),
        ("The correct option is B because whales are large.", "B"),
        ("First I thought of A, but the answer is B.", "B"),
        (r"Hence \boxed{B}.", "B"),
        (r"\boxed{\text{(B)}}", "B"),
        ("It must be a blue whale.", "B"),
        ("A whale is large.\nAnswer: B", "B"),
        ("A whale is a large animal.", None),
        ("A or B", None),
        ("a red fox or a blue whale", None),
        ("I do not know.", None),
        ("", None),
    ],
)
@pytest.mark.parametrize("where", ["column", "prompt"])
def test_choice(response: str, answer: str | None, where: str) -> None:
    columns = {"choices": OPTIONS} if where == "column" else {}
    for reference in ("B", "a blue whale"):
        verdict = judge("choice", response, reference, LINES if where == "prompt" else "", **columns)
        assert verdict.answer == answer
        assert verdict.kind == ("right" if answer == "B" else "wrong")


def test_choice_in_the_form_of_arc() -> None:
    choices = {"text": ["one", "two"], "label": ["1", "2"]}
    assert judge("choice", "two", "2", choices=choices).kind == "right"
    assert judge("choice", "one", "2", choices=choices).kind == "wrong"
    assert judge("choice", "B", "E", choices=OPTIONS).kind == "unscorable"
    assert judge("choice", "B", None, choices=OPTIONS).kind == "unscorable"


def test_regex() -> None:
    fixed = checker(VerifierSettings("regex", pattern=r"\b\d{4}\b"))
    assert fixed("in 1984", Task()) == Verdict("right", "1984")
    assert fixed("in 84", Task()).kind == "wrong"
    assert judge("regex", "abc", "b+").kind == "right"
    assert judge("regex", "abc", "(").kind == "unscorable"
    assert judge("regex", "abc", None).kind == "unscorable"
    with pytest.raises(VerifierError, match="no regular expression"):
        checker(VerifierSettings("regex", pattern="("))


SCHEMA = '{"type": "object", "properties": {"year": {"type": "integer"}}, "required": ["year"]}'


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        ('{"year": 1984}', "right"),
        ('Here it is:\n```json\n{"year": 1984}\n```', "right"),
        ('{"year": "1984"}', "wrong"),
        ("{}", "wrong"),
        ('{"year": 1984', "wrong"),
        ('{"year": NaN}', "wrong"),
        ('{"year": 1, "year": 2}', "wrong"),
        ('Sure! {"year": 1984}', "wrong"),
        ("[" * 10**5, "wrong"),
        ("", "wrong"),
    ],
)
def test_json_with_a_schema(response: str, kind: str) -> None:
    assert checker(VerifierSettings("json", schema=SCHEMA))(response, Task()).kind == kind
    assert judge("json", response, None, schema=SCHEMA).kind == kind


def test_json_without_a_schema() -> None:
    assert judge("json", '{"b": 1.0, "a": [null]}', '{"a": [null], "b": 1}').kind == "right"
    assert judge("json", "null", "null").kind == "right"
    assert judge("json", "0", "null").kind == "wrong"
    assert judge("json", "0", "in words").kind == "right"
    assert judge("json", "0", None, schema="{").kind == "unscorable"
    assert judge("json", "0", None, schema='{"$ref": "http://localhost:9/x"}').kind == "unscorable"
    with pytest.raises(VerifierError, match="no JSON Schema"):
        checker(VerifierSettings("json", schema='{"type": 5}'))
