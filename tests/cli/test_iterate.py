"""`synth iterate`, as a person runs it: rounds, sequences of tasks, and what a kill leaves of them."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.main import main
from samples import skills
from synth import Progress, Stopped, UsageError, iterate
from synth import load as load_model
from synth.api import loop
from tests.cli.running import load, synth
from tests.conftest import Here

ALL = [
    *("--engine", "transformers", "--device", "cpu", "--verifier", "number", "--samples", 2, "--max-tokens", 36),
    *("--eval-tokens", 36, "--replay-rows", 3, "--steps", 2, "--batch-tokens", 400, "--lr", 1e-3),
]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tasks and suites: a new skill, and two that the sample model has."""
    folder = tmp_path_factory.mktemp("rows")
    for name, skill, split, size in (
        *(("steps", "two_step", "train", 10), ("steps-test", "two_step", "test", 4)),
        *(("sums", "arithmetic", "train", 8), ("sums-test", "arithmetic", "test", 4)),
        ("old", "lists", "test", 4),
    ):
        judge = "exact" if name == "old" else "number"
        lines = [
            json.dumps({"question": question, "answer": answer, "verifier": judge}) + "\n"
            for question, answer in skills.suite(skill, split, size)
        ]
        (folder / f"{name}.jsonl").write_text("".join(lines))
    return folder


def of_one_task(rows: Path, model: str, out: Path) -> list[object]:
    suites = ["--eval", rows / "old.jsonl", "--new", rows / "steps-test.jsonl", "--patience", 3, "--rounds", 2]
    return ["iterate", rows / "steps.jsonl", "--model", model, *ALL, *suites, "-o", out]


def of_two_tasks(rows: Path, model: str, out: Path) -> list[object]:
    tasks = f"{rows / 'steps.jsonl'},{rows / 'sums.jsonl'}"
    suites = [word for name in ("steps", "sums") for word in ("--new", rows / f"{name}-test.jsonl")]
    suites += ["--fallback", "gold"]
    return [
        "iterate",
        "--tasks",
        tasks,
        "--model",
        model,
        *ALL,
        *suites,
        "--rounds",
        1,
        "--earlier-share",
        "40%",
        "-o",
        out,
    ]


def rounds_of(folder: Path) -> dict[str, Any]:
    """All that `rounds.json` says, apart from the time that it took and where the models are."""
    found: dict[str, Any] = json.loads((folder / "rounds.json").read_text())
    for one in found["rounds"]:
        del one["seconds"]
        if one["scores"]:
            del one["scores"]["model"]
    return found


def test_rounds_and_what_they_leave(here: Here, rows: Path, model: str, tmp_path: Path) -> None:
    out = tmp_path / "loop"
    command = of_one_task(rows, model, out)
    done = here(*command)
    assert done.returncode == 0, done.stderr
    found = json.loads((out / "rounds.json").read_text())
    first, second = found["rounds"]
    assert (first["number"], second["number"], first["task"]) == (1, 2, "steps")
    own = json.loads((out / "rounds" / "1" / "answers" / "run.json").read_text())
    assert first["acceptance"] == pytest.approx(own["methods"]["self-output"] / 10) and first["rows"] == own["accepted"]
    assert first["steps"] == 2 and first["scores"]["divergence"] > 0 and first["seconds"] > 0
    answers = [load(out / "rounds" / str(number) / "answers") for number in (1, 2)]
    assert all(row["verdict"] == "right" for row in answers[0])
    assert not {row["id"] for row in answers[0]} & {row["id"] for row in answers[1]}  # drawn anew, by another model
    trained = json.loads((out / "rounds" / "2" / "model" / "run.json").read_text())
    assert trained["model"].endswith("rounds/1/model") and trained["parts"][0]["rows"] == 3
    told = json.loads((out / "scores" / "scores.json").read_text())
    assert [one["name"] for one in told["models"]] == ["before", "round-1", "round-2"]
    kept = {number for number in (1, 2) if (out / "rounds" / str(number) / "model" / "model.safetensors").exists()}
    assert kept == {2, found["best"]} - {0} and (out / "model").is_symlink() == bool(found["best"])
    card = (out / "README.md").read_text()
    assert "| round | accepted | rows | new | gained | old | kept | KL | minutes | model |" in card
    assert "synth iterate " in card
    again = here(*command)
    assert again.returncode == 0 and "2 rounds are done" in again.stderr and "engine" not in again.stderr
    assert again.stdout == done.stdout
    header, before, line, *_ = again.stdout.splitlines()
    assert header.split()[:4] == ["round", "accepted", "rows", "new"] and before.startswith("before")
    assert line.split()[:3] == ["1", f"{first['acceptance']:.1%}", f"{first['rows']}"]
    for changed, said in (("--seed", "seed: 0, now 1"), ("--rounds", f"--rounds 1: {out} has 2 already")):
        other = here(*command, changed, 1)
        assert other.returncode == 2 and said in other.stderr


class Killed(BaseException):
    """As a kill does, it passes through all that handles errors."""


def test_a_sequence_that_is_killed_after_every_step_ends_the_same(
    here: Here, rows: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = here(*of_two_tasks(rows, model, tmp_path / "whole"))
    assert done.returncode == 0, done.stderr
    whole = rounds_of(tmp_path / "whole")
    assert whole["tasks"] == ["steps", "sums"] and [one["task"] for one in whole["rounds"]] == ["steps", "sums"]
    assert len(whole["after"]) == 2 and whole["transfer"][1]["backward_transfer"] is not None
    mixed = load(tmp_path / "whole" / "rounds" / "2" / "mixed")
    assert {row["source"] for row in mixed} == {"answers", "steps"}
    assert "after stage" in done.stdout and "backward transfer" in done.stdout
    steps: list[str] = []

    def killed_after(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            result = step(*args, **kwargs)
            called = f"{name} {kwargs.get('output')} {[*kwargs.get('models', ())]}"
            if kwargs.get("output") and called not in steps:
                steps.append(called)
                raise Killed
            return result

        return call

    for name in ("evaluate", "self_output", "mix", "train"):
        monkeypatch.setattr(loop, name, killed_after(name, getattr(loop, name)))
    command = [str(one) for one in of_two_tasks(rows, model, tmp_path / "killed")]
    for _ in range(9):
        with pytest.raises(Killed):
            main([*command, "--quiet"])
    assert synth(*command) == 0
    assert [step.split()[0] for step in steps] == [
        *("evaluate", "self_output", "train", "evaluate"),
        *("self_output", "self_output", "mix", "train", "evaluate"),
    ]
    assert rounds_of(tmp_path / "killed") == whole


def test_ctrl_c_says_how_to_go_on(here: Here, rows: Path, model: str, tmp_path: Path) -> None:
    class Interrupts(Progress):
        def say(self, line: str) -> None:
            if "weights to train" in line:
                signal.raise_signal(signal.SIGINT)

    asked: dict[str, Any] = {"output": tmp_path / "loop", "new_suites": str(rows / "steps-test.jsonl"), "steps": 3}
    asked |= {"replay_rows": 0, "samples": 1, "max_tokens": 40, "eval_tokens": 40, "limit": 8}
    with pytest.raises(Stopped, match=r"^stopped; run this again to continue$"):
        iterate(model, rows / "steps.jsonl", progress=Interrupts(), **asked)
    assert (tmp_path / "loop" / "rounds" / "1" / "model" / "progress.json").exists()

    class InterruptsAtOnce(Progress):
        def say(self, line: str) -> None:
            if "measuring what the model can do" in line:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(Stopped, match=r"^stopped; what an earlier loop left is still there$"):
        iterate(model, rows / "steps.jsonl", progress=InterruptsAtOnce(), restart=True, **asked)
    assert (tmp_path / "loop" / "rounds" / "1" / "model" / "progress.json").exists()
    with pytest.raises(UsageError, match=r"is of the loop in .*, which `restart` throws away: choose another `output`"):
        iterate(
            model, rows / "steps.jsonl", replay=tmp_path / "loop" / "rounds" / "1" / "answers", restart=True, **asked
        )


def test_a_dry_run_makes_nothing(here: Here, rows: Path, model: str, tmp_path: Path) -> None:
    done = here(*of_one_task(rows, model, tmp_path / "loop"), "--dry-run")
    assert done.returncode == 0 and "2 steps of up to 400 tokens" in done.stdout and not (tmp_path / "loop").exists()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (["--new", "old"], "2 sets of tasks need as many suites, in the same order, not 3"),
        (["--keep", "90%"], "--keep is a share up to 100% of what --eval measures: give both"),
        (["--train-arg", "seed=3"], "--train-arg seed: it is a setting of the loop itself"),
        (["--train-arg", "dropuot=0.1"], "--train-arg dropuot: training has no such setting; did you mean dropout"),
        (["--train-arg", "dropout=1.5"], "`dropout` 1.5 is too large"),
        (["--fallback", "golden"], "--fallback golden is unknown"),
        (["--replay", "fresh"], "--replay fresh would be drawn from the model that a round begins with"),
        (["--eval", "-"], "every round reads suites and replay again: give a file in place of standard input"),
        (["--verifier", "majority", "--fallback", "gold"], "judges samples only together"),
    ],
)
def test_wrong_settings_are_refused_at_once(
    here: Here, rows: Path, model: str, tmp_path: Path, changed: list[str], said: str
) -> None:
    changed = [str(rows / "old.jsonl") if word == "old" else word for word in changed]
    done = here(*of_two_tasks(rows, model, tmp_path / "loop"), *changed)
    assert done.returncode == 2 and said in done.stderr and "loading" not in done.stderr
    assert not (tmp_path / "loop").exists()


def test_tasks_are_needed_once(here: Here, rows: Path, model: str, tmp_path: Path) -> None:
    command = of_two_tasks(rows, model, tmp_path / "loop")
    for words in ([*command, rows / "sums.jsonl"], [command[0], *command[3:]]):
        done = here(*words)
        assert done.returncode == 2 and "say what is learnt: one set of tasks, or several, as --tasks" in done.stderr
    done = here(command[0], "-", *command[3:])
    assert done.returncode == 2 and "every round reads the tasks again" in done.stderr


def test_a_suite_that_is_trained_on_is_told(here: Here, rows: Path, model: str) -> None:
    done = here("iterate", rows / "steps.jsonl", "--model", model, *ALL, "--new", rows / "steps.jsonl", "--dry-run")
    assert done.returncode == 0
    assert "steps: the model is trained on 10 of its 10 items, which then tell nothing of new ones" in done.stderr
    done = here(
        "iterate", rows / "steps.jsonl", "--model", model, *ALL, "--new", rows / "steps-test.jsonl", "--dry-run"
    )
    assert done.returncode == 0 and "trained on" not in done.stderr


def test_settings_of_a_training_are_recorded(rows: Path, model: str, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"new_suites": str(rows / "steps-test.jsonl"), "dry_run": True}
    (tmp_path / "adapter.json").write_text('{"peft_type": "LORA", "r": 2, "target_modules": "all-linear"}')
    planned = iterate(model, rows / "steps.jsonl", train_args={"peft": tmp_path / "adapter.json"}, **asked)
    assert planned.plan.steps > 0
    with pytest.raises(UsageError, match="`train_args` dtype is recorded as JSON, which has no"):
        iterate(model, rows / "steps.jsonl", train_args={"dtype": object()}, **asked)


def test_a_suite_that_a_model_judges_is_refused(here: Here, rows: Path, model: str, tmp_path: Path) -> None:
    (tmp_path / "talk.jsonl").write_text('{"question": "How are you?", "answer": "Well.", "verifier": "judge"}\n')
    done = here(*of_one_task(rows, model, tmp_path / "loop"), "--eval", tmp_path / "talk.jsonl")
    assert done.returncode == 2 and "suite talk needs a model that judges, which rounds do not have" in done.stderr
    assert not (tmp_path / "loop").exists()


def test_a_server_takes_no_new_weights(rows: Path, model: str, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"new_suites": str(rows / "steps-test.jsonl"), "output": tmp_path / "loop"}
    with (
        load_model(model, engine="http://127.0.0.1:9/v1") as served,
        pytest.raises(UsageError, match="`engine`: each round has new weights, which a server does not take"),
    ):
        iterate(served, rows / "steps.jsonl", **asked)
