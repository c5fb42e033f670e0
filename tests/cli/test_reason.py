"""`synth reason`, as a person runs it, on the sample model."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

from samples.skills.registry import suite
from tests.cli import running
from tests.cli.running import start_and_kill

REASON = ["reason", "--engine", "transformers", "--device", "cpu", "--verifier", "math", "--max-tokens", "80"]


Synth = Callable[..., tuple[int, str]]


@pytest.fixture
def synth(capfd: pytest.CaptureFixture[str]) -> Synth:
    """Runs a command in this process, where the model libraries are loaded once: its exit status and its messages."""

    def run(*arguments: object) -> tuple[int, str]:
        return running.synth(*arguments), capfd.readouterr().err

    return run


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tasks that the model can do, and tasks that it can do in part."""
    path = tmp_path_factory.mktemp("tasks") / "tasks.jsonl"
    pairs = [pair for skill, size in (("two_step", 12), ("arithmetic", 4)) for pair in suite(skill, "dev", size)]
    path.write_text("\n".join(json.dumps({"question": question, "answer": answer}) for question, answer in pairs))
    return path


def load(path: Path) -> list[dict[str, Any]]:
    return list(datasets.load_from_disk(str(path)))


def test_killed_and_continued_it_writes_the_same_rows(synth: Synth, tasks: Path, model: str, tmp_path: Path) -> None:
    command = [*REASON, tasks, "--model", model, "--temperature", 1, "--concurrency", 6, "--samples", 3]
    command += ["--select", "random", "--search", 1, "--step-rollouts", 2, "--step-unit", "sentence"]
    start_and_kill([*command, "-o", tmp_path / "killed"], tmp_path / "killed" / "journal.jsonl", rows=3)
    status, said = synth(*command, "-o", tmp_path / "killed")
    assert status == 0, said
    assert "continuing" in said and "drops the thoughts" not in said
    assert synth(*command, "-o", tmp_path / "whole")[0] == 0
    continued, whole = load(tmp_path / "killed"), load(tmp_path / "whole")
    texts = [{row["id"]: row["messages"] for row in rows} for rows in (continued, whole)]
    both = texts[0].keys() & texts[1].keys()
    assert len(both) >= max(map(len, texts)) - 1  # rounding
    assert sum(texts[0][name] != texts[1][name] for name in both) <= 1
    for row in whole:
        assert (row["method"], row["verdict"], row["samples"]) == ("reason", "right", 3)
        assert len(row["steps"]) == len(row["step_values"]) and row["step_values"][-1] == 1
    assert {row["turn_backs"] for row in whole} == {0, 1}


def test_traces_that_never_end_are_dropped(synth: Synth, tasks: Path, model: str, tmp_path: Path) -> None:
    """With a template that opens thoughts, of which this model has never seen the end."""
    thinking = shutil.copytree(model, tmp_path / "thinking")
    template = thinking / "chat_template.jinja"
    opened = template.read_text().replace("'<|assistant|>' }}{% endif %}", "'<|assistant|><think>\\n' }}{% endif %}")
    template.write_text(opened)
    assert "<think>" in opened
    status, said = synth(*REASON, tasks, "--model", thinking, "--limit", 4, "--samples", 2, "-o", tmp_path / "traces")
    assert status == 0, said
    assert "0 rows" in said
    for row in load(tmp_path / "traces" / "rejected"):
        assert row["reason"] == "no right trace: of 2 the first is wrong: thoughts do not end"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--think-open", "<t>", "--think-close", "<t>"], "cannot be told apart"),
        (["--length-limit", "median"], "--length-limit must be mean or a number of tokens"),
        (["--verifier", "majority", "--search", "1"], "it goes without --search, --step-rollouts and --explain"),
    ],
)
def test_what_cannot_work_is_said_before_a_model_is_loaded(
    synth: Synth, tasks: Path, model: str, arguments: list[str], message: str
) -> None:
    status, said = synth(*REASON, tasks, "--model", model, *arguments)
    assert status == 2 and message in said
    assert "ready in" not in said and "Traceback" not in said


def test_thoughts_for_human_answers(synth: Synth, tasks: Path, hybrid: str, tmp_path: Path) -> None:
    """The hybrid model writes thoughts for answers in words that are not its own."""
    rows = [json.loads(line) for line in tasks.read_text().splitlines()]
    human = [row | {"answer": f"Easy enough! {row['answer']}"} for row in rows]
    (tmp_path / "human.jsonl").write_text("\n".join(map(json.dumps, human)))
    command = [*REASON, tmp_path / "human.jsonl", "--model", hybrid, "--explain", "--samples", 2, "--select", "first"]
    status, said = synth(*command, "-o", tmp_path / "explained")
    assert status == 0, said
    explained = load(tmp_path / "explained")
    assert len(explained) + len(load(tmp_path / "explained" / "rejected")) == len(rows)
    assert len(explained) >= 4
    answers = {row["question"]: row["answer"] for row in human}
    for row in explained:
        question, answer = row["messages"]
        assert answer["content"] == answers[question["content"]]
        assert "=" in answer["reasoning_content"] and "think>" not in answer["reasoning_content"]
        assert (row["method"], row["verdict"], row["mode"]) == ("reason", "right", "thinking")
        assert 0 < row["samples_right"] <= row["samples"] <= 2
    status, said = synth(*command, "--search", 1, "-o", tmp_path / "other")
    assert status == 2 and "--explain writes thoughts for human answers" in said
