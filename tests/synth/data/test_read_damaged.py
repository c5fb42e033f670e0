"""Sources that are missing, damaged or no data sets: each is told in one line, or harmless."""

import json
import os
import random
import shutil
from pathlib import Path

import pytest

from synth.data.files.sources import hub_name
from synth.data.read import open_rows, open_source
from synth.errors import UsageError
from tests.synth.data.sources import FORMS, TABLE, complaint, records, write


def test_missing(tmp_path: Path) -> None:
    write(tmp_path / "rows.jsonl")
    assert complaint(tmp_path / "row.jsonl").endswith(
        f"row.jsonl does not exist; did you mean {tmp_path / 'rows.jsonl'}?"
    )
    assert "there is no directory" in complaint(tmp_path / "nowhere" / "rows.jsonl")
    assert complaint(tmp_path / "xyz").endswith("xyz does not exist; there are: rows.jsonl")
    (tmp_path / "link.jsonl").symlink_to("nothing.jsonl")
    assert complaint(tmp_path / "link.jsonl").endswith("link.jsonl is a link to nothing.jsonl, which does not exist")
    assert hub_name("hf://datasets/org/name") == hub_name("org/name")


def test_unknown(tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("hello")
    assert "known suffixes: .jsonl" in complaint(tmp_path / "rows.txt")
    assert "is not a data set" in complaint(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"goal": "x"}')
    message = complaint(tmp_path / "rows.jsonl")
    assert "rows.jsonl: no conversation recognised in the columns goal (string)" in message


def test_damaged_directory(tmp_path: Path) -> None:
    good = write(tmp_path / "good")
    shutil.copytree(good, bad := tmp_path / "bad")
    shard = bad / "data-00000.arrow"
    content = shard.read_bytes()
    for size in (0, 4, 100, len(content) // 2, len(content) - 9, len(content) - 8, len(content) - 1):
        shard.write_bytes(content[:size])  # 8 bytes short is cut between two batches
        assert f"{shard} is damaged or cut short" in complaint(bad), size
    shard.unlink()
    assert complaint(bad) == f"{shard} is missing"
    (bad / "state.json").write_text("{")
    assert "state.json is damaged" in complaint(bad)
    (bad / "state.json").write_text("{}")
    assert "state.json does not list the data files" in complaint(bad)


@pytest.mark.parametrize("name", ["rows.arrow", "stream.arrow", "rows.parquet"])
def test_damaged_bytes_are_found_or_harmless(tmp_path: Path, name: str) -> None:
    FORMS[name](tmp_path / name)
    content = (tmp_path / name).read_bytes()
    draw = random.Random(0)
    found = 0
    for _ in range(100):
        changed = bytearray(content)
        for _ in range(20):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        (tmp_path / name).write_bytes(changed)
        try:
            records(tmp_path / name)
        except UsageError:
            found += 1
    assert found > 50


@pytest.mark.parametrize("name", ["rows.arrow", "stream.arrow"])
def test_a_file_that_is_damaged_after_it_was_read(tmp_path: Path, name: str) -> None:
    """What was found valid is not validated again, as long as it is the same file."""
    FORMS[name](tmp_path / name)
    rows = open_rows(str(tmp_path / name))
    assert sum(batch.num_rows for batch in rows.batches()) == sum(batch.num_rows for batch in rows.batches()) == 100
    content = (tmp_path / name).read_bytes()
    word = TABLE["messages"][0][0]["content"].as_py().encode()
    (tmp_path / name).write_bytes(content.replace(word, b"\xff" * len(word), 1))
    with pytest.raises(UsageError, match="damaged or cut short"):
        list(rows.batches())


def test_what_is_no_arrow_or_parquet_file(tmp_path: Path) -> None:
    for name in ("rows.arrow", "rows.parquet"):
        for content in (b"", b"hello, this is text and nothing else"):
            (tmp_path / name).write_bytes(content)
            assert "is damaged or cut short" in complaint(tmp_path / name)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """Neither waited for, nor read without end."""
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "device.csv").symlink_to("/dev/zero")
    (tmp_path / "set").mkdir()
    os.mkfifo(tmp_path / "set" / "data-00000.arrow")
    (tmp_path / "set" / "state.json").write_text('{"_data_files": [{"filename": "data-00000.arrow"}]}')
    for name in ("pipe.jsonl", "device.csv", "set"):
        with pytest.raises(UsageError, match="is no file"):
            open_source(str(tmp_path / name))


@pytest.mark.parametrize("name", ["../secret.arrow", "/etc/passwd", "a/../../b.arrow", "a\0b", "\ud800", 5, None])
def test_a_data_set_lists_files_of_its_own(tmp_path: Path, name: object) -> None:
    (tmp_path / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    with pytest.raises(UsageError, match=r"state\.json"):
        open_source(str(tmp_path))


def test_splits_of_a_damaged_directory(tmp_path: Path) -> None:
    damaged: list[object] = [None, [], "train", [1, None], {}]
    for splits in damaged:
        (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": splits}))
        with pytest.raises(UsageError, match="several data sets"):
            open_source(str(tmp_path))


def test_a_column_whose_name_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"question,a\xe2b\n1,2\n")
    with pytest.raises(UsageError, match="name of a column is not UTF-8"):
        list(open_source(str(tmp_path / "a.csv")).batches())


def test_a_column_whose_name_holds_a_null_character(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"question": "q", "answer": "a", "b\\u0000c": 1}\n{"b": 1}\n')
    with pytest.raises(UsageError, match="null character"):
        open_source(str(tmp_path / "a.jsonl"))
