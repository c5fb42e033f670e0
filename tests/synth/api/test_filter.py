"""`synth.filter`, and the filters and selections that it takes."""

import inspect
import json
import signal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import synth
from synth.curation import steps as written
from synth.curation.registry import MAKERS
from synth.data.run.directory import RunDirectory

ROWS = [{"question": f"What is {n}?", "answer": f"The answer is {n}.", "level": n % 2} for n in range(9)]
ROWS = [*ROWS[:4], ROWS[4] | {"answer": "4"}, *ROWS[5:], ROWS[0]]
"""Ten rows: the last equals the first, and one answers with one letter."""


def test_steps_in_their_order_and_what_each_did(tmp_path: Path) -> None:
    steps = [synth.filters.Duplicates(), synth.filters.Length(3), synth.filters.Top("level", 2)]
    clean = synth.filter(ROWS, steps, output=tmp_path / "clean", explain=True, progress=synth.SILENT)
    assert len(clean) == 2 == len(clean.to_dataset()) and all(row["level"] == 1 for row in clean)
    assert clean.rejected is not None and len(clean.rejected) == 8
    assert [(step.text, step.seen, step.removed) for step in clean.steps] == [
        ("duplicates", 10, 1),
        ("length:3", 9, 1),
        ("top:level,2", 8, 6),
    ]
    [category] = clean.steps[0].categories
    [example] = category.examples
    assert (category.name, example.row) == ("exact duplicate", 9)
    assert example.other is not None and (example.other.row, example.other.prompt) == (0, example.prompt)
    again = synth.filter(ROWS, steps, output=tmp_path / "clean", progress=synth.SILENT)
    assert again == clean and not again.steps, "it was complete"


def test_settings_are_recorded_as_they_are_written_and_can_be_read_again(tmp_path: Path) -> None:
    steps = [synth.filters.NearDuplicates(0.7, n=4), synth.filters.Language("en", "zh"), synth.filters.Random("50%")]
    clean = synth.filter(ROWS, steps, progress=synth.SILENT)
    assert clean.record is not None
    texts = ["near-duplicates:0.7,n=4", "language:en,zh", "random:50%"]
    assert clean.record.settings["steps"] == [f"filter {texts[0]}", f"filter {texts[1]}", f"keep {texts[2]}"]
    read = [written.read_step("keep" if text.startswith("random") else "filter", text) for text in texts]
    assert read == steps and list(synth.filter(ROWS, read, progress=synth.SILENT)) == list(clean)


def test_functions_of_the_user() -> None:
    def low(frame: pl.DataFrame) -> pl.Series:
        return frame["level"] > 0

    kept = synth.filter(ROWS, [low, lambda _: pl.col("row") > 2], progress=synth.SILENT)
    assert [row["level"] for row in kept] == [1, 1, 1] and kept.record is not None
    assert kept.record.reasons == {"low / false": 6, "<lambda> / false": 1}


def test_sets_to_stay_clear_of_are_data_sets_too(tmp_path: Path) -> None:
    target = synth.filter(ROWS[:3], [synth.filters.Duplicates()], output=tmp_path / "own", progress=synth.SILENT)
    left = synth.filter(ROWS, [synth.filters.Against(target, threshold=1.0)], progress=synth.SILENT)
    assert len(left) == 6


def test_what_cannot_be_is_named(tmp_path: Path) -> None:
    for step, field, words in (
        (synth.filters.NearDuplicates(7), "filter", "near-duplicates:7: a similarity threshold"),
        (synth.filters.Top("nothing", 3), "keep", "no column nothing"),
        (synth.filters.Random("half"), "keep", "half is no number of rows"),
    ):
        with pytest.raises(synth.UsageError, match=words) as wrong:
            synth.filter(ROWS, [step], output=tmp_path / "clean", progress=synth.SILENT)
        assert wrong.value.field == field and not (tmp_path / "clean").exists()
    with pytest.raises(synth.UsageError, match="nothing to do: name a filter or a selection"):
        synth.filter(ROWS, [])
    with pytest.raises(TypeError, match="treshold"):
        synth.filters.NearDuplicates(treshold=0.7)  # type: ignore[call-arg]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_was_stopped_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps({"question": f"{n}?", "answer": str(n)}) + "\n" for n in range(20_000)))
    steps = [synth.filters.Length(3)]
    whole = synth.filter(source, steps, progress=synth.SILENT)
    extend = RunDirectory.extend

    def stopped(self: RunDirectory, *batches: Any) -> None:
        extend(self, *batches)
        signal.raise_signal(number)

    monkeypatch.setattr(RunDirectory, "extend", stopped)
    with pytest.raises(synth.Stopped, match="run this again to continue"):
        synth.filter(source, steps, output=tmp_path / "parts", progress=synth.SILENT)
    monkeypatch.undo()
    parts = synth.filter(source, steps, output=tmp_path / "parts", progress=synth.SILENT)
    assert list(parts) == list(whole) and parts.record is not None and parts.record.accepted == 19_900


def test_python_and_the_command_line_have_the_same_steps() -> None:
    names = {name for makers in MAKERS.values() for name in makers}
    ours = {name for name in synth.filters.__all__ if name != "Step"}
    assert {"".join(word.capitalize() for word in name.split("-")) for name in names} == ours
    for name in ours:
        settings = inspect.signature(getattr(synth.filters, name)).parameters.values()
        assert all(setting.annotation is not setting.empty for setting in settings), name
        assert "context" not in {setting.name for setting in settings}


def test_rows_in_memory_are_called_by_what_they_are_and_gone_on_with_by_content(tmp_path: Path) -> None:
    rows = [{"question": f"{number} + 1?", "answer": f"{number + 1}"} for number in range(30)]
    first = synth.filter(rows, ["length:min=1"], output=tmp_path / "out", progress=synth.SILENT)
    assert first.record is not None and first.record.source == "in memory, 30 rows"
    again = synth.filter(iter(rows), ["length:min=1"], output=tmp_path / "out", progress=synth.SILENT)
    assert len(again) == len(first) == 30
    with pytest.raises(synth.UsageError, match="other settings"):
        synth.filter(rows[1:], ["length:min=1"], output=tmp_path / "out", progress=synth.SILENT)


def test_one_step_is_one(tmp_path: Path) -> None:
    """As text it is not its letters; what is neither text, step nor function is told."""
    rows = [{"question": "What is 1 + 1?", "answer": "2" * number} for number in range(1, 5)]
    for step in ("length:min=3", synth.filters.Length(min=3), lambda frame: frame["answer"].str.len_chars() > 2):
        assert len(synth.filter(rows, step, progress=synth.SILENT)) == 2
    unfit: Any = [3]
    with pytest.raises(synth.UsageError, match="`steps`: 3 is no step"):
        synth.filter(rows, unfit, progress=synth.SILENT)
    kept = synth.filter(rows, "length:min=3", output=tmp_path / "kept", progress=synth.SILENT)
    assert "4 rows" in repr(synth.report(kept, progress=synth.SILENT)), "two that are left, and two removed"
