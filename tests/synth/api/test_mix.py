"""`synth.mix`."""

import signal
from pathlib import Path
from typing import Any

import pytest

import synth
from synth.data.run.directory import RunDirectory

TARGET = [{"question": f"t {n}?", "answer": f"{n}"} for n in range(100)]
OLD = [{"question": f"a {n}?", "answer": f"{n}"} for n in range(50)] + TARGET[3:4]


@pytest.fixture
def own(tmp_path: Path) -> synth.Dataset:
    return synth.filter(TARGET, [synth.filters.Duplicates()], output=tmp_path / "own", progress=synth.SILENT)


@pytest.fixture
def replay(tmp_path: Path) -> synth.Dataset:
    return synth.filter(OLD, [synth.filters.Duplicates()], output=tmp_path / "replay", progress=synth.SILENT)


def test_data_sets_and_their_shares(own: synth.Dataset, replay: synth.Dataset, tmp_path: Path) -> None:
    rows = synth.mix(own, {replay: 0.05}, output=tmp_path / "mixed", progress=synth.SILENT)
    assert len(rows) == 105 and [row["source"] for row in rows].count("replay") == 5
    assert rows.record is not None
    assert [(part["name"], part["rows"], part["duplicates"]) for part in rows.record.parts] == [
        ("own", 100, 0),
        ("replay", 5, 1),
    ]
    assert rows.rejected is not None and [row["reason"] for row in rows.rejected] == ["duplicate of a target row"]
    again = synth.mix(str(own), {str(replay): 0.05}, output=tmp_path / "mixed", progress=synth.SILENT)
    assert again == rows and list(again) == list(rows)


def test_rows_in_memory_are_pairs_and_gone_on_with(tmp_path: Path) -> None:
    for _ in range(2):
        rows = synth.mix(TARGET, [(OLD, 0.1), (OLD, 0.02)], output=tmp_path / "mixed", progress=synth.SILENT)
        sources = [row["source"] for row in rows]
        assert {name: sources.count(name) for name in set(sources)} == {"rows": 100, "rows-2": 10, "rows-3": 2}


def test_shares_of_tokens(own: synth.Dataset, replay: synth.Dataset, model: synth.Model) -> None:
    rows = synth.mix(own, {replay: 0.1}, by="tokens", model=model, progress=synth.SILENT)
    assert rows.record is not None
    target, old = rows.record.parts
    assert 0.08 < old["tokens"] / target["tokens"] < 0.12
    with pytest.raises(synth.UsageError) as wrong:
        synth.mix(own, {replay: 0.1}, by="tokens", progress=synth.SILENT)
    assert wrong.value.field == "by" and "`model`" in str(wrong.value)


def test_plain_texts_are_replay_too(own: synth.Dataset, model: synth.Model) -> None:
    texts = [{"text": f"Day {n} by the river."} for n in range(20)]
    rows = synth.mix(own, [(texts, 0.1)], by="tokens", model=model, progress=synth.SILENT)
    taken = [row for row in rows if row["source"] == "rows"]
    assert taken and all(row["text"].startswith("Day ") and not row["messages"] for row in taken)
    assert rows.record is not None and rows.record.parts[1]["tokens"] > 0
    again = synth.mix([*texts[:4], *({"text": f"Night {n}."} for n in range(6))], [(texts, 0.1)], progress=synth.SILENT)
    assert again.record is not None
    assert [(part["available"], part["duplicates"], part["rows"]) for part in again.record.parts] == [
        (10, 0, 10),
        (20, 4, 1),
    ]
    tokens = [{"text": "a", "input_ids": [1, 70], "labels": [-100, 70]}]
    with pytest.raises(synth.UsageError, match="texts and their tokens, and no messages"):
        synth.mix(own, [(tokens, 0.1)], form="messages")


@pytest.mark.parametrize("share", [0, -0.1, float("nan"), float("inf")])
def test_what_is_no_share(own: synth.Dataset, replay: synth.Dataset, tmp_path: Path, share: float) -> None:
    with pytest.raises(synth.UsageError, match="a share is above 0") as wrong:
        synth.mix(own, {replay: share}, output=tmp_path / "mixed")
    assert wrong.value.field == "replay" and not (tmp_path / "mixed").exists()


def test_sets_that_are_too_small(own: synth.Dataset, replay: synth.Dataset) -> None:
    with pytest.raises(synth.UsageError, match="lower the share, or add `oversample`"):
        synth.mix(own, {replay: 0.9}, progress=synth.SILENT)
    assert len(synth.mix(own, {replay: 0.9}, oversample=True, progress=synth.SILENT)) == 190


def test_a_run_that_was_stopped_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = [{"question": f"t {n}?", "answer": f"{n}"} for n in range(3000)]
    whole = synth.mix(target, [(OLD, 0.01)], progress=synth.SILENT)
    extend = RunDirectory.extend

    def stopped(self: RunDirectory, *batches: Any) -> None:
        extend(self, *batches)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(RunDirectory, "extend", stopped)
    with pytest.raises(synth.Stopped, match="run this again to continue"):
        synth.mix(target, [(OLD, 0.01)], output=tmp_path / "parts", progress=synth.SILENT)
    monkeypatch.undo()
    parts = synth.mix(target, [(OLD, 0.01)], output=tmp_path / "parts", progress=synth.SILENT)
    assert list(parts) == list(whole) and len(parts) == 3030
