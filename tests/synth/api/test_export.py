"""`synth.export`."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest

import synth
from synth.exports.formats import FORMATS, Exported
from synth.exports.trainers import TRAINERS

ROWS = [{"question": f"What is {n}+1?", "answer": str(n + 1), "level": n} for n in range(20)]


def test_copies_in_every_format_of_files(tmp_path: Path) -> None:
    expected: list[dict[str, Any]] = []
    for name in ("a", "b.jsonl", "c.parquet", "d.arrow"):
        copy = synth.export(ROWS, tmp_path / name, progress=synth.SILENT)
        rows = list(copy)
        assert len(copy) == 20 and copy.path == tmp_path / name and copy.form is None and copy.config == ""
        expected = expected or rows
        assert rows == expected and rows[3]["messages"][1]["content"] == "4" and rows[3]["level"] == 3
    with pytest.raises(synth.UsageError, match="add `force`"):
        synth.export(ROWS, tmp_path / "a")
    assert len(synth.export(ROWS, tmp_path / "a", limit=3, force=True, progress=synth.SILENT)) == 3


def test_a_stream_and_a_place_of_no_name() -> None:
    stream = io.BytesIO()
    assert len(synth.export(ROWS, stream, limit=2, progress=synth.SILENT)) == 2
    assert [json.loads(line)["level"] for line in stream.getvalue().splitlines()] == [0, 1]
    assert len(list(synth.export(ROWS, progress=synth.SILENT))) == 20


def test_for_a_trainer_with_its_configuration(tmp_path: Path) -> None:
    made = synth.export(ROWS, tmp_path / "out", trainer="trl", form="prompt-completion", progress=synth.SILENT)
    assert "completion_only_loss=True" in made.config and made.form == "prompt-completion"
    assert datasets.load_from_disk(str(tmp_path / "out")).column_names == ["prompt", "completion"]
    made = synth.export(ROWS, tmp_path / "factory", trainer="llama-factory", progress=synth.SILENT)
    assert made.path == tmp_path / "factory" / "data.jsonl" and len(list(made)) == 20
    assert (tmp_path / "factory" / "dataset_info.json").is_file()


def test_a_format_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lines(batch: pa.RecordBatch) -> list[dict[str, Any]]:
        return [
            {"text": "\n".join(turn["content"] for turn in row["messages"]), "level": row["level"]}
            for row in batch.to_pylist()
            if row["level"] > 4
        ]

    made = synth.export(ROWS, tmp_path / "lines.jsonl", trainer="jsonl", form=lines, progress=synth.SILENT)
    assert (made.form, len(made), made.left_out) == ("lines", 15, 5)
    assert json.loads(made.path.read_text().splitlines()[0]) == {"text": "What is 5+1?\n6", "level": 5}

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "mine_of_export.py").write_text(
        "def only_levels(batch): return batch.select(['level'])\ndef broken(batch): return batch['nothing']\n"
    )
    made = synth.export(ROWS, "x.parquet", trainer="parquet", form="mine_of_export:only_levels", progress=synth.SILENT)
    assert len(made) == 20 and datasets.Dataset.from_parquet("x.parquet", cache_dir="cache").column_names == ["level"]
    for form, words in (("mine_of_export:broken", "failed: KeyError"), ("mine_of_export:other", "cannot be imported")):
        with pytest.raises(synth.UsageError, match=words) as wrong:
            synth.export(ROWS, "y.jsonl", trainer="jsonl", form=form)
        assert wrong.value.field == "form" and not (tmp_path / "y.jsonl").exists()
    with pytest.raises(synth.UsageError, match="axolotl takes no lines data"):
        synth.export(ROWS, "y", trainer="axolotl", form=lines)


def recipe(rows: Exported, path: Path, model: str) -> str:
    return f"{model} learns {rows.form} from {path.name}"


def test_a_trainer_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = synth.export(ROWS, tmp_path / "a.parquet", trainer=recipe, form="alpaca", progress=synth.SILENT)
    assert made.config == "MODEL learns alpaca from a.parquet" and len(made) == 20
    assert synth.export(ROWS, tmp_path / "b", trainer=recipe, progress=synth.SILENT).form == "messages"

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "mine_of_trainers.py").write_text(
        "def good(rows, path, model): return 'good'\ndef few(rows): ...\n"
        "def odd(rows, path, model): return 7\ndef broken(rows, path, model): return rows.nothing\n"
    )
    assert synth.export(ROWS, "c", trainer="mine_of_trainers:good", progress=synth.SILENT).config == "good"
    for name, words in (
        ("few", "cannot be called with .rows, path, model."),
        ("odd", "returned 7, which is no text"),
        ("broken", "failed: AttributeError"),
        ("goood", "did you mean good"),
    ):
        with pytest.raises(synth.UsageError, match=words) as wrong:
            synth.export(ROWS, name, trainer=f"mine_of_trainers:{name}", progress=synth.SILENT)
        assert wrong.value.field == "trainer"


@pytest.mark.parametrize(
    ("settings", "field", "words"),
    [
        ({"form": "alpaca"}, "form", "goes with `trainer`"),
        ({"trainer": "trl", "form": "alpacca"}, "form", "did you mean alpaca"),
        ({"trainer": "megatron"}, "trainer", "there are trl, axolotl"),
        ({"trainer": "jsonl"}, "output", "one .jsonl file"),
    ],
)
def test_bad_settings_are_named(tmp_path: Path, settings: dict[str, str], field: str, words: str) -> None:
    with pytest.raises(synth.UsageError, match=words) as wrong:
        synth.export(ROWS, tmp_path / "out", **settings)  # type: ignore[arg-type]
    assert wrong.value.field == field and not (tmp_path / "out").exists()


def test_every_format_that_a_trainer_takes_is_known() -> None:
    assert {form for trainer in TRAINERS.values() for form in trainer.forms} == set(FORMATS)
