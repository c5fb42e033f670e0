"""`synth.ssr`."""

from pathlib import Path
from typing import Any

import pytest

import synth

KEPT = [
    {
        "question": f"Olga has {40 + 2 * n} rolls and sells {3 + n}. How many rolls are left?",
        "answer": f"{40 + 2 * n} - {3 + n} = {37 + n}. The answer is {37 + n}.",
    }
    for n in range(12)
]
SETTINGS: dict[str, Any] = {"candidates": 8, "clusters": 3, "question_tokens": 40, "max_tokens": 60, "temperature": 1.0}


def test_rows_for_kept_examples_in_memory(
    model: synth.Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = synth.ssr(model, KEPT, rows=4, output=tmp_path / "new", **SETTINGS)
    written = {row["id"]: row for row in synth.Dataset(tmp_path / "new.inputs")}
    assert len(rows) == 4 and len(written) == 8
    assert all(row["messages"][:1] == written[row["parent"]]["messages"] for row in rows)
    assert "8 inputs in 3 groups; answering 4 that represent them" in capsys.readouterr().err
    again = synth.ssr(model, KEPT, rows=4, output=tmp_path / "new", **SETTINGS)
    assert list(again) == list(rows) and "already holds 4 rows" in capsys.readouterr().err


def test_who_writes_the_inputs(model: synth.Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    writer = tmp_path / "writer"
    writer.symlink_to(Path(model.name).resolve())
    rows = synth.ssr(model, KEPT, rows=2, output=tmp_path / "rows", input_model=str(writer), **SETTINGS)
    assert {row["model"] for row in rows} == {model.name}
    assert {row["model"] for row in synth.Dataset(tmp_path / "rows.inputs")} == {str(writer)}
    assert f"loading {writer}" in capsys.readouterr().err


def test_what_cannot_work_is_named(model: synth.Model) -> None:
    for settings in ({"candidates": 2}, {"clusters": 0}, {"temperature": 0.0}):
        with pytest.raises(synth.UsageError) as wrong:
            synth.ssr(model, KEPT, rows=3, **(SETTINGS | settings))
        assert wrong.value.field in settings
    with pytest.raises(synth.UsageError, match="at least 2 are needed"):
        synth.ssr(model, KEPT[:1], rows=3, **SETTINGS)
    with pytest.raises(synth.RunError, match="give more `candidates`") as few:
        synth.ssr(model, KEPT, rows=3, progress=synth.SILENT, **(SETTINGS | {"max_tokens": 1}))
    assert few.value.field == "candidates"
