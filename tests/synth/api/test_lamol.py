"""`synth.lamol`."""

from pathlib import Path
from typing import Any

import pytest

import synth

TASK = [{"question": f"What is {n} + {n}?", "answer": f"It is {2 * n}."} for n in range(7)]


def test_a_task_in_memory_is_prepared(model: synth.Model) -> None:
    settings: dict[str, Any] = {"tokens": ["[sums]"], "progress": synth.SILENT}
    rows = synth.lamol(model, prepare=[*TASK, {"question": "And?", "answer": None}], **settings)
    assert next(iter(rows))["text"] == "[sums]\nWhat is 0 + 0?\n[ANS]\nIt is 0.<|end|>" and len(rows) == 7
    assert rows.record is not None and rows.record.model is None
    assert rows.rejected is not None and [row["reason"] for row in rows.rejected] == [
        "not one question with its answer"
    ]
    assert len(synth.lamol(model, prepare=TASK, limit=3, **settings)) == 3


def test_a_model_that_never_learnt_it_gives_up_and_says_so(model: synth.Model, tmp_path: Path) -> None:
    with pytest.raises(synth.RunError, match="gave up after"):
        synth.lamol(model, of=TASK, gamma=0.5, max_tokens=4, output=tmp_path / "rows", progress=synth.SILENT)
    record = synth.Dataset(tmp_path / "rows").record
    assert record is not None and record.asked == 4 and record.accepted == 0
    assert (record.settings["prefix"], record.settings["stop"]) == ("[GEN]\n", "\n[ANS]\n"), (
        "it is asked as it was taught"
    )
    assert model.prefix is None and model.running is not None


def test_settings_that_cannot_work_are_named(model: synth.Model) -> None:
    cases: list[dict[str, Any]] = [
        {},
        {"rows": 3, "of": TASK},
        {"of": TASK, "gamma": 0.0},
        {"rows": 3, "prepare": TASK},
        {"rows": 3, "tokens": []},
    ]
    for settings in cases:
        with pytest.raises(synth.UsageError) as wrong:
            synth.lamol(model, **settings)
        assert wrong.value.field in {"rows", *settings}
    with pytest.raises(synth.UsageError, match="has no rows"):
        synth.lamol(model, of=[])
