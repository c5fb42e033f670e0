import json
from pathlib import Path
from typing import Any

import pytest

from filters.verdict import VerifierSettings
from filters.verifiers import registry
from synth.errors import UsageError
from synth.evaluation.suites import Suite, open_suites

LIMITS = VerifierSettings("", time_limit=5.0)


def opened(*old: object, new: tuple[object, ...] = (), verifier: str | None = None, **options: Any) -> list[Suite]:
    judge = VerifierSettings(verifier) if verifier else None
    return open_suites([str(one) for one in old], [str(one) for one in new], judge, LIMITS, **options)


def write(file: Path, *rows: dict[str, Any]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


PUBLISHED = {
    "gsm8k/test.jsonl": ("GSM8K", "math"),
    "math500/test.jsonl": ("MATH-500", "math"),
    "mbpp/mbpp.jsonl": ("MBPP", "code"),
    "humaneval/HumanEval.jsonl": ("HumanEval", "code"),
    "bfcl/BFCL_v4_simple_python.json": ("BFCL", "function-call"),
    "bfcl/BFCL_v4_multiple.json": ("BFCL", "function-call"),
    "bfcl/BFCL_v4_irrelevance.json": ("BFCL", "function-call"),
    "ifeval/prompt_instructions.jsonl": ("IFEval", "instructions"),
    "xstest/xstest_prompts.csv": ("XSTest", "refusal"),
    "advbench/harmful_behaviors.csv": ("AdvBench", "refusal"),
}


@pytest.mark.parametrize("file", PUBLISHED)
def test_published_files_are_read_as_they_are(file: str, data: Path) -> None:
    [suite] = opened(f"this={data / file}", limit=40)
    name, verifier = PUBLISHED[file]
    assert f"{name}, judged by {verifier}" in suite.note
    assert len(suite.items) == 40
    for item in suite.items:
        assert item.messages[-1]["role"] == "user"
        assert item.messages[-1]["content"].strip()
        assert item.verifier == VerifierSettings(verifier, time_limit=5.0)


CHECKED = ["gsm8k/test.jsonl", "math500/test.jsonl", "bfcl/BFCL_v4_simple_python.json", "bfcl/BFCL_v4_multiple.json"]


@pytest.mark.parametrize("file", CHECKED)
def test_the_published_answers_are_right(file: str, data: Path) -> None:
    """Of GSM8K, MATH and BFCL all references are right by their own verifier; other formats need a sandbox."""
    [suite] = opened(f"this={data / file}", limit=60)
    check = registry.checker(suite.items[0].verifier)
    for item in suite.items:
        response = registry.gold(item.verifier, item.task)
        assert response is not None
        assert check(response, item.task).kind == "right", item.task


def test_no_call_is_right_where_no_function_fits(data: Path) -> None:
    [suite] = opened(data / "bfcl/BFCL_v4_irrelevance.json", limit=20)
    check = registry.checker(suite.items[0].verifier)
    assert all(check("None of the functions fits.", item.task).kind == "right" for item in suite.items)
    assert all(check("[determine_body_mass_index(weight=1)]", item.task).kind == "wrong" for item in suite.items[:1])


def test_what_a_coder_is_told(data: Path) -> None:
    [mbpp] = opened(data / "mbpp/mbpp.jsonl", limit=1)
    asked = mbpp.items[0].messages[0]["content"]
    assert "assert min_cost" in asked  # the tests say what the function is called
    [human] = opened(data / "humaneval/HumanEval.jsonl", limit=1)
    assert "```python\nfrom typing import List" in human.items[0].messages[0]["content"]
    assert human.items[0].task.columns["prompt"].startswith("from typing import List")  # what a bare body completes


def test_the_functions_on_offer_are_told_whole(data: Path) -> None:
    [suite] = opened(data / "bfcl/BFCL_v4_simple_python.json", limit=1)
    asked = suite.items[0].messages[-1]["content"]
    offered = json.loads(asked[asked.index("[") : asked.index("\n\nAnswer with")])
    assert offered[0]["parameters"]["properties"]["base"] == {
        "type": "integer",
        "description": "The base of the triangle.",
    }


def test_own_rows_name_their_verifier(tmp_path: Path) -> None:
    file = write(
        tmp_path / "mixed.jsonl",
        {"prompt": "1+1?", "reference": "2", "verifier": "number"},
        {"prompt": "Say hello.", "reference": "hello", "verifier": "exact"},
    )
    [suite] = opened(file)
    assert suite.name == "mixed"
    assert [item.verifier.name for item in suite.items] == ["number", "exact"]
    assert suite.items[0].messages == [{"role": "user", "content": "1+1?"}]
    assert suite.items[0].task.reference == "2"


def test_answered_conversations_are_asked_again(tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1+1?"}]
    file = write(tmp_path / "old.jsonl", {"messages": [*turns, {"role": "assistant", "content": "2"}]})
    [suite] = opened(file, verifier="number")
    assert suite.items[0].messages == turns
    assert suite.items[0].task.reference == "2"


def test_old_and_new_suites_are_told_apart_even_of_one_file(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", {"prompt": "1+1?", "reference": "2", "verifier": "number"})
    old, new = opened(file, new=(f"again={file}",))
    assert (old.name, old.new, new.name, new.new) == ("a", False, "again", True)


def test_a_fingerprint_follows_the_content(tmp_path: Path) -> None:
    row = {"prompt": "1+1?", "reference": "2", "verifier": "number"}
    one = opened(write(tmp_path / "a.jsonl", row))[0].fingerprint
    assert opened(write(tmp_path / "b.jsonl", row))[0].fingerprint == one
    for change in ({"prompt": "1+2?"}, {"reference": "3"}, {"verifier": "exact"}, {"tests": "x"}):
        assert opened(write(tmp_path / "c.jsonl", row | change))[0].fingerprint != one


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "1+1?", "reference": "2"}, "nothing says how"),
        ({"prompt": "1+1?", "reference": "2", "verifier": "maths"}, "did you mean math"),
        ({"prompt": "1+1?", "reference": "2", "verifier": None}, "it names no verifier"),
        ({"prompt": "1+1?", "reference": "2", "verifier": "os:system"}, "named by `verifier` only"),
        ({"text": 1}, "no conversation recognised"),
    ],
)
def test_suites_that_cannot_be_judged(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        opened(write(tmp_path / "bad.jsonl", row))


def test_an_empty_suite_and_two_of_one_name(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(UsageError, match="is empty"):
        opened(tmp_path / "empty.jsonl", verifier="exact")
    file = write(tmp_path / "a.jsonl", {"prompt": "1+1?", "reference": "2", "verifier": "number"})
    with pytest.raises(UsageError, match=r"two suites are called .*: give one another name, as in other=FILE"):
        opened(file, file)


def test_rows_of_a_known_format_with_holes_stay_items(tmp_path: Path) -> None:
    file = write(
        tmp_path / "gsm.jsonl", {"question": "1+1?", "answer": "It is #### 2"}, {"question": None, "answer": None}
    )
    [suite] = opened(file)
    assert [len(item.messages) for item in suite.items] == [1, 0]


GSM8K = {"question": "1+1?", "answer": "It is #### 2"}
MBPP = {"text": "Add.", "code": "def add(a, b): return a + b", "test_list": ["assert add(1, 2) == 3"]}
OWN = {"prompt": "1+1?", "reference": "2", "verifier": "number"}


def test_suites_are_called_after_what_they_are(tmp_path: Path) -> None:
    files: dict[str, dict[str, Any]] = {
        "a/test.jsonl": GSM8K,
        "b/test.jsonl": MBPP,
        "c/test.jsonl": OWN,
        "c/sums.jsonl": OWN,
        "d/full.jsonl": MBPP | {"text": "Subtract."},
        "e/data/full.jsonl": OWN,
        "f/math-1.5b.jsonl": OWN,
    }
    for name, row in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        write(tmp_path / name, row)
    names = ["gsm8k", "d-full", "c", "sums", "d-full", "e", "math-1.5b"]
    names[1] = "b-test"  # two of MBPP
    assert [suite.name for suite in opened(*(tmp_path / name for name in files))] == names


def test_suites_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for name in ("gsm8k/test.jsonl", "gsm8k/train.jsonl", "x/sums.jsonl", "y/sums.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, GSM8K)
    old = [tmp_path / "gsm8k/test.jsonl", tmp_path / "x/sums.jsonl", tmp_path / "y/sums.jsonl"]
    suites = opened(*old, new=(tmp_path / "gsm8k/train.jsonl",))
    assert [suite.name for suite in suites] == ["gsm8k-test", "x-sums", "y-sums", "gsm8k-train"]
    [first, second] = opened(f"sums={old[0]}", f"other={old[0]}")
    assert (first.name, second.name) == ("sums", "other")
