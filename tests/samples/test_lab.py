import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE, CompletedProcess
from types import SimpleNamespace
from typing import IO

import pytest

from filters.verdict import VerifierSettings
from filters.verifiers import registry
from samples import skills
from samples.lab import __main__ as lab_main
from samples.lab import commands
from samples.lab.arms import ARMS, Arm
from samples.lab.suites import main, write_suites
from samples.lab.table import draw, table
from samples.lab.trial import Lab, run_arm
from synth.evaluation.suites import open_suites
from tests.cli.running import forked


def test_suites_take_the_models_own_answers_for_right(tmp_path: Path) -> None:
    """And those of another question for wrong. Programs are left to the tests of the sandbox."""
    write_suites(tmp_path, "dev", 12, 12)
    old = sorted(str(file) for file in (tmp_path / "old").iterdir())
    suites = open_suites(old, [str(tmp_path / "new" / "two_step.jsonl")], None, VerifierSettings(""))
    assert {suite.name for suite in suites} == {*skills.OLD, "two_step"}
    for suite in suites:
        answers = dict(skills.suite(suite.name, "dev", 12))
        for item in suite.items:
            assert skills.split(skills.question_in(suite.name, item.messages[0]["content"])) == "dev"
            if item.verifier.name == "code":
                continue
            check = registry.checker(item.verifier)
            assert check(answers[item.messages[0]["content"]], item.task).kind == "right"
            assert check("The moon is made of cheese.", item.task).kind == "wrong"


def test_a_missing_sandbox_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["suites", str(tmp_path), "--items", "2", "--tasks", "2"])
    monkeypatch.setenv("PATH", str(tmp_path))  # without bubblewrap
    main()
    err = capsys.readouterr().err
    assert "`code` is left out" in err and "install bubblewrap" in err
    assert not (tmp_path / "suites" / "old" / "code.jsonl").exists()


def test_programs_are_judged_by_what_they_return(tmp_path: Path) -> None:
    write_suites(tmp_path, "dev", 12, 1, ("code",))
    for line in (tmp_path / "old" / "code.jsonl").read_text().splitlines():
        row = json.loads(line)
        scope: dict[str, Callable[..., object]] = {}
        exec(row["reference"], scope)  # written by samples.skills, not by a model
        assert len(row["tests"]) >= 5
        for test in row["tests"]:
            exec(test, dict(scope))


def test_arms_are_of_different_names_and_recipes() -> None:
    assert len({arm.name for arm in ARMS}) == len(ARMS)
    assert len({(arm.target, arm.replay, arm.train, arm.merge, arm.style) for arm in ARMS}) == len(ARMS)


def result(arm: Arm, kept: tuple[float, ...]) -> dict[str, object]:
    suites = {"world": 0.5, "two_step": 0.8}
    return {
        "arm": arm.name,
        "group": arm.group,
        "style": arm.style,
        "perplexity": 3.0,
        "minutes": [1.0, 2.0],
        "base": {"new": 0.6, "old": 1.0, "suites": {"world": 1.0, "two_step": 0.6}},
        "test": [{"new": 0.8, "old": share, "kept": share, "divergence": 0.5, "suites": suites} for share in kept],
    }


def test_the_table_has_mean_and_deviation(tmp_path: Path) -> None:
    results = [result(ARMS[0], (0.2, 0.4)), result(ARMS[1], (0.9, 0.9))]
    lines = table(results).splitlines()
    assert lines[0] == "| arm | new | old | kept | world | KL | perplexity | minutes |"
    assert lines[2] == "| *before training* | 60.0 | 100.0 | 100 | 100 | 0 | | |"
    assert lines[3] == f"| {ARMS[0].name} | 80.0 ± 0.0 | 30.0 ± 14.1 | **30.0** | 50 | 0.50 | 3.00 | 1.5 |"
    draw(results, tmp_path, [ARMS[0].name])
    assert {file.name for file in tmp_path.iterdir()} == {"tradeoff-alien.svg", "skills.svg"}


def test_an_arm_in_small_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One with masks, scored replay and replay as an objective; what is made is made once."""

    def run(command: list[str], *, env: dict[str, str], stderr: IO[str], **_: object) -> CompletedProcess[str]:
        assert command[:3] == [sys.executable, "-m", "cli"]
        done = forked(*command[3:], variables=env)
        stderr.write(done.stderr)
        return done

    monkeypatch.setattr(commands, "subprocess", SimpleNamespace(run=run, PIPE=PIPE))
    arm = next(arm for arm in ARMS if arm.name == "natural: mask hard + Magpie 10%")
    arm = replace(arm, beside="magpie", train=("--replay-loss", "kl", "--lr", "RATE*3"))
    lab = Lab(tmp_path / "lab", steps=4, tasks=40, replay=10)
    write_suites(lab.folder / "suites" / "test", "test", 2, 4, ("world", "tools"))
    found = run_arm(lab, arm, 1, "1e-3")
    assert len(found["test"]) == 1 and found["steps"] == 4 and found["rate"] == "0.003"
    assert 0 < found["base"]["old"] <= 1 and found["perplexity"] > 1
    [model] = (lab.folder / "trained").rglob("model.safetensors")
    before = model.stat().st_mtime_ns
    assert run_arm(lab, arm, 1, "1e-3") == found
    assert model.stat().st_mtime_ns == before


def test_chosen_rates_stay_where_other_arms_are_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab_main, "try_rate", lambda lab, arm, rate: {"new": float(rate), "old": 1.0, "kept": 1.0})
    lab, arms = Lab(tmp_path), {arm.name: arm for arm in ARMS}
    for name in ("natural: plain SFT", "LoRA r16", "GRPO"):
        chosen = lab_main._rates(lab, [arms[name]], 1)
        assert len(chosen) == (name != "GRPO")
    assert {*json.loads((tmp_path / "rates.json").read_text())} == {"natural whole", "alien adapter"}
