"""Rounds: which is taken, when they end, what follows from them. The table is that of a real loop's kind."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from synth.data.run.record import RunRecord
from synth.errors import BusyError, RunError, UsageError
from synth.evaluation.rounds import History, LearntTask, Round, Rule
from synth.evaluation.rounds_folder import RoundsFolder

TASKS = [LearntTask("a", ("a-test",)), LearntTask("b", ("b-test", "b-more"))]


def scores(a: float, b: float = 0.5, kept: float | None = 1.0) -> dict[str, Any]:
    accuracies = {"a-test": a, "b-test": b, "b-more": b, "old": 0.9}
    suites = {name: {"accuracy": value, "new": name != "old"} for name, value in accuracies.items()}
    return {"suites": suites, "old": 0.9, "kept": kept, "divergence": 0.1}


def history(rule: Rule, *rounds: tuple[int, dict[str, Any] | None], tasks: int = 1) -> History:
    made = [
        Round(number, task, 0.5, 20 if found else 0, 3, 60.0, found) for number, (task, found) in enumerate(rounds, 1)
    ]
    return History(TASKS[:tasks], rule, scores(0.4), made)


def test_a_round_is_taken_where_it_is_the_best() -> None:
    at = history(Rule(5, patience=2), (0, scores(0.6)), (0, scores(0.5)), (0, scores(0.7))).standing()
    assert (at.task, at.model, at.best, at.idle) == (0, 3, 3, 0)
    assert [one.taken for one in at.judged] == [True, False, True]
    assert [one.gained for one in at.judged] == pytest.approx([0.2, -0.1, 0.1])


@pytest.mark.parametrize(
    ("rule", "found", "best", "why"),
    [
        (Rule(3), [scores(0.4)], 0, "nothing was gained"),
        (Rule(3), [scores(0.5), scores(0.5)], 1, "nothing was gained"),
        (Rule(4, patience=2), [scores(0.5), scores(0.3), scores(0.5)], 1, "nothing was gained in 2 rounds"),
        (Rule(2), [scores(0.5), scores(0.6)], 2, "2 rounds are done"),
        (Rule(3, keep=0.95), [scores(0.5), scores(0.9, kept=0.94)], 1, "less than 0.95 of the old abilities is left"),
        (Rule(3), [scores(0.5), None], 1, "no answer was right"),
    ],
)
def test_rounds_end(rule: Rule, found: list[dict[str, Any] | None], best: int, why: str) -> None:
    for done in range(len(found)):
        assert history(rule, *((0, one) for one in found[:done])).standing().task == 0
    at = history(rule, *((0, one) for one in found)).standing()
    assert (at.task, at.best, at.stages, at.judged[-1].ends) == (1, best, (best,), why)


def test_what_is_not_measured_stops_nothing_but_gains_nothing() -> None:
    at = history(Rule(3, keep=0.95), (0, scores(0.5, kept=None))).standing()
    assert at.task == 0 and at.best == 1
    unjudged = scores(0.5)
    unjudged["suites"]["a-test"]["accuracy"] = None
    at = history(Rule(3), (0, unjudged)).standing()
    assert at.task == 1 and at.best == 0 and at.judged[0].gained is None


def test_the_next_task_begins_with_the_best_model_and_its_accuracy() -> None:
    found = history(
        Rule(2, patience=2, keep=0.9),
        *((0, scores(0.8, 0.5)), (0, scores(0.7, 0.6)), (1, scores(0.75, 0.55)), (1, scores(0.6, 0.9, kept=0.5))),
        tasks=2,
    )
    at = found.standing()
    assert at.stages == (1, 3) and at.judged[2].gained == pytest.approx(0.05) and at.judged[3].taken is False
    matrix = found.matrix()
    assert matrix.before == [0.4, 0.5] and matrix.after == [[0.8, 0.5], [0.75, 0.55]]
    [_, last] = found.record()["transfer"]
    assert last["backward_transfer"] == pytest.approx(-0.05)
    table = str(found.table()).splitlines()
    assert table[0].split()[:6] == ["round", "task", "accepted", "rows", "new", "gained"]
    assert table[2].split() == ["1", "a", "50.0%", "20", "80.0%", "+40.0", "90.0%", "100.0%", "0.100", "1.0", "taken"]
    assert table[-1] == "b: ended with round 4: less than 0.9 of the old abilities is left"


def test_no_divergence_is_below_zero_by_rounding() -> None:
    found = history(Rule(1), (0, scores(0.5) | {"divergence": -1e-7}))
    assert " 0.000 " in str(found.table()) and "-0.000" not in str(found.table())


def test_a_suite_counts_in_every_mode() -> None:
    task, asked = LearntTask("a", ("a-test",)), scores(0.5)
    suites = {"a-test, plain": {"accuracy": 0.2}, "a-test, thinking": {"accuracy": 0.6}, "a-testing": {"accuracy": 1.0}}
    assert task.accuracy(asked | {"suites": suites}) == pytest.approx(0.4)


def record(**settings: Any) -> RunRecord:
    return RunRecord("iterate", settings, "model")


def test_a_folder_goes_on_where_it_was(tmp_path: Path) -> None:
    found = history(Rule(3), (0, scores(0.5)), (0, scores(0.6)), tasks=2)
    with RoundsFolder(tmp_path / "loop", record(seed=1)) as folder:
        assert folder.done is None
        with pytest.raises(BusyError):
            RoundsFolder(tmp_path / "loop", record(seed=1))
    with RoundsFolder(tmp_path / "loop", record(seed=2)) as folder:  # nothing is lost by it yet
        folder.write(found)
    asked = replace(record(seed=2), asked=3, command_line="synth iterate … --rounds 3")
    with RoundsFolder(tmp_path / "loop", asked) as folder:
        assert folder.done == (found.before, list(found.rounds))
        folder.finish(found.rounds, "card")
    told = json.loads((tmp_path / "loop" / "run.json").read_text())
    assert (told["seconds"], told["asked"], told["command_line"]) == (120, 3, asked.command_line)
    with pytest.raises(UsageError, match="seed: 2, now 3"):
        RoundsFolder(tmp_path / "loop", record(seed=3))


def test_what_an_earlier_loop_left_stays_until_the_first_model_is_measured(tmp_path: Path) -> None:
    out, found = tmp_path / "loop", history(Rule(3), (0, scores(0.5)))
    with RoundsFolder(out, record(seed=1)) as folder:
        folder.model(1).mkdir(parents=True)
        (folder.model(1) / "model.safetensors").write_text("…")
        folder.settle(found.rounds, 1, {1}, keep_models=False)
        folder.scores.mkdir()
        (folder.scores / "scores.json").write_text("old")
        folder.write(found)
        folder.finish(found.rounds, "card")
    with RoundsFolder(out, record(seed=2), restart=True) as folder:  # it ends before anything is measured
        assert folder.done is None and not folder.begun
        folder.scores.mkdir(parents=True)
    with RoundsFolder(out, record(seed=1)) as folder:
        assert folder.done == (found.before, list(found.rounds))
        assert (out / "model" / "model.safetensors").exists() and folder.scores == out / "scores"
    with RoundsFolder(out, record(seed=2), restart=True) as folder:
        folder.scores.mkdir(parents=True)
        (folder.scores / "scores.json").write_text("new")
        folder.write(history(Rule(3)))
        assert folder.begun and (folder.scores / "scores.json").read_text() == "new"
    assert {item.name for item in out.iterdir()} == {"progress.json", "rounds.json", "scores"}
    with RoundsFolder(out, record(seed=2)) as folder:
        assert folder.done == (found.before, [])


def test_a_loop_that_was_not_wholly_removed_is_not_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, found = tmp_path / "loop", history(Rule(3), (0, scores(0.5)))
    with RoundsFolder(out, record(seed=1)) as folder:
        folder.model(1).mkdir(parents=True)
        folder.write(found)
    with monkeypatch.context() as patched, RoundsFolder(out, record(seed=1), restart=True) as folder:
        patched.setattr(shutil, "rmtree", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        folder.scores.mkdir(parents=True)
        with pytest.raises(RunError, match=r"No space left on device\. What was finished is kept: free some space"):
            folder.write(history(Rule(3)))
    with RoundsFolder(out, record(seed=1)) as folder:
        assert folder.done is None and not folder.model(1).exists()


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds no loop of rounds"):
        RoundsFolder(tmp_path, record())
    (tmp_path / "notes.txt").unlink()
    (tmp_path / "rounds.json").write_text('{"rounds": [{"number": 1}]}')
    (tmp_path / "progress.json").write_text(record().as_json())
    with pytest.raises(UsageError, match="damaged"):
        RoundsFolder(tmp_path, record())
    (tmp_path / "rounds.json").unlink()
    for restart in (False, True):
        (tmp_path / "run.json").write_text(RunRecord("magpie", {}, "model", finished="now").as_json())
        with pytest.raises(UsageError, match="holds what magpie made, no loop of rounds; choose another `output`"):
            RoundsFolder(tmp_path, record(), restart=restart)
    assert not (tmp_path / ".lock").exists()
    ours = tmp_path / "mine" / "replay"  # as other commands' outputs may be called, too
    ours.mkdir(parents=True)
    with pytest.raises(UsageError, match="holds no loop of rounds"):
        RoundsFolder(ours.parent, record(), restart=True)


def test_weights_that_nothing_needs_are_removed(tmp_path: Path) -> None:
    found = history(Rule(5, patience=3), (0, scores(0.5)), (0, scores(0.6)), (0, scores(0.6)))
    with RoundsFolder(tmp_path / "loop", record()) as folder:
        for number in (1, 2, 3):
            (folder.model(number) / "adapter").mkdir(parents=True)
            for name in ("model.safetensors", "run.json", "log.jsonl", "README.md"):
                (folder.model(number) / name).write_text("…")
        folder.settle(found.rounds, 2, {2, 3}, keep_models=True)
        assert (folder.model(1) / "model.safetensors").exists()
        folder.settle(found.rounds, 2, {2, 3}, keep_models=False)
        assert {item.name for item in folder.model(1).iterdir()} == {"run.json", "log.jsonl", "README.md"}
        assert (folder.model(2) / "model.safetensors").exists() and (folder.model(3) / "adapter").exists()
        assert (folder.path / "model").resolve() == folder.model(2)
        folder.settle(found.rounds, 3, {3}, keep_models=False)
        assert (folder.path / "model").resolve() == folder.model(3)
