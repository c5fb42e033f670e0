"""`synth.paraphrase`."""

from pathlib import Path

import pytest

import synth

Questions = list[dict[str, str]]


def test_every_row_comes_out_restated_or_as_it_was(model: synth.Model, questions: Questions, tmp_path: Path) -> None:
    rows = synth.paraphrase(model, questions, output=tmp_path / "rows", verifier="math", progress=synth.SILENT)
    assert len(rows) == len(questions)
    for row, asked in zip(rows, questions, strict=True):
        assert row["messages"][0]["content"] == asked["question"] and row["reference"] == asked["answer"]
        assert row["method"] in ("paraphrase", "gold")
        if row["method"] == "gold":
            assert row["messages"][1]["content"] == asked["answer"] and row["note"]
    assert rows.record is not None and rows.record.settings["verifier"]["name"] == "math"
    again = synth.paraphrase(model, questions, verifier="math", limit=3, progress=synth.SILENT)
    texts = [[row["messages"] for row in some] for some in (again, rows)]
    assert texts[0] == texts[1][:3], "the same call writes the same rows"


def test_without_a_verifier_any_sound_restatement_is_taken(model: synth.Model, questions: Questions) -> None:
    rows = synth.paraphrase(model, questions[:2], style="concise", tries=1, progress=synth.SILENT)
    found = [(row["method"], row["verifier"], row["verdict"]) for row in rows]
    assert found == [("paraphrase", None, None)] * 2, "what nothing judged is not right"


def test_settings_that_cannot_work_are_named(model: synth.Model, questions: Questions) -> None:
    with pytest.raises(synth.UsageError) as wrong:
        synth.paraphrase(model, questions, tries=0)
    assert wrong.value.field == "tries"
    with pytest.raises(synth.UsageError) as wrong:
        synth.paraphrase(model, questions, verifier="maths")
    assert wrong.value.field == "verifier" and "math" in str(wrong.value)
    with pytest.raises(synth.UsageError, match="has no rows"):
        synth.paraphrase(model, [])


def test_rows_without_human_answers_are_refused_before_a_model_is_loaded() -> None:
    rows = [{"question": "What is 2 + 3?"}]
    with synth.load("samples/model", engine="transformers") as fresh:
        for function in (synth.paraphrase, synth.minimum_change):
            with pytest.raises(synth.UsageError, match="has no human answers") as wrong:
                function(fresh, rows, verifier="refusal", progress=synth.SILENT)
            assert wrong.value.field == "reference_column" and fresh.running is None
