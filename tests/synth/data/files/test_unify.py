"""Batches of files that were written separately, in one schema."""

from pathlib import Path

import pyarrow as pa

from synth.data.files.unify import conformed, one_schema


def test_a_slice_of_objects_with_values_that_are_all_null(tmp_path: Path) -> None:
    """Arrow's cast of one to its own type makes a damaged array."""
    kind = pa.struct([("a", pa.null()), ("x", pa.int64())])
    batch = pa.record_batch({"s": pa.array([{"x": number} for number in range(6)], kind)}).slice(2, 3)
    wider = pa.schema([("s", pa.struct([*kind, pa.field("y", pa.string())])), ("t", pa.int64())])
    schema = one_schema([(tmp_path / "one", batch.schema), (tmp_path / "two", wider)])
    made = conformed(batch, schema, tmp_path / "one")
    made.validate(full=True)
    assert made.column("s").to_pylist() == [{"a": None, "x": number, "y": None} for number in (2, 3, 4)]
