"""Tasks from the columns of a trainer's data set."""

from typing import Any

import pytest

from synth.errors import UsageError
from synth.rl.tasks import tasks_of


def reference(**columns: Any) -> str | None:
    [task] = tasks_of(["What?"], {name: [value] for name, value in columns.items()})
    return task.reference


def test_the_reference_is_found_by_the_names_that_data_sets_use() -> None:
    assert reference(reference="4", answer="5") == "4"
    assert reference(answer="4", solution="2 + 2 = 4") == "4"
    assert reference(solution="\\boxed{4}") == "\\boxed{4}"
    assert reference(ground_truth=4) == "4"
    assert reference(ground_truth=4.5) == "4.5"
    assert reference(reference={"name": "add"}) == '{"name": "add"}'
    assert reference(reference=None, answer="4") == "4"
    assert reference(answers={"text": ["four", "4"], "answer_start": [0, 5]}) == "four"  # SQuAD
    assert reference(tests=["assert f(2) == 4"]) is None


def test_rows_of_a_benchmark_are_read_as_published() -> None:
    math = {"problem": "p", "solution": "so \\boxed{\\frac12}", "answer": "0.5"}
    [task] = tasks_of(["p"], {name: [value] for name, value in math.items()})
    assert (task.reference, task.columns["verifier"]) == ("so \\boxed{\\frac12}", "math")
    mmlu = {"question": "Which?", "choices": ["no", "yes"], "answer": 1, "subject": "logic"}
    [task] = tasks_of(["Which?"], {name: [value] for name, value in mmlu.items()})
    assert (task.reference, task.columns["choices"], task.columns["verifier"]) == ("B", ["no", "yes"], "choice")


@pytest.mark.parametrize(
    ("columns", "reference", "verifier"),
    [
        ({"answer": "6 * 7 = 42\n#### 42"}, "6 * 7 = 42\n#### 42", "math"),  # GSM8K
        ({"choices": ["no", "yes"], "answer": 1, "subject": "logic"}, "B", "choice"),  # MMLU
        ({"choices": {"text": ["no", "yes"], "label": ["1", "2"]}, "answerKey": "2"}, "B", "choice"),  # ARC
        ({"endings": ["no", "yes"], "label": "0"}, "A", "choice"),  # HellaSwag
        ({"code": "def f(): pass", "test_list": ["assert f() is None"]}, "def f(): pass", "code"),  # MBPP
        ({"target": "4"}, "4", None),
        ({"answer": "4", "level": 3}, "4", None),
    ],
)
def test_the_question_of_a_benchmark_may_be_the_prompt(columns: dict[str, Any], reference: str, verifier: str) -> None:
    [task] = tasks_of(["Which?"], {name: [value] for name, value in columns.items()})
    assert (task.reference, task.columns.get("verifier")) == (reference, verifier)


def test_each_row_is_read_by_itself() -> None:
    columns = {"answer": ["4", None], "tests": [None, ["assert f(2) == 4"]]}
    math, code = tasks_of(["2 + 2", "square"], columns)
    assert (math.reference, math.prompt) == ("4", "2 + 2")
    assert (code.reference, code.columns["tests"]) == (None, ["assert f(2) == 4"])


def test_only_data_goes_to_the_workers() -> None:
    columns = {"answer": ["4"], "image": [object()], "images": [[object()]], "trainer_state": object(), "step": 3}
    [task] = tasks_of(["What?"], {**columns, "environments": [object()]})
    assert dict(task.columns) == {"answer": "4"}


def test_columns_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="'answer' has 1 values for 2 completions"):
        tasks_of(["a", "b"], {"answer": ["4"]})
    with pytest.raises(UsageError, match="'answer' has one text for 2 completions"):
        tasks_of(["a", "b"], {"answer": "4"})
    with pytest.raises(UsageError, match="no column 'gold'; there are: answer"):
        tasks_of(["a"], {"answer": ["4"]}, "gold")
    assert tasks_of(["a"], {"answer": ["4"], "gold": ["5"]}, "gold")[0].reference == "5"
