"""`synth.verify`."""

from pathlib import Path
from typing import Any

import pytest

import synth


def answered(*answers: str) -> list[dict[str, Any]]:
    return [
        {
            "messages": [
                {"role": "user", "content": "What is 2 + 3?"},
                {"role": "assistant", "content": answer},
            ],
            "reference": "5",
        }
        for answer in answers
    ]


def test_verdicts_on_answers(tmp_path: Path) -> None:
    rows = synth.verify(
        answered("It is 5.", "It is 6.", ""), output=tmp_path / "a.jsonl", verifier="number", progress=synth.SILENT
    )
    assert [(row["verdict"], row["answer"]) for row in rows][:2] == [("right", "5"), ("wrong", "6")]
    assert [row["verdict"] for row in rows][2] != "right" and rows.record is not None and rows.record.rejected == 0


def test_references_and_verdicts_by_vote() -> None:
    questions = [{"question": "What is 2 + 3?", "answer": "5"}, {"question": "What is 2 + 4?", "answer": "so"}]
    rows = synth.verify(questions, verifier="number", references=True, progress=synth.SILENT)
    assert [row["verdict"] for row in rows] == ["right", "unscorable"]
    rows = synth.verify(answered("5", "6", "5"), verifier="majority", progress=synth.SILENT)
    assert [row["verdict"] for row in rows] == ["right", "wrong", "right"]


def test_a_model_judges(model: synth.Model) -> None:
    rows = synth.verify(answered("5"), verifier="judge", judge=model, progress=synth.SILENT)
    assert [row["verdict"] for row in rows] == ["unscorable"], "the sample model has never seen a judge's prompt"
    assert rows.record is not None and rows.record.settings["judge"]["model"] == model.name


def test_settings_that_cannot_work_are_named() -> None:
    with pytest.raises(synth.UsageError) as wrong:
        synth.verify(answered("5"), verifier="judge")
    assert wrong.value.field == "verifier" and "`judge` MODEL" in str(wrong.value)
    with pytest.raises(synth.UsageError, match="nothing to judge") as wrong:
        synth.verify([row | {"messages": row["messages"][:1]} for row in answered("5")], verifier="number")
    assert wrong.value.field == "references"
