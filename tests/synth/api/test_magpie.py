"""`synth.magpie`, `synth.load`, and the data sets that functions return."""

import asyncio
from pathlib import Path

import pyarrow as pa
import pytest

import synth
from tests.conftest import MODEL


def test_rows_and_what_became_of_the_others(model: synth.Model, tmp_path: Path) -> None:
    rows = synth.magpie(model, rows=12, output=tmp_path / "replay", max_tokens=8, seed=3, progress=synth.SILENT)
    assert len(rows) == 12 == len(list(rows)) and rows.path == tmp_path / "replay"
    assert all([turn["role"] for turn in row["messages"]] == ["user", "assistant"] for row in rows)
    assert rows.to_dataset()["id"][:] == [row["id"] for row in rows]
    assert rows.record is not None and rows.record.rejected > 0, "answers of 8 tokens are cut off"
    assert rows.rejected is not None and len(rows.rejected) == rows.record.rejected
    assert all(row["reason"] for row in rows.rejected) and rows.pairs is None
    assert rows == synth.Dataset(tmp_path / "replay") and len({rows, synth.Dataset(tmp_path / "replay")}) == 1


def test_a_run_is_gone_on_with_and_the_rows_are_those_of_one_call(model: synth.Model, tmp_path: Path) -> None:
    for rows in (5, 9):
        synth.magpie(model, rows=rows, output=tmp_path / "twice", progress=synth.SILENT)
    once = synth.magpie(model, rows=9, progress=synth.SILENT)
    assert list(once) == list(synth.Dataset(tmp_path / "twice"))


def test_a_file_and_a_place_of_no_name(model: synth.Model, tmp_path: Path) -> None:
    file = synth.magpie(model, rows=3, output=tmp_path / "rows.jsonl", progress=synth.SILENT)
    somewhere = synth.magpie(model, rows=3, progress=synth.SILENT)
    assert list(somewhere.to_dataset()["id"]) == [row["id"] for row in file] and len(synth.Dataset(file)) == 3
    assert file.to_dataset().column_names == pa.json.read_json(str(file)).column_names if hasattr(pa, "json") else True
    folder = somewhere.path.parent
    assert folder.exists()
    del somewhere
    assert not folder.exists(), "a temporary directory lasts as long as its data set"


def test_settings_that_cannot_work_are_named(model: synth.Model, tmp_path: Path) -> None:
    with pytest.raises(synth.UsageError) as wrong:
        synth.magpie(model, rows=3, turns=0)
    assert wrong.value.field == "turns"
    with pytest.raises(synth.UsageError) as wrong:
        synth.load(MODEL, max_length=10**6)
    assert wrong.value.field == "max_length"
    synth.magpie(model, rows=2, output=tmp_path / "a", progress=synth.SILENT)
    with pytest.raises(synth.UsageError, match="seed: 0, now 1"):
        synth.magpie(model, rows=2, output=tmp_path / "a", seed=1, progress=synth.SILENT)


def test_a_model_is_loaded_once_and_only_when_it_is_needed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with synth.load(MODEL, engine="transformers") as model:
        assert model.running is None
        synth.magpie(model, rows=2, output=tmp_path / "a")
        synth.magpie(model, rows=2, output=tmp_path / "b")
    assert capsys.readouterr().err.count("loading") == 1 and model.running is None
    synth.magpie(MODEL, rows=2, output=tmp_path / "a")
    assert "already holds 2 rows; give a larger `rows` for more" in capsys.readouterr().err


def test_in_a_notebook_where_a_loop_runs(model: synth.Model) -> None:
    async def cell() -> int:
        return len(synth.magpie(model, rows=2, progress=synth.SILENT))

    assert asyncio.run(cell()) == 2


def test_a_page_for_a_notebook(model: synth.Model, tmp_path: Path) -> None:
    page = synth.magpie(model, rows=2, progress=synth.SILENT).report(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == page.page and "<iframe srcdoc=" in page._repr_html_()
