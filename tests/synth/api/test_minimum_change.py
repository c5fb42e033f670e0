"""`synth.minimum_change`."""

from pathlib import Path

import pytest

import synth

Questions = list[dict[str, str]]


def test_right_answers_stand_and_wrong_ones_are_mended_or_rejected(
    model: synth.Model, questions: Questions, tmp_path: Path
) -> None:
    rows = synth.minimum_change(
        model, questions, output=tmp_path / "rows", verifier="math", floor=0.2, progress=synth.SILENT
    )
    assert rows.record is not None and rows.record.accepted + rows.record.rejected == len(questions)
    assert len(rows), "the sample model answers some sums right"
    for row in rows:
        assert row["method"] in ("self-output", "minimum-change") and row["verdict"] == "right"
        assert (row["edit_distance"] == 0) == (row["method"] == "self-output") and row["similarity"] >= 0.2
    assert "{question}" in rows.record.settings["prompt"] and "editor" not in rows.record.settings


def test_another_model_mends(model: synth.Model, questions: Questions) -> None:
    rows = synth.minimum_change(
        model, questions[:3], verifier="number", editor=model.name, retries=0, progress=synth.SILENT
    )
    assert rows.record is not None and rows.record.settings["editor"]["model"] == model.name


def test_settings_that_cannot_work_are_named(model: synth.Model, questions: Questions, tmp_path: Path) -> None:
    for settings in ({"floor": 1.5}, {"retries": -1}):
        with pytest.raises(synth.UsageError) as wrong:
            synth.minimum_change(model, questions, verifier="math", **settings)
        assert wrong.value.field == next(iter(settings))
    with pytest.raises(synth.UsageError, match=r"has no \{answer\}"):
        prompt = tmp_path / "prompt.txt"
        prompt.write_text("Say {question} again.")
        synth.minimum_change(model, questions, verifier="math", prompt=str(prompt))
    with pytest.raises(synth.UsageError) as wrong:
        synth.minimum_change(model, questions)
    assert wrong.value.field == "verifier"
