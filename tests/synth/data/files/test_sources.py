"""Folders, patterns, compressed files, and files whose columns differ."""

import bz2
import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from synth.data.read import open_rows, open_source
from synth.data.row import MESSAGES
from synth.errors import UsageError

ROW = {"prompt": "a", "completion": "b"}


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as file:
        file.write(content)
    return bytes(sink.getvalue())


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstd,
    ".bz2": bz2.compress,
}


def put(path: Path, *rows: dict[str, Any]) -> Path:
    """Rows in the format that the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"\.(gz|zst|bz2)$", "", path.name)
    if name.endswith(".parquet"):
        parquet.write_table(pa.Table.from_pylist(list(rows)), path)
        return path
    if name.endswith(".arrow"):
        table = pa.Table.from_pylist(list(rows))
        with pa.ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table)
        return path
    text = json.dumps(rows) if name.endswith(".json") else "".join(json.dumps(row) + "\n" for row in rows)
    if name.endswith(".csv"):
        text = "\n".join([",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]) + "\n"
    path.write_bytes(PACKED[path.name.removeprefix(name)](text.encode()))
    return path


def prompts(source: Path | str) -> list[str]:
    return [row["messages"][0]["content"] for batch in open_rows(str(source)).batches() for row in batch.to_pylist()]


def complaint(source: Path | str) -> str:
    with pytest.raises(UsageError) as caught:
        prompts(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv"])
@pytest.mark.parametrize("packing", [".gz", ".zst", ".bz2"])
def test_compressed_files(tmp_path: Path, suffix: str, packing: str) -> None:
    path = put(tmp_path / f"rows{suffix}{packing}", *[ROW] * 500)
    assert prompts(path) == ["a"] * 500
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert str(path) in complaint(path)
    path.write_bytes(whole + whole if suffix == ".jsonl" else whole)  # as `cat` joins them
    assert len(prompts(path)) == (1000 if suffix == ".jsonl" else 500)
    plain = tmp_path / f"named{suffix}"
    plain.write_bytes(whole)  # what a program that unpacks nothing has saved without the suffix
    assert len(prompts(plain)) == 500


@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson", ".json", ".jsonl.gz", ".parquet", ".arrow", ".csv"])
def test_a_folder_of_files(tmp_path: Path, suffix: str) -> None:
    for name in ("b", "a"):
        put(tmp_path / "set" / f"{name}{suffix}", ROW | {"prompt": name})
    (tmp_path / "set" / "README.md").write_text("hello")
    (tmp_path / "set" / "dataset_infos.json").write_text("{}")
    (tmp_path / "set" / ".cache").mkdir()
    put(tmp_path / "set" / ".cache" / f"c{suffix}", ROW)
    assert prompts(tmp_path / "set") == ["a", "b"]
    assert prompts(f"{tmp_path}/set/*{suffix}") == ["a", "b"]
    assert prompts(f"{tmp_path}/**/b{suffix}") == ["b"]


def test_a_folder_as_the_hub_lays_it(tmp_path: Path) -> None:
    for part in range(2):
        put(tmp_path / "data" / f"train-{part:05d}-of-00002.parquet", ROW | {"prompt": f"{part}"})
    assert prompts(tmp_path) == ["0", "1"]
    put(tmp_path / "data" / "test-00000-of-00001.parquet", ROW)
    said = complaint(tmp_path)
    assert f"holds several splits: test, train; name one, as in '{tmp_path}/data/train*.parquet'" in said
    assert prompts(said.rpartition("'")[0].rpartition("'")[2]) == ["0", "1"]
    put(tmp_path / "more" / "train-00000-of-00001.parquet", ROW)
    assert f"holds several data sets: ., more; name one, as in {tmp_path}/more" in complaint(tmp_path)
    assert prompts(tmp_path / "more") == ["a"]


def test_splits_in_names_and_folders(tmp_path: Path) -> None:
    for name in (
        "gsm/train.jsonl",
        "gsm/test.jsonl",
        "sub/train/a.jsonl",
        "sub/train/b.jsonl",
        "sub/validation/a.jsonl",
    ):
        put(tmp_path / name, ROW)
    assert complaint(tmp_path / "gsm").endswith(f"splits: test, train; name one, as in {tmp_path}/gsm/train.jsonl")
    assert "splits: train, validation" in complaint(tmp_path / "sub")
    assert prompts(tmp_path / "sub" / "train") == ["a", "a"]


def test_what_is_no_set_of_files(tmp_path: Path) -> None:
    assert "neither state.json nor data files (.jsonl" in complaint(tmp_path)
    assert "no file matches" in complaint(f"{tmp_path}/*.jsonl")
    (tmp_path / "a.txt").write_text("x")
    assert "none of the 1 that do is a data file" in complaint(f"{tmp_path}/*.txt")
    put(tmp_path / "a.jsonl", ROW)
    put(tmp_path / "b.parquet", ROW)
    assert "holds files of several formats, as a.jsonl, b.parquet; name those of one" in complaint(tmp_path)
    assert prompts(f"{tmp_path}/*.jsonl") == ["a"]


def test_lines_of_several_files_are_named(tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl", ROW)
    (tmp_path / "b.jsonl").write_text('{"prompt": "x"}\n{"prompt": "y",}\n')
    assert complaint(tmp_path).startswith(f"{tmp_path}/b.jsonl, line 2: not JSON")


def shards(tmp_path: Path, *columns: pa.Array, name: str = "completion") -> str:
    for number, column in enumerate(columns):
        table = pa.table({"prompt": ["a"] * len(column), name: column})
        parquet.write_table(table, tmp_path / f"{number}.parquet")
    return str(tmp_path)


TURNS = [{"role": "user", "content": "q"}]


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        (pa.array(["b"]), pa.nulls(1), pa.string()),
        (pa.nulls(1), pa.array(["b"]), pa.string()),
        (pa.array(["b"]), pa.array(["b"], pa.large_string()), pa.large_string()),
        (pa.array(["b"]), pa.array(["b"]).dictionary_encode(), pa.string()),
        (pa.array(["b"], pa.string_view()), pa.array(["b"]), pa.string()),
        (pa.array([1], pa.int8()), pa.array([2], pa.int64()), pa.int64()),
        (pa.array([1], pa.int32()), pa.array([2.5]), pa.float64()),
        (pa.array([["b"]]), pa.array([[]], pa.list_(pa.null())), pa.list_(pa.string())),
        (pa.array([["b"]]), pa.array([["b"]], pa.large_list(pa.string())), pa.large_list(pa.string())),
        (
            pa.array([TURNS], MESSAGES),
            pa.array([TURNS], pa.list_(pa.struct([("content", pa.string()), ("role", pa.string())]))),
            MESSAGES,
        ),
        (
            pa.array([{"x": 1}], pa.struct([("x", pa.int8())])),
            pa.array([{"y": "z"}], pa.struct([("y", pa.string())])),
            pa.struct([("x", pa.int8()), ("y", pa.string())]),
        ),
    ],
)
def test_types_are_promoted(tmp_path: Path, one: pa.Array, other: pa.Array, kind: pa.DataType) -> None:
    rows = open_source(shards(tmp_path, one, other, name="x"))
    assert rows.schema.field("x").type == kind
    table = pa.Table.from_batches(rows.batches(), rows.schema)
    table.validate(full=True)
    expected = [*one.to_pylist(), *other.to_pylist()]
    if pa.types.is_struct(kind):
        expected = [dict.fromkeys(("x", "y")) | value for value in expected]
    assert table["x"].to_pylist() == expected


def test_a_missing_column_is_null(tmp_path: Path) -> None:
    put(tmp_path / "a.parquet", ROW)
    put(tmp_path / "b.parquet", {"prompt": "c", "more": [1]})
    found = [row for batch in open_source(str(tmp_path)).batches() for row in batch.to_pylist()]
    assert found == [ROW | {"more": None}, {"prompt": "c", "completion": None, "more": [1]}]


def test_types_that_do_not_go_together(tmp_path: Path) -> None:
    source = shards(tmp_path, pa.array(["b"]), pa.nulls(1), pa.array([7]))
    assert complaint(source).startswith(
        f"column 'completion' holds string in {source}/0.parquet and int64 in {source}/2.parquet: "
    )
    shards(tmp_path, pa.array([2**53 + 1]), pa.array([1.5]), pa.array([1.5]))
    assert "0.parquet: column 'completion' holds int64, with the other files double, and a value does" in complaint(
        source
    )
