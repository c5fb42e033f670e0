"""`synth.describe`."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import synth


@pytest.fixture
def pictures(tmp_path: Path) -> list[dict[str, Any]]:
    rows = []
    for number, colour in enumerate(("red", "green", "blue")):
        Image.new("RGB", (8 + number, 8), colour).save(tmp_path / f"{number}.png")
        rows.append({"image": f"{number}.png", "caption": f"a {colour} square", "shape": "square"})
    return [*rows, {"image": "none.png", "caption": "nothing"}]


def test_pictures_of_a_manifest_in_memory(
    model: synth.Model, pictures: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["What is it?", "Which colour is it?"]
    settings: dict[str, Any] = {
        "prompts": asked,
        "attributes": ["shape", "width"],
        "max_tokens": 60,
        "temperature": 0.0,
    }
    rows = synth.describe(model, pictures, output=tmp_path / "seen", progress=synth.SILENT, **settings)
    every = [*rows, *(rows.rejected or ())]
    assert len(every) == 4 and any("file missing" in (row.get("reason") or "") for row in every)
    seen = [row for row in every if row["description"]]
    assert {row["description"] for row in seen} >= {"a red square (Shape: square, Width: 8 pixels)"}
    assert all(row["prompt"] in asked and row["messages"][0]["content"] == row["prompt"] for row in seen)
    again = synth.describe(model, pictures, output=tmp_path / "seen", progress=synth.SILENT, **settings)
    assert list(again) == list(rows)


def test_what_cannot_work_is_named(model: synth.Model, pictures: list[dict[str, Any]], tmp_path: Path) -> None:
    cases: list[dict[str, Any]] = [{"prompts": []}, {"attributes": ["size"]}, {"output": tmp_path / "rows.jsonl"}]
    for settings in cases:
        with pytest.raises(synth.UsageError) as wrong:
            synth.describe(model, pictures, **settings)
        assert wrong.value.field in settings
