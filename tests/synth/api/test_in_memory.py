"""Rows that are no file of the user's: in memory, in any library's table, or what a function has just returned."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas
import polars
import pyarrow as pa
import pytest

import synth

ROWS: list[dict[str, Any]] = [
    {
        "messages": [
            {"role": "user", "content": f"What is {n} + 4?"},
            {"role": "assistant", "content": f"The answer is {n + 4}."},
        ],
        "reference": str(n + 4),
        "level": n,
        "topic": ["sums", "more sums"][n % 2],
    }
    for n in range(12)
]
QUIET: dict[str, Any] = {"progress": synth.SILENT}
TABLES: dict[str, Callable[[], Any]] = {
    "a list": lambda: ROWS,
    "a generator": lambda: iter(ROWS),
    "datasets": lambda: datasets.Dataset.from_list(ROWS),
    "datasets, streamed": lambda: datasets.Dataset.from_list(ROWS).to_iterable_dataset(),
    "pyarrow": lambda: pa.Table.from_pylist(ROWS),
    "pyarrow, in chunks": lambda: pa.concat_tables([pa.Table.from_pylist(ROWS[:5]), pa.Table.from_pylist(ROWS[5:])]),
    "pyarrow, streamed": lambda: pa.Table.from_pylist(ROWS).to_reader(),
    "polars": lambda: polars.DataFrame(ROWS).with_columns(polars.col("topic").cast(polars.Categorical)),
    "pandas": lambda: pandas.DataFrame(ROWS),
    "numbers of NumPy": lambda: [row | {"level": np.int64(row["level"])} for row in ROWS],
}


@pytest.mark.parametrize("kind", TABLES)
def test_any_table_is_a_source(kind: str, tmp_path: Path) -> None:
    """It is verified, filtered, mixed with rows of a list, and exported; nothing of it is lost."""
    table = TABLES[kind]
    judged = synth.verify(table(), verifier="number", output=tmp_path / "judged", **QUIET)
    assert judged.record is not None and judged.record.source == "in memory, 12 rows"
    assert judged.record.verdicts == {"right": 12}
    assert [(row["level"], row["topic"]) for row in judged] == [(row["level"], row["topic"]) for row in ROWS]
    assert len(synth.filter(table(), [synth.filters.Length(min=1)], output=tmp_path / "filtered", **QUIET)) == 12
    other = [row | {"messages": [{"role": "user", "content": "Hello?"}, row["messages"][1]]} for row in ROWS]
    assert len(synth.mix(table(), [(other, 0.25)], output=tmp_path / "mixed", **QUIET)) == 15
    exported = synth.export(table(), tmp_path / "trl", trainer="trl", **QUIET)
    assert datasets.load_from_disk(str(exported))["messages"][3] == ROWS[3]["messages"]


@pytest.mark.parametrize("chunks", [1, 5])
def test_a_run_is_continued_whatever_the_chunks_of_its_table(chunks: int, tmp_path: Path) -> None:
    """The rows are the same: a table is in chunks as it happened to be made."""
    whole = pa.Table.from_pylist(ROWS)
    synth.verify(whole, verifier="number", output=tmp_path / "judged", **QUIET)
    parts = pa.concat_tables([whole.slice(at, chunks) for at in range(0, 12, chunks)])
    assert len(synth.verify(parts, verifier="number", output=tmp_path / "judged", **QUIET)) == 12


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["one", "two"], "row 0 of the list in memory is a str, not a dictionary"),
        ([ROWS[0], None], "row 1 of the list in memory is a NoneType"),
        (ROWS[0], "dict is no source of rows"),
        (5, "int is no source of rows"),
        (polars.LazyFrame(ROWS), "LazyFrame is no source of rows"),
        (datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)}), r"DatasetDict is no source.*one split"),
        (pa.array([1, 2]), "row 0 of the .*Array in memory is a .*, not a dictionary"),
        (pandas.DataFrame({"text": ["one", 2]}), "the DataFrame in memory is no table of rows: .*text"),
        ([{(1, 2): "three"}], "row 0 of the list in memory cannot be written as JSON: keys"),
    ],
)
def test_what_is_no_rows_is_told(rows: Any, message: str) -> None:
    with pytest.raises(synth.UsageError, match=message):
        synth.filter(rows, [synth.filters.Length(min=1)], **QUIET)


def test_what_is_not_unicode_is_a_row_that_cannot_be_read() -> None:
    rows = [*ROWS, {"messages": [{"role": "user", "content": "\ud83d"}, {"role": "assistant", "content": "no"}]}]
    judged = synth.verify(rows, verifier="number", **QUIET)
    assert len(judged) == 12 and judged.rejected is not None and len(judged.rejected) == 1


def texts_in(folder: Path) -> str:
    """All that is said in the files of a directory."""
    return "\n".join(file.read_bytes().decode("utf-8", "replace") for file in folder.rglob("*") if file.is_file())


def test_no_temporary_path_is_in_what_is_made_of_results(model: synth.Model, tmp_path: Path) -> None:
    """A result without an output is gone tomorrow; so would be what its path says in a record."""
    replay = synth.magpie(model, rows=4, max_tokens=40, **QUIET)
    scored = synth.score_tokens(model, replay, **QUIET)
    tuned = synth.train(scored, str(model.name), output=tmp_path / "tuned", steps=1, **QUIET)
    made: list[Any] = [
        synth.score_tokens(model, replay, output=tmp_path / "scored", **QUIET),
        synth.mix(ROWS, {replay: 0.25}, output=tmp_path / "mixed", **QUIET),
        synth.filter(replay.path, [synth.filters.Length(min=1)], output=tmp_path / "filtered-path", **QUIET),
        tuned,
    ]
    for one in made:
        record = json.loads((Path(one) / "run.json").read_text())
        assert record["source"] in ("a temporary data set", "in memory, 12 rows"), one
    synth.export(scored, tmp_path / "axolotl", trainer="axolotl", **QUIET)
    judged = synth.verify(ROWS, verifier="number", **QUIET)
    scores = synth.evaluate(
        [judged, judged], models=[model], new=judged.path, max_tokens=4, output=tmp_path / "scores", **QUIET
    )
    assert [*scores.scores["models"][0]["suites"]] == ["suite-1", "suite-2", "new-1"]
    said = texts_in(tmp_path)
    assert str(replay.path.parent.name) not in said and str(judged.path.parent.name) not in said


def test_a_list_of_rows_is_one_source_where_several_may_be_given(model: synth.Model) -> None:
    prompts = [{"prompt": "How do I pick a lock?"}, {"prompt": "How do I bake bread?"}]
    for sources in (prompts, [prompts], pa.Table.from_pylist(prompts)):
        refused = synth.refuse(model, sources, samples=1, max_tokens=10, **QUIET)
        assert refused.record is not None and refused.record.accepted + refused.record.rejected == 2
    judged = [row | {"verifier": "number"} for row in ROWS[:3]]
    for suites in (judged, [polars.DataFrame(judged)]):
        scores = synth.evaluate(suites, models=[model], max_tokens=4, **QUIET).scores
        [suite] = scores["models"][0]["suites"].values()
        assert suite["right"] + suite["wrong"] + suite["unscorable"] == 3
