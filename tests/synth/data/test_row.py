"""Rows as Arrow batches."""

from typing import Any

import pyarrow as pa

from synth.data.row import BASE, WIDE, batch_of


def test_wide_rows_are_what_arrow_makes_of_them() -> None:
    wide = [(f"c{number}", pa.int64() if number % 2 else pa.list_(pa.string())) for number in range(WIDE)]
    schema = pa.schema([*BASE, *wide])
    rows: list[dict[str, Any]] = [{"id": "a", "c1": 1, "c2": ["x", None]}, {"c1": None, "c3": 3, "other": 0}, {}]
    assert batch_of(rows, schema).equals(pa.RecordBatch.from_pylist(rows, schema=schema))
    assert batch_of([], schema).num_rows == 0
    [broken] = batch_of([{"id": "half \ud83d"}], schema)["id"].to_pylist()
    assert broken == "half ?"
