"""`instructions`: for every kind a response that follows it and one that does not."""

import json
from pathlib import Path
from typing import Any

import pytest

from filters.verdict import Task, VerifierSettings
from filters.verifiers.instructions import INSTRUCTIONS
from filters.verifiers.registry import checker

GERMAN = "Das ist ein Satz in deutscher Sprache, und er ist lang genug."
ENGLISH = "This is a sentence in the English language that is long enough to tell."

CASES: list[tuple[str, dict[str, Any], str, str]] = [
    ("keywords:existence", {"keywords": ["red fox", "ant"]}, "A Red Fox and an ant.", "A red fox and an antler."),
    ("keywords:frequency", {"keyword": "ant", "relation": "at least", "frequency": 2}, "Ant, ant!", "ant antler"),
    ("keywords:frequency", {"keyword": "ant", "relation": "less than", "frequency": 2}, "ant", "ant ant"),
    ("keywords:forbidden_words", {"forbidden_words": ["rock"]}, "A rocket.", "A Rock."),
    ("keywords:letter_frequency", {"letter": "#", "let_relation": "at least", "let_frequency": 2}, "# a #", "# a"),
    ("language:response_language", {"language": "de"}, GERMAN, ENGLISH),
    (
        "length_constraints:number_sentences",
        {"relation": "less than", "num_sentences": 3},
        "Dr. No ran. Ok.",
        "One. Two. Three? Four!",
    ),
    (
        "length_constraints:number_sentences",
        {"relation": "at least", "num_sentences": 2},
        "One fox. Two.",
        "Pi is 3.14.",
    ),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a b\n***\nc", "a\n\nb"),
    ("length_constraints:number_words", {"relation": "at least", "num_words": 3}, "it's a well-known", "one two"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Weekend"},
        "Yes.\n\n*weekend* it is",
        "weekend\n\nit is",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name] at [address]", "[name] at []"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye.\nP. S. One more", "Bye. PSST"),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "Bye.\nP.P.S. more", "Bye.\nP.S. more"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n- b\n**c**", "* a\n- b\n- c"),
    ("detectable_format:constrained_response", {}, "My answer is maybe.", "Maybe."),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*a* and **b**", "*a* and ** **"),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "SECTION", "num_sections": 2},
        "SECTION 1\na\nSection 2\nb",
        "SECTION 1\na section b",
    ),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', "{a: 1}"),
    ("detectable_format:title", {}, "<<A title>>\ntext", "<< >>\ntext"),
    ("combination:two_responses", {}, "one\n******\ntwo", "one\n******\none"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say it."}, "say it. I say it.", "I say it."),
    ("startend:end_checker", {"end_phrase": "The end."}, 'It is over. "the end."', "The end. Or not."),
    ("startend:quotation", {}, ' "all of it" ', '"part" of it'),
    (
        "change_case:capital_word_frequency",
        {"capital_relation": "at least", "capital_frequency": 2},
        "NO WAY",
        "NO way",
    ),
    ("change_case:english_capital", {}, ENGLISH.upper(), ENGLISH),
    ("change_case:english_lowercase", {}, ENGLISH.lower(), ENGLISH),
    ("punctuation:no_comma", {}, "one and two", "one, two"),
]


def test_every_instruction_has_its_cases() -> None:
    assert {name for name, *_ in CASES} == INSTRUCTIONS.keys()
    assert len(INSTRUCTIONS) == 25


@pytest.mark.parametrize(("name", "given", "followed", "broken"), CASES)
def test_followed_and_broken(name: str, given: dict[str, Any], followed: str, broken: str) -> None:
    check = checker(VerifierSettings("instructions"))
    padded = given | {"something": None}  # as Arrow gives to all rows the arguments of each
    task = Task(columns={"instruction_id_list": [name], "kwargs": [padded]})
    assert check(followed, task).kind == "right"
    verdict = check(broken, task)
    assert verdict.kind == "wrong" and verdict.reason == f"not followed: {name}"
    assert check("", task).kind == "wrong"


def test_all_must_be_followed_and_the_first_broken_one_is_named() -> None:
    check = checker(VerifierSettings("instructions"))
    both = {"instruction_id_list": ["punctuation:no_comma", "startend:quotation"], "kwargs": [{}, {}]}
    assert check('"ok"', Task(columns=both)).kind == "right"
    verdict = check("ok", Task(columns=both))
    assert (verdict.kind, verdict.answer) == ("wrong", "1 of 2 followed")
    assert verdict.reason == "not followed: startend:quotation"


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"instruction_id_list": ["punctuation:no_comma"], "kwargs": []},
        {"instruction_id_list": ["no:such"], "kwargs": [{}]},
        {"instruction_id_list": ["keywords:existence"], "kwargs": [{}]},
        {"instruction_id_list": ["punctuation:no_comma"], "kwargs": "{"},
    ],
)
def test_unusable_rows_are_unscorable(columns: dict[str, Any]) -> None:
    assert checker(VerifierSettings("instructions"))("text", Task(columns=columns)).kind == "unscorable"


def test_every_published_prompt_can_be_checked(data: Path) -> None:
    check = checker(VerifierSettings("instructions"))
    rows = [json.loads(line) for line in (data / "ifeval" / "prompt_instructions.jsonl").read_text().splitlines()]
    assert len(rows) == 541
    for row in rows:
        verdict = check(ENGLISH, Task(None, row["prompt"], row))
        assert verdict.kind in ("right", "wrong"), (row["key"], verdict)
