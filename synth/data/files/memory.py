"""Rows in memory as a source: a temporary file that is called by what it is."""

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

_names: dict[str, str] = {}
"""What the temporary files are called, by their paths."""


@contextmanager
def rows_in_memory(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The path of a file of rows, which can be read any number of times until this ends."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", prefix="synth-", encoding="utf-8") as file:
        count = 0
        for row in rows:
            file.write(json.dumps(dict(row), ensure_ascii=False, default=str) + "\n")
            count += 1
        file.flush()
        _names[file.name] = f"in memory, {count:,} rows"
        try:
            yield file.name
        finally:
            del _names[file.name]


def called(source: str) -> str:
    """What a source is called in messages and records: the same for the same rows in memory, whenever they are read."""
    return _names.get(source, source)
