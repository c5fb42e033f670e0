"""A table, written in every format, and what is read of a source."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from synth.data.read import open_rows
from synth.data.write import open_writer
from synth.errors import UsageError

TABLE = pa.table(
    {
        "id": [f"r{index}" for index in range(100)],
        "messages": [
            [{"role": "user", "content": f"q{index}"}, {"role": "assistant", "content": "a"}] for index in range(100)
        ],
        "method": ["magpie"] * 100,
        "score": [index / 2 for index in range(100)],
    }
)


def write(path: Path, table: pa.Table = TABLE) -> Path:
    with open_writer(str(path), table.schema) as writer:
        for batch in table.to_batches(30):
            writer.write(batch)
    return path


def records(source: Path | str | None, **named: str) -> list[dict[str, Any]]:
    return [
        row
        for batch in open_rows(None if source is None else str(source), **named).batches()
        for row in batch.to_pylist()
    ]


def complaint(source: Path | str, **named: str) -> str:
    """What a user is told."""
    with pytest.raises(UsageError) as caught:
        records(source, **named)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def ipc_stream(path: Path) -> None:
    with pa.ipc.new_stream(path, TABLE.schema) as writer:
        writer.write_table(TABLE)


def feather(path: Path) -> None:
    from pyarrow import feather as arrow_feather

    arrow_feather.write_feather(TABLE, str(path), compression="lz4")


FORMS: dict[str, Callable[[Path], Any]] = {
    "rows": write,
    "rows.parquet": write,
    "rows.jsonl": write,
    "rows.arrow": write,
    "stream.arrow": ipc_stream,
    "rows.feather": feather,
    "rows.ndjson": lambda path: path.write_text("\n".join(map(json.dumps, TABLE.to_pylist()))),
    "rows.json": lambda path: path.write_text(json.dumps(TABLE.to_pylist())),
}
