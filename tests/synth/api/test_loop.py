"""What a loop repeats of earlier tasks."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import synth
from samples.skills.registry import suite
from synth.api.dataset import Dataset
from synth.api.loop import Loop, Rehearsal, RoundSteps, TaskRows
from synth.data.run.record import RunRecord
from synth.evaluation.rounds import LearntTask, Rule, Standing
from synth.evaluation.rounds_folder import RoundsFolder
from synth.generation.inputs import read_prompts
from synth.progress import SILENT
from synth.values import EarlierTasks


@pytest.fixture
def tasks(tmp_path: Path) -> list[TaskRows]:
    """Two earlier tasks and a new one; a row of the first has no human answer."""
    found = []
    for name, skill, size in (("sums", "arithmetic", 6), ("lists", "lists", 5), ("steps", "two_step", 8)):
        rows = [{"question": question, "answer": answer} for question, answer in suite(skill, "dev", size)]
        if name == "sums":
            rows[0]["answer"] = ""
        file = tmp_path / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        found.append(TaskRows(LearntTask(name, (name,)), str(file), read_prompts(str(file), SILENT)))
    return found


def loop_of(model: synth.Model, tasks: list[TaskRows], way: EarlierTasks, share: float) -> Loop:
    answers = {"verifier": "number", "samples": 2, "max_tokens": 40}
    steps = RoundSteps(answers, None, {}, {}, None, 0)
    return Loop(model, tasks, Rule(2), Rehearsal(way, share), steps, 0, False, SILENT)


def test_stored_prompts_with_human_answers(model: synth.Model, tasks: list[TaskRows], tmp_path: Path) -> None:
    loop = loop_of(model, tasks, "gold", 1.25)
    with RoundsFolder(tmp_path / "loop", RunRecord("iterate", {})) as folder:
        made = loop._earlier(folder, Standing(task=2), model)
        assert [len(one) for one in made] == [5, 5]  # of all six sums the one without an answer is left out
        humans = dict(suite("lists", "dev", 5))
        for row in made[1]:
            question, answer = row["messages"]
            assert answer == {"role": "assistant", "content": humans[question["content"]]} and row["method"] == "gold"


def test_own_answers_and_own_questions(model: synth.Model, tasks: list[TaskRows], tmp_path: Path) -> None:
    with RoundsFolder(tmp_path / "loop", RunRecord("iterate", {})) as folder:
        [sums] = loop_of(model, tasks[::2], "own", 0.5)._earlier(folder, Standing(task=1), model)
        assert sums.record is not None and sums.record.next == 4 and {row["verdict"] for row in sums} == {"right"}
        [asked] = loop_of(model, tasks[::2], "magpie", 0.25)._earlier(folder, Standing(task=1), model)
        assert len(asked) == 2 and {row["method"] for row in asked} == {"magpie"}
        assert loop_of(model, tasks, "none", 0.5)._earlier(folder, Standing(task=2), model) == []
        assert loop_of(model, tasks, "own", 0.5)._earlier(folder, Standing(task=0), model) == []


def test_a_task_is_repeated_whatever_its_file_is_called(
    model: synth.Model, tasks: list[TaskRows], tmp_path: Path
) -> None:
    dotted = replace(tasks[0], learnt=LearntTask("sums.train", ("sums",)))
    with RoundsFolder(tmp_path / "loop", RunRecord("iterate", {})) as folder:
        [sums] = loop_of(model, [dotted, tasks[2]], "own", 0.25)._earlier(folder, Standing(task=1), model)
        assert sums.record is not None and sums.record.next == 2


def test_a_task_that_asks_nothing_else_is_left_out(model: synth.Model, tasks: list[TaskRows], tmp_path: Path) -> None:
    loop = loop_of(model, tasks, "gold", 1.0)
    with RoundsFolder(tmp_path / "loop", RunRecord("iterate", {})) as folder:
        sums, lists = loop._earlier(folder, Standing(task=2), model)
    assert loop._mixed(sums, [Dataset(sums.path)], tmp_path / "alone", 0) is sums
    mixed = loop._mixed(sums, [Dataset(sums.path), lists], tmp_path / "mixed", 0)
    assert {row["source"] for row in mixed} == {"sums", "lists"} and len(mixed) == 2 * len(sums)


def test_tasks_that_cannot_be_repeated_are_refused(tmp_path: Path) -> None:
    found = []
    for name, level in (("a", 3), ("b", "hard")):
        file = tmp_path / f"{name}.jsonl"
        file.write_text(json.dumps({"question": "1 + 1?", "level": level}) + "\n")
        found.append(TaskRows(LearntTask(name, (name,)), str(file), read_prompts(str(file), SILENT)))
    with pytest.raises(synth.UsageError, match=r"rows of these tasks cannot be mixed: .*level.*; rename the column"):
        Rehearsal("own", 0.1).check(found)
    with pytest.raises(synth.UsageError, match="has no human answers, and `earlier` gold repeats them"):
        Rehearsal("gold", 0.1).check(found)
    for way, share in (("own", 0.0), ("gold", 0.0), ("magpie", 0.1), ("none", 0.1)):
        Rehearsal(way, share).check(found)  # type: ignore[arg-type]
