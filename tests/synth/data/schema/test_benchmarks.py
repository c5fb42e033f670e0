import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from filters.verdict import VerifierSettings
from filters.verifiers import registry
from synth.curation.context import FilterContext
from synth.data.plain import open_rows_or_texts
from synth.data.prompts import open_prompts, task_of
from synth.data.read import open_rows
from synth.errors import UsageError
from tests.cli.running import load, synth


def write(file: Path, *rows: dict[str, Any]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def read(file: Path, **named: str) -> list[dict[str, Any]]:
    return [row for batch in open_rows(str(file), **named).batches() for row in batch.to_pylist()]


FOUR = ["red", "green", "blue", "grey"]
LABELLED = {"text": FOUR, "label": ["1", "2", "3", "4"]}
CHOICES: dict[str, dict[str, Any]] = {
    "MMLU": {"question": "Which is the sky?", "subject": "colours", "choices": FOUR, "answer": 2},
    "MMLU-Pro": {"question": "Which is the sky?", "options": FOUR, "answer": "C", "answer_index": 2},
    "ARC": {"id": "Mercury_7", "question": "Which is the sky?", "choices": LABELLED, "answerKey": "3"},
    "OpenBookQA": {"id": "7", "question_stem": "The sky is", "choices": LABELLED, "answerKey": "3"},
    "HellaSwag": {"ctx": "He looks up at the sky. It", "endings": FOUR, "label": "2", "ind": 4},
}


@pytest.mark.parametrize("name", CHOICES)
def test_multiple_choice_as_published(tmp_path: Path, name: str) -> None:
    file = write(tmp_path / "test.jsonl", CHOICES[name])
    [row] = read(file)
    asked, answer = row["messages"]
    assert asked["content"].endswith(
        "A. red\nB. green\nC. blue\nD. grey\n\nAnswer with the letter of the right choice."
    )
    assert (answer["content"], row["reference"], row["verifier"], row["choices"]) == ("C", "C", "choice", FOUR)
    check = registry.checker(VerifierSettings("choice"))
    tasks = open_prompts(open_rows(str(file)))
    [task] = tasks.tasks()
    verdicts = {said: check(said, task).kind for said in ("C", "The answer is (C).", "blue", "The answer is B.")}
    assert list(verdicts.values()) == ["right", "right", "right", "wrong"]


def test_gpqa_is_asked_in_an_order_that_the_row_decides(tmp_path: Path) -> None:
    wrong = {f"Incorrect Answer {number}": text for number, text in ((1, "red"), (2, "green"), (3, "grey"))}
    asked = [{"Question": f"What colour is sky {n}?\n", "Correct Answer": "blue\n", **wrong} for n in range(12)]
    rows = read(write(tmp_path / "gpqa.jsonl", *asked))
    assert [row["verifier"] for row in rows] == ["choice"] * 12
    for row in rows:
        assert sorted(row["choices"]) == ["blue", "green", "grey", "red"]
        assert row["choices"]["ABCD".index(row["reference"])] == "blue"
        assert f"{row['reference']}. blue\n" in row["messages"][0]["content"]
    assert {row["reference"] for row in rows} == set("ABCD"), "the right one stands anywhere"
    assert read(write(tmp_path / "backwards.jsonl", *reversed(asked))) == rows[::-1]
    [row] = read(write(tmp_path / "holes.jsonl", asked[0] | {"Correct Answer": None}))
    assert row["reference"] is None and not row["messages"]


def test_a_solution_without_a_box_gives_way_to_the_answer(tmp_path: Path) -> None:
    aime = {"problem": "How many?", "solution": "We count them: there are 204.", "answer": "204", "year": "2024"}
    boxed = aime | {"solution": r"We count them: $\boxed{204}$."}
    rows = read(write(tmp_path / "aime.jsonl", aime, boxed, aime | {"solution": None}, aime | {"answer": None}))
    assert [row["reference"] for row in rows] == ["204", boxed["solution"], "204", aime["solution"]]
    assert all(row["verifier"] == "math" for row in rows)


def test_a_row_of_multiple_choice_with_holes_has_no_reference(tmp_path: Path) -> None:
    rows = [CHOICES["MMLU"], CHOICES["MMLU"] | {"answer": None}, CHOICES["MMLU"] | {"answer": 7}]
    rows.append(CHOICES["MMLU"] | {"choices": None})
    found = read(write(tmp_path / "mmlu.jsonl", *rows))
    assert [row["reference"] for row in found] == ["C", None, None, None]
    assert [bool(row["messages"]) for row in found] == [True, True, True, False]


def test_options_that_are_no_multiple_choice_stay_what_they_are(tmp_path: Path) -> None:
    file = write(tmp_path / "faq.jsonl", {"question": "Why?", "choices": FOUR, "answer": "Because it is blue."})
    [row] = read(file)
    assert row["reference"] == "Because it is blue." and "verifier" not in row


def test_the_text_of_mbpp_is_no_plain_text(tmp_path: Path) -> None:
    row = {"text": "Add.", "code": "def add(a, b): return a + b", "test_list": ["assert add(1, 2) == 3"]}
    rows = open_rows_or_texts(str(write(tmp_path / "mbpp.jsonl", row)))
    [found] = [found for batch in rows.batches() for found in batch.to_pylist()]
    assert found["verifier"] == "code" and found["messages"][1]["content"] == row["code"]


def test_named_columns_win(tmp_path: Path) -> None:
    file = write(tmp_path / "gsm.jsonl", {"question": "1+1?", "answer": "It is #### 2", "hint": "Count."})
    [row] = read(file, prompt_column="hint")
    assert row["messages"] == [{"role": "user", "content": "Count."}] and "verifier" not in row


def test_what_comes_of_a_benchmark_is_read_as_conversations(tmp_path: Path) -> None:
    file = write(tmp_path / "he.jsonl", HUMAN)
    once, twice = tmp_path / "once", tmp_path / "twice.jsonl"
    assert synth("verify", file, "--unsafe-no-sandbox", "-o", once) == 0
    assert synth("verify", once, "--unsafe-no-sandbox", "-o", twice) == 0
    [row], [again] = load(once), load(twice)
    assert row.keys() >= {"messages", "test", "entry_point"} and row["verdict"] == again["verdict"] == "right"
    assert row["messages"] == again["messages"] == read(file)[0]["messages"]


HUMAN = {
    "task_id": "HumanEval/0",
    "prompt": 'def double(x: int) -> int:\n    """Twice x."""\n',
    "entry_point": "double",
    "canonical_solution": "    return 2 * x\n",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n",
}


def test_the_rest_of_a_function_is_an_answer_to_humaneval(tmp_path: Path) -> None:
    [row] = open_prompts(open_rows(str(write(tmp_path / "he.jsonl", HUMAN)))).rows("", {}, pa.schema([]))(0)
    check = registry.checker(VerifierSettings("code", unsafe_no_sandbox=True))
    assert row.reference == HUMAN["prompt"] + HUMAN["canonical_solution"]
    assert [check(said, task_of(row)).kind for said in ("    return 2 * x\n", row.reference)] == ["right", "right"]


def test_the_possible_answers_of_bfcl_lie_beside_it(tmp_path: Path) -> None:
    turn = {"role": "user", "content": "How long is it from A to B?"}
    row = {"id": "simple_0", "question": [[turn]], "function": [{"name": "distance", "parameters": {}}]}
    file = write(tmp_path / "BFCL_v4_simple.json", row)
    answers = write(
        tmp_path / "possible_answer__BFCL_v4_simple.json",
        {"id": "simple_0", "ground_truth": [{"distance": {"from": ["A"], "to": ["B"]}}]},
    )
    [task] = open_prompts(open_rows(str(file))).tasks()
    gold = registry.gold(VerifierSettings("function-call"), task)
    assert json.loads(gold or "") == [{"name": "distance", "arguments": {"from": "A", "to": "B"}}]
    answers.write_text("not JSON\n")
    with pytest.raises(UsageError, match="does not hold possible answers"):
        read(file)


ALL = {
    "gsm8k/test.jsonl": "math",
    "math500/test.jsonl": "math",
    "mbpp/mbpp.jsonl": "code",
    "humaneval/HumanEval.jsonl": "code",
    "bfcl/BFCL_v4_multiple.json": "function-call",
}


@pytest.mark.parametrize("file", ALL)
def test_published_references_are_right_with_no_option_given(file: str, data: Path, tmp_path: Path) -> None:
    arguments = ("verify", data / file, "--references", "--limit", 12, "--unsafe-no-sandbox", "-o", tmp_path / "out")
    assert synth(*arguments) == 0
    found = load(tmp_path / "out")
    assert [(row["verifier"], row["verdict"]) for row in found] == [(ALL[file], "right")] * 12


def test_prompts_without_answers_are_told(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert synth("verify", data / "ifeval/prompt_instructions.jsonl") == 2
    said = capsys.readouterr().err
    assert "IFEval" in said and "prompts without answers" in said and "self-output" in said
    assert "--references" not in said
    assert synth("verify", data / "bfcl/BFCL_v4_simple_python.json") == 2
    assert "its references can be judged: --references" in capsys.readouterr().err
    assert synth("verify", data / "ifeval/prompt_instructions.jsonl", "--references") == 2
    assert "has no references" in capsys.readouterr().err


def test_the_verifier_that_all_rows_name_is_the_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"prompt": "1+1?", "reference": "2", "verifier": name} for name in ("number", "exact")]
    assert synth("verify", write(tmp_path / "one.jsonl", rows[0], rows[0]), "--references", "-o", tmp_path / "out") == 0
    assert [row["verdict"] for row in load(tmp_path / "out")] == ["right", "right"]
    for several in ([rows[0], rows[1]], [rows[0], rows[0] | {"verifier": None}], [rows[0] | {"verifier": "os:system"}]):
        assert synth("verify", write(tmp_path / "several.jsonl", *several), "--references") == 2
        assert "--verifier is missing" in capsys.readouterr().err


def test_the_bare_questions_of_a_benchmark_are_looked_for(tmp_path: Path) -> None:
    turn = {"role": "user", "content": "How long is it from A to B?"}
    bfcl = {"id": "simple_0", "question": [[turn]], "function": [{"name": "distance", "parameters": {}}]}
    for row, item in (
        (bfcl, ("How long is it from A to B?", None)),
        (HUMAN, (HUMAN["prompt"], HUMAN["prompt"] + HUMAN["canonical_solution"])),
        (CHOICES["MMLU"], ("Which is the sky?", "C")),
    ):
        assert FilterContext([]).open_benchmark(str(write(tmp_path / "b.jsonl", row))) == [item]


def test_objects_whose_values_are_all_null_are_carried(tmp_path: Path) -> None:
    """IFEval's arguments, where no instruction takes any."""
    row = {"key": 1, "prompt": "Say it.", "instruction_id_list": ["punctuation:no_comma"]}
    rows = [row | {"kwargs": [{}]}, row | {"kwargs": [{}]}, row | {"kwargs": [{}, {"n": None}]}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    [batch] = open_rows(str(tmp_path / "rows.jsonl")).read()
    batch.validate(full=True)
    assert batch.column("kwargs").to_pylist() == [[{"n": None}], [{"n": None}], [{"n": None}, {"n": None}]]
