import io
import json
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from synth.data import write
from synth.data.files import encode
from synth.data.row import BASE, MESSAGES
from synth.data.write import finish_dataset_dir, open_writer, replace_text, write_shard
from synth.errors import UsageError

MESSAGE = [{"role": "user", "content": 'Grüß "Gott" \u2028\n😀\x01'}]
SCHEMA = BASE.append(pa.field("score", pa.float32())).append(pa.field("ids", pa.list_(pa.int32())))


def batch(*records: dict[str, Any]) -> pa.RecordBatch:
    rows = [dict.fromkeys(SCHEMA.names) | {"id": "a", "messages": MESSAGE} | record for record in records]
    return pa.RecordBatch.from_pylist(rows, schema=SCHEMA)


def write_rows(target: Path, *batches: pa.RecordBatch, force: bool = False) -> None:
    with open_writer(str(target), SCHEMA, force=force) as writer:
        for item in batches:
            writer.write(item)
    assert writer.rows == sum(item.num_rows for item in batches)


def test_json_lines(tmp_path: Path) -> None:
    write_rows(
        tmp_path / "rows.jsonl",
        batch({"score": 0.1, "ids": [1, 2]}, {"score": None, "ids": []}),
        batch({"method": "m", "samples": 3, "logprob": -1.5}, {}),
    )
    text = (tmp_path / "rows.jsonl").read_text(encoding="utf-8")
    assert 'Grüß \\"Gott\\" \u2028\\n😀\\u0001' in text
    lines = text.removesuffix("\n").split("\n")
    assert [json.loads(line) for line in lines] == [
        {"id": "a", "messages": MESSAGE, "score": 0.1, "ids": [1, 2]},
        {"id": "a", "messages": MESSAGE, "score": None, "ids": []},
        # a column of ours is left out where the whole batch has nothing in it; others never
        {"id": "a", "messages": MESSAGE, "method": "m", "samples": 3, "logprob": -1.5, "score": None, "ids": None},
        {"id": "a", "messages": MESSAGE, "method": None, "samples": None, "logprob": None, "score": None, "ids": None},
    ]


def test_a_row_without_anything_is_still_a_line(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", pa.RecordBatch.from_pylist([{}, {}], schema=SCHEMA))
    with open_writer(str(tmp_path / "null.jsonl"), pa.schema({"messages": MESSAGES})) as writer:
        writer.write(pa.RecordBatch.from_pylist([{}, {}], schema=pa.schema({"messages": MESSAGES})))
    assert (tmp_path / "rows.jsonl").read_text() == '{"score":null,"ids":null}\n' * 2
    assert (tmp_path / "null.jsonl").read_text() == '{"messages":null}\n' * 2


def test_json_lines_hold_no_bytes(tmp_path: Path) -> None:
    schema = pa.schema({"image": pa.struct({"data": pa.binary()})})
    with pytest.raises(UsageError, match=r"column 'image' .* write \.parquet"):
        open_writer(str(tmp_path / "rows.jsonl"), schema)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("limit", [64 * 2**20, 1])
def test_parquet(tmp_path: Path, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "ROW_GROUP_BYTES", limit)
    write_rows(tmp_path / "rows.parquet", batch({}, {"score": 1.0}), batch({"method": "m"}))
    file = parquet.ParquetFile(tmp_path / "rows.parquet")
    assert file.num_row_groups == (2 if limit == 1 else 1)
    assert file.read().equals(pa.Table.from_batches([batch({}, {"score": 1.0}), batch({"method": "m"})]))


def test_arrow_file_is_memory_mappable(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.arrow", batch({}, {}), batch({}))
    before = pa.total_allocated_bytes()
    table = pa.ipc.open_file(pa.memory_map(str(tmp_path / "rows.arrow"))).read_all()
    assert table.equals(pa.Table.from_batches([batch({}, {}), batch({})]))
    assert pa.total_allocated_bytes() - before < 1000


@pytest.mark.parametrize("rows", [0, 5])
def test_directory_is_what_datasets_loads(tmp_path: Path, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(write, "SHARD_BYTES", 1)
    batches = [batch({"id": str(index)}, {}) for index in range(rows)]
    write_rows(tmp_path / "rows", *batches)
    assert len(list((tmp_path / "rows").glob("data-*.arrow"))) == max(1, rows)
    loaded = datasets.load_from_disk(tmp_path / "rows")
    assert loaded.to_list() == [row for item in batches for row in item.to_pylist()]
    assert sorted(file.name for file in (tmp_path / "rows").glob("*.json")) == ["dataset_info.json", "state.json"]


def test_directory_describes_itself_as_datasets_does(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    scalars = [pa.null(), pa.bool_(), pa.int8(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.string()]
    scalars += [
        pa.large_string(),
        pa.binary(),
        MESSAGES,
        pa.large_list(pa.int32()),
        pa.struct({"a": pa.list_(pa.int8())}),
    ]
    table = pa.schema([(f"c{index}", kind) for index, kind in enumerate(scalars)]).empty_table()
    with open_writer(str(tmp_path / "ours"), table.schema):
        pass
    datasets.Dataset(table).save_to_disk(tmp_path / "theirs")
    ours, theirs = (
        {name: json.loads((tmp_path / side / name).read_text()) for name in ("dataset_info.json", "state.json")}
        for side in ("ours", "theirs")
    )
    assert ours["dataset_info.json"] == theirs["dataset_info.json"]
    assert ours["state.json"].keys() == theirs["state.json"].keys()
    assert len(ours["state.json"].pop("_fingerprint")) == len(theirs["state.json"].pop("_fingerprint"))
    assert ours["state.json"].pop("_data_files") == [{"filename": "data-00000.arrow"}]
    theirs["state.json"].pop("_data_files")
    assert ours["state.json"] == theirs["state.json"]


def test_types_without_a_name_are_left_to_datasets(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    table = pa.table({"when": pa.array([0], pa.timestamp("us", "UTC"))})
    with open_writer(str(tmp_path / "rows"), table.schema) as writer:
        writer.write(table.to_batches()[0])
    assert "features" not in json.loads((tmp_path / "rows" / "dataset_info.json").read_text())
    assert datasets.load_from_disk(tmp_path / "rows").features["when"].dtype == "timestamp[us, tz=UTC]"


def test_shards_land_whole_and_are_listed(tmp_path: Path) -> None:
    write_shard(tmp_path / "data-00000.arrow", [batch({}), batch({})], SCHEMA)
    finish_dataset_dir(tmp_path, ["data-00000.arrow"], SCHEMA)
    assert pa.ipc.open_stream(tmp_path / "data-00000.arrow").read_all().num_rows == 2
    first = (tmp_path / "state.json").read_text()

    def broken() -> Any:
        yield batch({})
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        write_shard(tmp_path / "data-00001.arrow", broken(), SCHEMA)
    names = ["data-00000.arrow", "dataset_info.json", "state.json"]
    assert sorted(item.name for item in tmp_path.iterdir()) == names
    finish_dataset_dir(tmp_path, ["data-00000.arrow"], SCHEMA)
    assert (tmp_path / "state.json").read_text() != first  # `datasets` caches by the fingerprint


def test_replace_text(tmp_path: Path) -> None:
    replace_text(tmp_path / "note", "one")
    replace_text(tmp_path / "note", "twö")
    assert (tmp_path / "note").read_text(encoding="utf-8") == "twö"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet", "rows.arrow", "rows"])
def test_nothing_is_there_before_the_end_or_after_a_failure(tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    with open_writer(str(target), SCHEMA) as writer:
        writer.write(batch({}))
        assert not target.exists()
    assert target.exists()
    with pytest.raises(KeyboardInterrupt), open_writer(str(target), SCHEMA, force=True) as writer:
        writer.write(batch({}, {}))
        raise KeyboardInterrupt
    assert [item.name for item in tmp_path.iterdir()] == [name]
    write_rows(target, batch({}, {}), force=True)
    assert [item.name for item in tmp_path.iterdir()] == [name]
    assert stat.S_IMODE(target.stat().st_mode) & 0o444 == 0o444 & ~_umask()


def _umask() -> int:
    os.umask(mask := os.umask(0))
    return mask


def test_refused(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", batch({}))
    write_rows(tmp_path / "rows", batch({}))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    (tmp_path / "plain").touch()

    def complaint(name: str, **given: Any) -> str:
        with pytest.raises(UsageError) as caught:
            open_writer(str(tmp_path / name), SCHEMA, **given)
        return str(caught.value)

    assert "`force`" in complaint("rows.jsonl")
    assert "`force`" in complaint("rows")
    assert "holds other things" in complaint("other", force=True)
    assert "is a file" in complaint("plain", force=True)
    assert "'.json' is an unknown format" in complaint("new.json")
    assert "cannot write" in complaint("plain/rows.jsonl")
    for name, source in (("rows.jsonl", "rows.jsonl"), ("rows", "rows"), ("rows/x", "rows"), ("rows", "rows/../rows")):
        assert "is the input itself" in complaint(name, source=str(tmp_path / source), force=True)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["other", "plain", "rows", "rows.jsonl"]


def test_an_empty_directory_and_a_version_number_are_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    write_rows(Path("."), batch({}))
    write_rows(tmp_path / "new" / "qwen2.5", batch({}))
    assert (tmp_path / "empty" / "state.json").exists()
    assert (tmp_path / "new" / "qwen2.5" / "state.json").exists()


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet", "rows.arrow", "rows"])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    """The kernel's limit on a file's size fails writes as a full disk does."""
    code = (
        "import os, sys, resource, pyarrow as pa; from synth.data.write import open_writer\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "batch = pa.record_batch({'x': [os.urandom(500).hex() for _ in range(1000)]})\n"
        "with open_writer(sys.argv[1], batch.schema) as writer: writer.write(batch)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], capture_output=True, text=True)
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"synth.errors.RunError: cannot write {tmp_path / name}: File too large")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="Permission denied"):
        open_writer(str(tmp_path / "rows.jsonl"), SCHEMA)


def test_a_format_that_cannot_hold_the_rows(tmp_path: Path) -> None:
    schema = pa.schema({"x": pa.struct([])})
    with pytest.raises(UsageError, match="cannot hold these rows"):
        open_writer(str(tmp_path / "rows.parquet"), schema)
    assert list(tmp_path.iterdir()) == []


def test_standard_output_is_there_after_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(_Raw(raw), 2**20)))
    with open_writer(None, SCHEMA) as writer:
        for count in (1, 2):
            writer.write(batch({}))
            assert raw.getvalue().count(b"\n") == count


class _Raw(io.RawIOBase):
    def __init__(self, sink: io.BytesIO) -> None:
        self._sink = sink

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._sink.write(bytes(data))


def test_a_reader_that_goes_away_ends_the_run_quietly() -> None:
    code = (
        "import pyarrow as pa; from synth.data.write import open_writer\n"
        "batch = pa.record_batch({'x': ['y' * 1000] * 1000})\n"
        "try:\n"
        "    with open_writer(None, batch.schema) as writer:\n"
        "        while True: writer.write(batch)\n"
        "except BrokenPipeError: pass"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(300) == 0


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    one = pa.record_batch({"x": [os.urandom(500).hex() for _ in range(10_000)]})  # 10 MB
    for name in ("rows.jsonl", "rows.parquet", "rows.arrow", "rows"):
        with open_writer(str(tmp_path / name), one.schema) as writer:
            for _ in range(3):
                writer.write(one)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            for _ in range(20):
                writer.write(one)
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown < 150 * 1024, name  # KiB; the rows are 200 MB more
