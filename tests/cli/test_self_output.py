"""The commands that turn human data into the model's own words, as a person runs them."""

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import pytest

from filters.execution.sandbox import isolation_missing
from tests.cli.running import SYNTH, Command, start_and_kill
from tests.conftest import Here

ENGINE = ["--engine", "transformers", "--max-tokens", "100"]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tasks") / "tasks.jsonl"
    rows = []
    for n in range(60):
        a, b, c = 3 + n % 11, 2 + n % 7, 2 + n % 5
        name = ("Sami", "Remy", "Max")[n % 3]
        question = f"Otto buys {a} packs of {b} shells and hands {c} shells to {name}. How many shells does Otto keep?"
        answer = f"{a} * {b} = {a * b}. {a * b} - {c} = {a * b - c}. All told, the answer is {a * b - c}."
        rows.append({"question": question, "answer": answer, "number": n, "when": f"2020-01-{1 + n % 28:02d}"})
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def load(path: Path) -> list[dict[str, Any]]:
    return list(datasets.load_from_disk(str(path)))


def test_self_output_from_end_to_end(here: Here, tasks: Path, model: str, tmp_path: Path) -> None:
    out = tmp_path / "own"
    command = ["self-output", tasks, "--model", model, *ENGINE, "--verifier", "math", "--samples", 3, "--pairs"]
    command += ["--select", "lowest-perplexity", "--fallback", "paraphrase,gold", "-o", out]
    done = here(*command)
    assert done.returncode == 0, done.stderr
    assert "references, the first 60 checked by math: all right" in done.stderr
    rows = load(out)
    assert [row["number"] for row in rows] == list(range(60))
    assert all(row["verdict"] == "right" and row["verifier"] == "math" for row in rows)
    methods = Counter(row["method"] for row in rows)
    assert methods["self-output"] > 20 and set(methods) <= {"self-output", "paraphrase", "gold"}
    record = json.loads((out / "run.json").read_text())
    assert record["methods"] == methods and record["verdicts"] == {"right": 60}
    for method, count in methods.items():
        assert f"{count:>7,}  {method}" in done.stderr
    pairs = load(out / "pairs")
    assert pairs and set(pairs[0]) >= {"prompt", "chosen", "rejected"}
    again = here(*command)
    assert again.returncode == 0 and "already holds 60 rows" in again.stderr
    other = here(*command, "--seed", 1)
    assert other.returncode == 2 and "seed: 0, now 1" in other.stderr


def test_killed_and_continued_it_writes_the_same_rows(here: Here, tasks: Path, model: str, tmp_path: Path) -> None:
    command = [
        "self-output",
        tasks,
        "--model",
        model,
        *ENGINE,
        "--verifier",
        "math",
        "--samples",
        2,
        "--concurrency",
        4,
    ]
    assert here(*command, "-o", tmp_path / "whole").returncode == 0
    start_and_kill([*command, "-o", tmp_path / "killed"], tmp_path / "killed" / "journal.jsonl", rows=13)
    done = here(*command, "-o", tmp_path / "killed")
    assert done.returncode == 0, done.stderr
    whole, continued = load(tmp_path / "whole"), load(tmp_path / "killed")
    assert [row["id"] for row in whole] == [row["id"] for row in continued]
    assert [row["when"] for row in whole] == [row["when"] for row in continued]
    assert sum(a["messages"] != b["messages"] for a, b in zip(whole, continued, strict=True)) <= 1  # rounding


def test_files_and_streams(here: Here, tasks: Path, model: str, tmp_path: Path) -> None:
    command = ["self-output", tasks, "--model", model, *ENGINE, "--verifier", "number", "--limit", 8, "--quiet"]
    streamed = here(*command)
    lines = [json.loads(line) for line in streamed.stdout.splitlines()]
    assert lines and all(line["verdict"] == "right" for line in lines)
    assert here(*command, "--samples", 4, "--pairs", "-o", tmp_path / "own.jsonl").returncode == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert "own.jsonl" in names and names <= {"own.jsonl", "own.rejected.jsonl", "own.pairs.jsonl"}
    piped = subprocess.run(
        [*SYNTH, *map(str, ["verify", "--verifier", "math", "--quiet"])],
        input=streamed.stdout,
        capture_output=True,
        text=True,
    )
    assert piped.returncode == 0, piped.stderr
    assert all(json.loads(line)["verdict"] == "right" for line in piped.stdout.splitlines())


def test_unverified_answers_are_marked_from_end_to_end(here: Here, tasks: Path, model: str, tmp_path: Path) -> None:
    """Which of them is taken is decided by the seed; all that is made of them says that they are unverified."""
    own = ["self-output", tasks, "--model", model, *ENGINE, "--verifier", "none", "--limit", 20, "--samples", 2]
    own += ["--select", "random", "--temperature", 1.6, "--top-k", 20, "--top-p", 0.8]
    for name, seed in (("own", 0), ("other", 1)):
        done = here(*own, "--seed", seed, "-o", tmp_path / name)
        assert done.returncode == 0, done.stderr
    rows = load(tmp_path / "own")
    assert rows != load(tmp_path / "other")
    assert {(row["verifier"], row["verdict"], row["samples"]) for row in rows} == {(None, "unverified", 2)}
    judged = here("verify", tmp_path / "own", "--verifier", "number", "--quiet").stdout.splitlines()
    assert len(judged) == len(rows) and "wrong" in {json.loads(line)["verdict"] for line in judged}
    marked = f"**{len(rows)} answers are unverified: the model's own, taken without a check.**"
    (tmp_path / "old.jsonl").write_text(json.dumps({"question": "Say hello.", "answer": "Hello!"}))
    mixed = here("mix", tmp_path / "own", "--replay", f"{tmp_path / 'old.jsonl'}:0.05", "-o", tmp_path / "mixed")
    assert mixed.returncode == 0, mixed.stderr
    trained = here("train", tmp_path / "mixed", "--model", model, "--steps", 1, "-o", tmp_path / "tuned")
    assert trained.returncode == 0, trained.stderr
    for name in ("own", "mixed", "tuned"):
        assert marked in (tmp_path / name / "README.md").read_text(encoding="utf-8"), name
    assert json.loads((tmp_path / "tuned" / "run.json").read_text())["verdicts"] == {"unverified": len(rows)}
    again = here(*own, "--verifier", "math", "-o", tmp_path / "own")
    assert again.returncode == 2 and 'verifier: "none", now' in again.stderr


def test_few_shot_majority_and_a_teacher(here: Here, tasks: Path, model: str, tmp_path: Path) -> None:
    common = ["self-output", tasks, *ENGINE, "--limit", 10]
    shown = here(*common, "--model", model, "--verifier", "math", "--few-shot", 2, "-o", tmp_path / "shots")
    assert shown.returncode == 0, shown.stderr
    assert all(len(row["messages"]) == 2 for row in load(tmp_path / "shots"))
    voted = here(*common, "--model", model, "--verifier", "majority", "--samples", 5, "-o", tmp_path / "voted")
    assert voted.returncode == 0, voted.stderr
    rows = load(tmp_path / "voted")
    assert rows and all(row["verdict"] == "right" and row["samples_right"] >= 2 for row in rows)
    taught = ["--model", model, "--answer-model", model, "--verifier", "math", "--fallback", "paraphrase,drop"]
    done = here(*common, *taught, "-o", tmp_path / "taught")
    assert done.returncode == 0, done.stderr


def test_paraphrase_and_minimum_change(here: Here, tasks: Path, model: str, tmp_path: Path) -> None:
    common = [tasks, "--model", model, *ENGINE, "--limit", 20, "--verifier", "math"]
    para = here("paraphrase", *common, "-o", tmp_path / "para")
    assert para.returncode == 0, para.stderr
    rows = load(tmp_path / "para")
    assert len(rows) == 20 and {row["method"] for row in rows} <= {"paraphrase", "gold"}
    edits = here("minimum-change", *common, "--temperature", 1.0, "-o", tmp_path / "edits")
    assert edits.returncode == 0, edits.stderr
    assert all(row["similarity"] >= 0.5 for row in load(tmp_path / "edits"))
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Say {reference} again, as an answer to {question}")
    own = here("paraphrase", *common[:-2], "--style", prompt, "-o", tmp_path / "own")
    assert own.returncode == 0, own.stderr


def test_verify_every_verdict(here: Here, data: Path, tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": text}], "reference": ref}
        for text, ref in (("It is 2.", "2"), ("It is 3.", "2"), ("It is 2.", "two"), ("It is 2.", None))
    ]
    rows.append({"messages": [{"role": "user", "content": "1+1?"}], "reference": "2"})
    file = tmp_path / "answers.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    done = here("verify", file, "--verifier", "number", "-o", tmp_path / "judged")
    assert done.returncode == 0, done.stderr
    judged = load(tmp_path / "judged")
    assert [row["verdict"] for row in judged] == ["right", "wrong", "unscorable", "unscorable", "unscorable"]
    assert [row["answer"] for row in judged] == ["2", "3", None, None, None]
    assert judged[1]["verdict_reason"] == "not 2"
    references = here("verify", data / "gsm8k" / "test.jsonl", "--limit", 100, "--verifier", "math", "--references")
    assert {json.loads(line)["verdict"] for line in references.stdout.splitlines()} == {"right"}


@pytest.mark.skipif(isolation_missing() is not None, reason=str(isolation_missing()))
def test_verify_reads_the_tests_of_published_data(here: Here, data: Path) -> None:
    columns = ["--prompt-column", "text", "--reference-column", "code"]
    done = here("verify", data / "mbpp" / "mbpp.jsonl", *columns, "--limit", 20, "--verifier", "code")
    assert [json.loads(line)["verdict"] for line in done.stdout.splitlines()] == ["right"] * 20, done.stderr
    done = here("verify", data / "humaneval" / "HumanEval.jsonl", "--limit", 20, "--verifier", "code")
    assert [json.loads(line)["verdict"] for line in done.stdout.splitlines()] == ["right"] * 20, done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--verifier", "mth"], "there is no verifier mth; did you mean math?"),
        (["--verifier", "no_module:f"], "cannot be imported"),
        (["--verifier", "regex", "--pattern", "("], "no regular expression"),
        (["--verifier", "json", "--schema", "missing.json"], "--schema missing.json cannot be read"),
        (["--verifier", "compile", "--language", "klingon"], "klingon"),
        (["--verifier", "choice"], "judges none of the first 60 references right"),
        (["--verifier", "math", "--select", "best"], "--select best is unknown"),
        (["--verifier", "math", "--fallback", "hope"], "--fallback hope is unknown"),
        (["--verifier", "math", "--pairs"], "give -o DIR"),
        (["--verifier", "math", "--few-shot", "60"], "more than 60 rows"),
        (["--verifier", "majority", "--fallback", "gold"], "--fallback drop"),
        (["--verifier", "none", "--fallback", "gold"], "it goes with --fallback drop"),
        (["--verifier", "none", "--pairs", "-o", "x"], "--verifier none does not tell"),
        (["--verifier", "math", "--prompt-column", "nope"], "there is no column 'nope'"),
    ],
)
def test_what_cannot_work_is_said_before_a_model_is_loaded(
    here: Here, tasks: Path, model: str, tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = here("self-output", tasks, "--model", model, *ENGINE, *arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "ready in" not in done.stderr and "Traceback" not in done.stderr


def test_a_users_own_verifier(tasks: Path, model: str, tmp_path: Path) -> None:
    (tmp_path / "checks.py").write_text(
        "def short(response, reference, row):\n"
        "    if row['number'] == 3:\n        raise RuntimeError('no three')\n"
        "    return reference.split()[-1] in response\n"
    )
    command = ["self-output", tasks, "--model", model, *ENGINE, "--verifier", "checks:short", "--limit", 12]
    with Command(*command, "-o", tmp_path / "own", folder=tmp_path) as process:
        assert process.wait() == 0, process.said
        wrong = "1 reference unscorable (the first: row 3, reference unscorable: checks:short raised RuntimeError"
        assert wrong in process.said
    rejected = load(tmp_path / "own" / "rejected")
    assert any("RuntimeError: no three" in row["reason"] for row in rejected)
