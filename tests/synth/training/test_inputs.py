"""The rows of a training, with those of replay beside them."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from synth.progress import SILENT
from synth.training.inputs import TrainingInput, read_input, with_replay
from synth.training.replay import with_loss
from synth.training.settings import ReplaySettings, RowSettings, TrainingSettings

KL = TrainingSettings(replay=ReplaySettings(512, loss="kl"))
TRAINED = replace(KL, replay=ReplaySettings(512, loss="kl", positions="trained"))
COLUMNS: dict[str, Any] = {"prompt_column": "told", "reference_column": "said"}
ASKS = [{"role": "user", "content": "What is 2 + 3?"}]
ANSWERS = [*ASKS, {"role": "assistant", "content": "5"}]


def file_of(path: Path, rows: Sequence[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def task(model: str, tmp_path: Path) -> TrainingInput:
    file = file_of(tmp_path / "task.jsonl", [{"told": "1 + 1?", "said": "2", "more": "x"}])
    return read_input(file, model, RowSettings(), 512, SILENT, **COLUMNS)


def test_columns_named_for_the_task_are_those_of_replay_too(task: TrainingInput, model: str, tmp_path: Path) -> None:
    both = [{"told": "3 + 1?", "said": "4", "more": "y"}]
    for rows in (both, [{"messages": ANSWERS}], [{"question": "3 + 1?", "answer": "4"}]):
        replay = file_of(tmp_path / "replay.jsonl", rows)
        found = with_replay(task, replay, model, RowSettings(), KL, SILENT, **COLUMNS).rows
        assert found.replayed == 1 and found.trained_of_each[1] > 0


@pytest.mark.parametrize(
    ("rows", "kept"),
    [
        ([{"messages": ASKS}, {"messages": ANSWERS}], [1]),
        ([{"input_ids": [5, 6, 7], "labels": [-100] * 3}, {"input_ids": [5, 6], "labels": [5, 6]}], [1]),
        ([{"input_ids": [5, 6, 7], "labels": None}, {"input_ids": [5, 6], "labels": [5, 6]}], [1]),
        ([{"input_ids": [5, 6], "labels": [5, 6], "weights": [0, 0]}, {"input_ids": [5], "labels": [5]}], []),
    ],
    ids=["no answer", "no label", "null labels", "no weight, and a single token"],
)
def test_a_loss_on_every_token_takes_rows_that_nothing_is_trained_on(
    rows: list[dict[str, Any]], kept: list[int], task: TrainingInput, model: str, tmp_path: Path
) -> None:
    replay = file_of(tmp_path / "replay.jsonl", rows)
    found = with_replay(task, replay, model, RowSettings(), KL, SILENT).rows
    wanted = [index for index, row in enumerate(rows) if len(row.get("input_ids", [0, 0])) > 1]
    assert found.names[1:] == [f"replay row {index}" for index in wanted]
    assert with_loss(found, KL.replay)[1:].tolist() == (found.sizes[1:] - 1).tolist()
    if kept:
        found = with_replay(task, replay, model, RowSettings(), TRAINED, SILENT).rows
        assert found.names[1:] == [f"replay row {index}" for index in kept]


def test_so_do_rows_of_a_source_among_the_tasks(model: str, tmp_path: Path) -> None:
    mixed = [{"messages": one, "source": source} for source in ("task", "old") for one in (ANSWERS, ASKS)]
    source = file_of(tmp_path / "mixed.jsonl", mixed)
    found = read_input(source, model, RowSettings(), 512, SILENT, every_of=["old"])
    assert found.rows.names == ["row 0", "row 2", "row 3"] and len(found.rows.rejected) == 1
    settings = replace(KL, replay=ReplaySettings(512, sources=("old",), loss="kl"))
    assert with_replay(found, None, model, RowSettings(), settings, SILENT).rows.replayed == 2
