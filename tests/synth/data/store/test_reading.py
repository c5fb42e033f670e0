"""Sets elsewhere are read as those on this machine, file by file."""

import gzip
import json
from pathlib import Path
from typing import Any

import datasets
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synth.data.files.names import short_name
from synth.data.prompts import open_prompts
from synth.data.read import open_rows, open_source
from synth.data.store import cache
from synth.data.store.cache import CACHE
from synth.errors import UsageError
from tests.conftest import Here
from tests.synth.data.store.conftest import Put

ROWS = [{"question": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(40)]


def written(folder: Path, kind: str) -> Path:
    """The rows in one of the forms that people have them in."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    table = pa.Table.from_pylist(ROWS)
    match kind:
        case "jsonl":
            (folder / "train.jsonl").write_bytes(lines)
            return folder / "train.jsonl"
        case "packed":
            (folder / "train.jsonl.gz").write_bytes(gzip.compress(lines))
            return folder / "train.jsonl.gz"
        case "array":
            (folder / "train.json").write_text(json.dumps(ROWS))
            return folder / "train.json"
        case "csv":
            (folder / "train.csv").write_text(
                "".join(
                    f"{row['question']},{row['answer']}\n"
                    for row in [{"question": "question", "answer": "answer"}, *ROWS]
                )
            )
            return folder / "train.csv"
        case "dataset":
            datasets.Dataset.from_list(ROWS).save_to_disk(str(folder / "set"), num_shards=3)
            return folder / "set"
        case _:
            for number in range(4):
                pq.write_table(table.slice(10 * number, 10), folder / f"train-{number:05d}-of-00004.parquet")
            return folder if kind == "folder" else folder / "train-*.parquet"


def rows_of(source: str) -> list[dict[str, Any]]:
    return [row for batch in open_rows(source).batches() for row in batch.to_pylist()]


@pytest.mark.parametrize("kind", ["jsonl", "packed", "array", "csv", "dataset", "folder", "pattern"])
def test_every_form_is_read_as_it_is_here(kind: str, bucket: str, tmp_path: Path, put: Put) -> None:
    local = written(tmp_path / "set", kind)
    put(tmp_path / "set", f"{bucket}/set")
    there = f"{bucket}/{local.relative_to(tmp_path)}"
    assert rows_of(there) == rows_of(str(local))
    assert open_prompts(open_rows(there)).fingerprint == open_prompts(open_rows(str(local))).fingerprint
    assert open_rows(there).source == there
    assert short_name(there) == "set"


def test_files_of_this_machine_may_have_an_address(tmp_path: Path) -> None:
    local = written(tmp_path, "jsonl")
    assert rows_of(f"file://{local}") == rows_of(str(local))


def test_a_set_larger_than_the_disk_is_read_file_by_file(
    bucket: str, tmp_path: Path, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put(written(tmp_path / "set", "folder"), bucket)
    monkeypatch.setattr(cache, "MOST_BYTES", 1)
    rows = open_rows(folder)
    before = CACHE.fetched
    assert rows.schema.names[:1] == ["messages"] and CACHE.fetched == before  # the schema is read of the files' ends
    for _ in range(2):
        found = [row for batch in rows.batches() for row in batch["reference"].to_pylist()]
        assert found == [row["answer"] for row in ROWS]
        assert len(CACHE) <= cache.KEPT
    again = CACHE.fetched
    monkeypatch.setattr(cache, "MOST_BYTES", 2**30)
    for _ in range(3):
        assert sum(batch.num_rows for batch in rows.batches()) == 40
    assert CACHE.fetched <= again + 4  # what there is room for is fetched once


def test_a_file_that_is_replaced_meanwhile_is_told_of(
    bucket: str, tmp_path: Path, put: Put, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "MOST_BYTES", 1)
    monkeypatch.setattr(cache, "KEPT", 1)
    rows = open_source(put(written(tmp_path / "set", "folder"), bucket))
    assert sum(batch.num_rows for batch in rows.batches()) == 40
    pq.write_table(pa.Table.from_pylist(ROWS[10:20]), tmp_path / "other.parquet")
    put(tmp_path / "other.parquet", f"{bucket}/train-00000-of-00004.parquet")
    with pytest.raises(UsageError, match=r"train-00000-of-00004\.parquet has changed since it was first looked at"):
        list(rows.batches())


def test_what_is_not_there_is_told_in_one_line(bucket: str, tmp_path: Path, put: Put) -> None:
    put(written(tmp_path / "set", "jsonl"), f"{bucket}/train.jsonl")
    for source, said in {
        f"{bucket}/trian.jsonl": f"{bucket}/trian.jsonl does not exist; there are: train.jsonl",
        "s3://no-such-bucket/rows": "s3://no-such-bucket/rows does not exist: there is no s3://no-such-bucket",
        f"{bucket}/*.parquet": "no file matches",
        "gs://bucket/rows.jsonl": "gs:// needs the package gcsfs: pip install gcsfs",
        "az://box/rows.jsonl": "az:// needs the package adlfs: pip install adlfs",
        "ipfsx://rows": "ipfsx:// is no kind of address that fsspec knows",
    }.items():
        with pytest.raises(UsageError) as error:
            open_source(source)
        assert said in str(error.value) and "\n" not in str(error.value)


def test_secrets_in_an_address_are_not_told(here: Here) -> None:
    done = here("show", "http://me:pass-word@127.0.0.1:1/rows.jsonl?X-Amz-Signature=abc123&token=hf_secretsecret")
    assert done.returncode == 2
    assert "http://…@127.0.0.1:1/rows.jsonl?…" in done.stderr
    assert not any(secret in done.stderr for secret in ("pass-word", "abc123", "hf_secret"))


def test_damage_is_told_of_by_its_address() -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/damaged/rows.parquet", b"PAR1 and no more")
    with pytest.raises(UsageError, match=r"memory://damaged/rows\.parquet is damaged or cut short"):
        open_source("memory://damaged/rows.parquet")
    fs.pipe_file("/damaged/rows.jsonl", b'{"question": 1\n')
    with pytest.raises(UsageError, match=r"memory://damaged/rows\.jsonl, line 1: not JSON"):
        open_source("memory://damaged/rows.jsonl")


def test_show_and_report_look_at_them(bucket: str, tmp_path: Path, put: Put, here: Here) -> None:
    source = put(written(tmp_path / "set", "dataset"), bucket)
    shown = here("show", source, "-n", 1)
    assert shown.returncode == 0 and "What is 0 + 0?" in shown.stdout
    made = here("report", source, "-o", tmp_path / "page.html")
    assert made.returncode == 0 and "40 rows" in made.stderr
