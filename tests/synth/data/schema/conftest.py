"""Ways to write conversations."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.synth.data.schema.conversations import Write, lines


@pytest.fixture(params=["json", "text", "parquet"])
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Write:
    """Writes conversations as objects of a JSON file, as JSON text in one, or as a Parquet column."""

    def written(*conversations: Any) -> str:
        rows = [{"messages": turns} for turns in conversations]
        if request.param == "parquet":
            try:
                table = pa.Table.from_pylist(rows)
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                pytest.skip("a column of Parquet has one type")
            parquet.write_table(table, path := str(tmp_path / "rows.parquet"))
            return path
        if request.param == "text":
            rows = [{"messages": json.dumps(turns)} for turns in conversations]
        return lines(tmp_path / "rows.jsonl", *rows)

    return written
