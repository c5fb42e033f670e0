"""`synth.continuation`."""

import itertools
from pathlib import Path

import pytest

import synth
from tests.synth.api.test_rephrase import STORY

DOCUMENTS = [{"text": f"Day {n}. {STORY} Remy buys 12 shells in Leeds! Then the day ends."} for n in range(4)]


def test_passages_and_who_goes_on_with_them(model: synth.Model, tmp_path: Path) -> None:
    teacher = tmp_path / "teacher"
    teacher.symlink_to(Path(model.name).resolve())
    runs = [
        synth.continuation(model, DOCUMENTS, output=tmp_path / name, progress=synth.SILENT, answer_model=other)
        for name, other in (("own", None), ("taught", str(teacher)))
    ]
    for rows, name in zip(runs, (model.name, str(teacher)), strict=True):
        assert rows.record is not None and rows.record.model == name
        every = [*rows, *(rows.rejected or ())]
        assert len(every) == 4 and {row["model"] for row in every} == {name}
        for row in every:
            asked = row["messages"][0]["content"]
            assert row["method"] == "continue" and asked.startswith("Day ") and row["reference"] not in asked
    answers = [{row["messages"][0]["content"]: row["messages"][1]["content"] for row in rows} for rows in runs]
    assert answers[0].keys() == answers[1].keys()
    assert model.running is not None, "it is its owner's to close"


def test_settings_that_cannot_work_are_named(model: synth.Model, tmp_path: Path) -> None:
    with pytest.raises(synth.UsageError) as wrong:
        synth.continuation(model, DOCUMENTS, passage_tokens=10)
    assert wrong.value.field == "passage_tokens"
    with pytest.raises(synth.UsageError, match="no such directory"):
        synth.continuation(model, DOCUMENTS, answer_model=str(tmp_path / "nobody"))
    with pytest.raises(synth.UsageError, match="has no rows"):
        synth.continuation(model, itertools.islice(DOCUMENTS, 0))
