"""`synth.rephrase`."""

from pathlib import Path
from typing import Any

import pytest

import synth

STORY = "Otto has 7 rolls and sells 3 of them to Sami. The river of Lumeria is the Swale, and it is long."
DOCUMENTS = [{"id": f"d{n}", "body": f"Day {n}. {STORY}", "page": n} for n in range(6)]


def test_documents_in_memory_and_what_people_wrote(model: synth.Model, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "text_column": "body",
        "style": ["easy"],
        "originals": 1.0,
        "max_tokens": 60,
        "temperature": 1.0,
    }
    rows = synth.rephrase(
        model, [*DOCUMENTS, {"id": "none", "body": ""}], output=tmp_path / "said", progress=synth.SILENT, **settings
    )
    stand = [row for row in rows if row["style"] == "original"]
    assert [row["text"] for row in stand] == [document["body"] for document in DOCUMENTS]
    assert {row["method"] for row in rows} <= {"gold", "rephrase"} and all(row["page"] is not None for row in rows)
    assert rows.rejected is not None and "empty document" in {row["reason"] for row in rows.rejected}
    assert len(rows) + len(rows.rejected) == 13
    again = synth.rephrase(
        model, [*DOCUMENTS, {"id": "none", "body": ""}], output=tmp_path / "said", progress=synth.SILENT, **settings
    )
    assert list(again) == list(rows)


def test_settings_that_cannot_work_are_named(model: synth.Model) -> None:
    for settings, field in (
        ({"chunk_tokens": 3}, "chunk_tokens"),
        ({"style": []}, "style"),
        ({"originals": 2}, "originals"),
    ):
        with pytest.raises(synth.UsageError) as wrong:
            synth.rephrase(model, DOCUMENTS, text_column="body", **settings)
        assert wrong.value.field == field
    with pytest.raises(synth.UsageError, match="has no column 'text'"):
        synth.rephrase(model, DOCUMENTS)
