"""`synth.distil`."""

import tempfile
from pathlib import Path

import pytest

import synth

Questions = list[dict[str, str]]


def test_answers_and_what_they_cost(model: synth.Model, questions: Questions, tmp_path: Path) -> None:
    rows = synth.distil(
        model,
        questions,
        output=tmp_path / "rows",
        verifier="math",
        samples=2,
        price_in=1,
        price_out=3,
        progress=synth.SILENT,
    )
    assert rows.record is not None and rows.record.cost
    costs = [row["cost"] or 0.0 for row in [*rows, *(rows.rejected or [])]]
    assert sum(costs) == pytest.approx(rows.record.cost)
    assert {row["parent"] for row in rows} and all(row["verdict"] == "right" for row in rows)


def test_a_budget_stops_the_run_and_a_larger_one_goes_on(
    questions: Questions, model: synth.Model, tmp_path: Path
) -> None:
    def call(output: str, most: float | None) -> synth.Dataset:
        return synth.distil(
            model,
            questions,
            output=tmp_path / output,
            max_tokens=40,
            price_in=10,
            price_out=10,
            most=most,
            progress=synth.SILENT,
        )

    whole = call("whole", None)
    assert whole.record is not None and whole.record.cost
    with pytest.raises(synth.Stopped, match="is left of `most`") as stopped:
        call("stopped", whole.record.cost / 2)
    assert stopped.value.field == "most"
    assert [row["id"] for row in call("stopped", None)] == [row["id"] for row in whole]


def test_a_preview_that_is_stopped_leaves_nothing(
    questions: Questions, model: synth.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(synth.Stopped, match=r"is left of `most` 1e-09; stopped$"):
        synth.distil(model, questions, output=synth.FirstRows(2), price_in=10, most=1e-9, progress=synth.SILENT)
    assert not [*tmp_path.glob("synth-*")]


def test_settings_that_cannot_work_are_named(model: synth.Model, questions: Questions) -> None:
    with pytest.raises(synth.UsageError) as wrong:
        synth.distil(model, questions, price_in=-1)
    assert wrong.value.field == "price_in"
    with pytest.raises(synth.UsageError) as wrong:
        synth.distil(model, questions, most=3)
    assert wrong.value.field == "most"
    with pytest.raises(synth.UsageError) as wrong:
        synth.distil(model, questions, price_in=1, verifier="judge")
    assert wrong.value.field == "judge"
