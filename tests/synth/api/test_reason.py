"""`synth.reason`."""

from pathlib import Path

import pytest

import synth

Questions = list[dict[str, str]]


def test_right_traces_with_the_values_of_their_steps(model: synth.Model, questions: Questions, tmp_path: Path) -> None:
    rows = synth.reason(
        model,
        questions,
        output=tmp_path / "rows",
        verifier="math",
        samples=3,
        step_rollouts=2,
        step_unit="sentence",
        progress=synth.SILENT,
    )
    assert len(rows) and rows.record is not None
    for row in rows:
        assert (row["method"], row["verdict"], row["samples"], row["turn_backs"]) == ("reason", "right", 3, 0)
        assert len(row["steps"]) == len(row["step_values"]) and row["step_values"][-1] == 1
    assert rows.record.settings["think_open"] == "<think>" and rows.record.settings["length_limit"] is None


def test_a_limit_of_tokens_is_a_number_or_the_mean(model: synth.Model, questions: Questions) -> None:
    rows = synth.reason(model, questions, verifier="math", length_limit=2, samples=2, progress=synth.SILENT)
    assert not len(rows) and rows.record is not None and rows.record.settings["length_limit"] == "2"
    with pytest.raises(synth.UsageError) as wrong:
        synth.reason(model, questions, verifier="math", length_limit="median")
    assert wrong.value.field == "length_limit"


def test_settings_that_cannot_work_are_named(model: synth.Model, questions: Questions) -> None:
    with pytest.raises(synth.UsageError) as wrong:
        synth.reason(model, questions, verifier="math", think_close="")
    assert wrong.value.field == "think_close"
    with pytest.raises(synth.UsageError, match="without `search`") as wrong:
        synth.reason(model, questions, verifier="majority", search=1)
    assert wrong.value.field == "verifier"
