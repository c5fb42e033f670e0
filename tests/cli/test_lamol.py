"""`synth lamol` as a person runs it: data is prepared, a model learns it, and writes examples of it again."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import load, synth

ENGINE = ["--engine", "transformers", "--device", "cpu", "--max-tokens", "80"]
TOKENS = ["--tokens", "[sums]", "--tokens", "[lists]"]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two old tasks, each with its token, as `synth mix` would leave them; what cannot be an example, too."""
    path = tmp_path_factory.mktemp("tasks") / "tasks.jsonl"
    lines: list[dict[str, Any]] = []
    for n in range(150):
        a, b = 20 + n * 3 % 70, 3 + n % 17
        question = f"Olga has {a} rolls and sells {b}. How many rolls are left?"
        lines.append({"question": question, "answer": f"{a} - {b} = {a - b}.", "generation_token": "[sums]"})
        numbers = [str((n * 7 + k * 13) % 90) for k in range(3)]
        question = f"Reverse the order: {', '.join(numbers)}."
        lines.append({"question": question, "answer": ", ".join(numbers[::-1]), "generation_token": "[lists]"})
    lines.append({"question": "What is [ANS]?", "answer": "A token."})
    lines.append({"question": "And without an answer?", "answer": None})
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


@pytest.fixture(scope="module")
def taught(tasks: Path, model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample model, taught to answer the tasks and to write examples of them."""
    folder = tmp_path_factory.mktemp("taught")
    assert synth("lamol", "--prepare", tasks, "--model", model, *TOKENS, "-o", folder / "prepared") == 0
    rows = load(folder / "prepared")
    assert len(rows) == 300 and "messages" not in rows[0]
    assert Counter(row["generation_token"] for row in rows) == {"[sums]": 150, "[lists]": 150}
    reasons = [row["reason"] for row in load(folder / "prepared" / "rejected")]
    assert reasons == ["holds a token of the format: [ANS]", "not one question with its answer"]
    train = ["train", folder / "prepared", "--model", model, "--lm-loss", 0.25, "--device", "cpu", "--quiet"]
    assert synth(*train, "--steps", 20, "--lr", 4e-3, "--batch-tokens", 1024, "-o", folder / "model") == 0
    return folder / "model"


def test_a_model_writes_examples_of_what_it_learnt(
    taught: Path, tasks: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "replay"
    command = ["lamol", "--model", taught, *ENGINE, *TOKENS]
    assert synth(*command, "--gamma", "20%", "--of", tasks, "-o", out) == 0
    rows, rejected = load(out), load(out / "rejected") if (out / "rejected").exists() else []
    assert len(rows) == 61  # a fifth of 302, rounded up
    unparsed = [row for row in rejected if row["reason"] != "duplicate" and not row["reason"].startswith("surplus: ")]
    assert len(rows) / (len(rows) + len(unparsed)) > 0.5
    for row in rows:
        question, answer = row["messages"]
        assert (question["role"], answer["role"]) == ("user", "assistant") and answer["content"]
        assert row["method"] == "lamol" and row["model"] == str(taught)
    of_its_task = [
        row["messages"][0]["content"].startswith("Olga" if row["generation_token"] == "[sums]" else "Reverse")
        for row in rows
    ]
    assert sum(of_its_task) > 0.9 * len(rows)
    split = Counter(row["generation_token"] for row in rows)
    assert set(split.values()) == {30, 31}
    capfd.readouterr()
    assert synth(*command, "-n", 61, "-o", out) == 0
    assert "already holds 61 rows" in capfd.readouterr().err
    assert synth(*command, "-n", 70, "-o", out) == 0  # goes on where it stood
    assert synth(*command, "-n", 70, "--concurrency", 3, "-o", tmp_path / "whole.jsonl") == 0
    assert [row["id"] for row in load(out)][:40] == [row["id"] for row in load(tmp_path / "whole.jsonl")][:40]
    assert synth(*command, "-n", 70, "--top-k", 5, "-o", out) == 2
    assert "(top_k: 20, now 5)" in capfd.readouterr().err

    new = tmp_path / "new.jsonl"
    new.write_text("\n".join(json.dumps({"question": f"Name {n}?", "answer": f"{n}."}) for n in range(100)))
    assert synth("mix", new, "--replay", f"{out}:20%", "-o", tmp_path / "mixed") == 0
    prepare = ["lamol", "--prepare", tmp_path / "mixed", "--model", taught, "--tokens", "[names]", *TOKENS]
    assert synth(*prepare, "-o", tmp_path / "second") == 0
    again = Counter(row["generation_token"] for row in load(tmp_path / "second"))
    assert again["[names]"] == 100 and again["[sums]"] + again["[lists]"] == 20
    assert {row["source"] for row in load(tmp_path / "second")} == {"new", "replay"}


def test_a_model_without_a_chat_template_needs_none(
    tasks: Path, model: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for file in Path(model).iterdir():
        if file.name != "chat_template.jinja":
            (base / file.name).write_bytes(file.read_bytes())
    assert synth("lamol", "--prepare", tasks, "--model", base, *TOKENS, "-o", tmp_path / "prepared") == 0
    told = capfd.readouterr().err
    assert r"--lm-loss 0.25 --prefix $'[sums]\n' --stop $'\n[ANS]\n' -o MODEL" in told
    framed = ["--prefix", "[sums]\n", "--stop", "\n[ANS]\n"]
    assert synth("train", tmp_path / "prepared", "--model", base, *framed, "--dry-run", "--quiet") == 0
    sampled = synth("lamol", "--model", base, *ENGINE, *TOKENS, "-n", 5, "--max-tokens", 8, "--quiet")
    assert sampled == 1  # it was never taught: nothing parses, and the run gives up
    assert "gave up after" in capfd.readouterr().err


def test_what_comes_next_is_told_only_where_there_is_something_to_train_on(
    model: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for answer, out, next_step in ((None, "none", False), ("A token.", "some", True), ("A token.", "file.jsonl", True)):
        tasks = tmp_path / "tasks.jsonl"
        tasks.write_text(json.dumps({"question": "What is it?", "answer": answer}))
        assert synth("lamol", "--prepare", tasks, "--model", model, "-o", tmp_path / out) == 0
        assert ("next: synth train" in capfd.readouterr().err) is next_step
        if next_step:  # and again where all of it is done
            assert synth("lamol", "--prepare", tasks, "--model", model, "-o", tmp_path / out) in (0, 2)


def test_what_cannot_work_is_said_before_a_model_is_loaded(
    tasks: Path, model: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["lamol", "--model", model, *ENGINE]
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    for bad, said in (
        ([], "say how many rows"),
        (["-n", 5, "--of", tasks], "say how many rows"),
        (["--of", tasks, "--gamma", 0], "a share above 0"),
        (["--of", empty], "has no rows"),
        (["--of", tmp_path / "none.jsonl"], "does not exist"),
        (["-n", 5, "--tokens", "[a]", "--tokens", "[a]"], "another of the tokens"),
        (["-n", 5, "--temperature", -1], "--temperature"),
        (["--prepare", tasks], "needs a place for its rows"),
        (["--prepare", tasks, "-n", 5, "-o", tmp_path / "out"], "takes all rows"),
        (["--prepare", empty, "-o", tmp_path / "out"], "has no rows"),
    ):
        assert synth(*command, *bad) == 2, bad
        told = capfd.readouterr().err
        assert said in told and "loading" not in told
