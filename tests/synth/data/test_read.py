"""Rows from files, directories, the Hub and standard input."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from synth.data import read
from synth.data.files import tables as formats
from synth.data.read import faults_of, open_rows, open_source
from synth.data.row import BASE
from synth.data.write import finish_dataset_dir, open_writer
from synth.errors import UsageError
from synth.generation.documents import open_documents
from tests.synth.data.sources import FORMS, TABLE, complaint, ipc_stream, records, write

DATA = Path(os.environ.get("SYNTH_TEST_DATA", Path(__file__).parents[3].parent / "shared" / "data"))

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no data sets in {DATA} (SYNTH_TEST_DATA)")


@pytest.mark.parametrize("name", FORMS)
def test_every_form_reads_the_same(tmp_path: Path, name: str) -> None:
    FORMS[name](tmp_path / name)
    rows = open_rows(str(tmp_path / name))
    assert rows.schema == TABLE.schema
    for _ in range(2):
        assert pa.Table.from_batches(rows.batches(), rows.schema).equals(TABLE)
    for limit in (0, 7, 30, 31, 1000):
        assert sum(batch.num_rows for batch in rows.batches(limit)) == min(limit, 100)


def test_directories_of_datasets(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset(TABLE)
    data.save_to_disk(tmp_path / "one", num_shards=3)
    assert records(tmp_path / "one") == TABLE.to_pylist()
    datasets.DatasetDict(train=data).save_to_disk(tmp_path / "only")
    assert records(tmp_path / "only") == TABLE.to_pylist()
    datasets.DatasetDict(train=data, test=data).save_to_disk(tmp_path / "two")
    assert "train, test" in complaint(tmp_path / "two")
    assert records(tmp_path / "two" / "test") == TABLE.to_pylist()


def test_directory_of_parquet_files(tmp_path: Path) -> None:
    for index in range(3):
        write(tmp_path / f"train-{index:05d}.parquet", TABLE.slice(index * 40, 40))
    assert records(tmp_path) == TABLE.to_pylist()
    parquet.write_table(pa.table({"x": [1]}), tmp_path / "train-00003.parquet")
    assert "train-00003.parquet: it has no column of those in" in complaint(tmp_path)


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes('\ufeffid,prompt,when\r\n01,"Say ""hi"",\nplease",2020-01-01\r\n2,é,\r\n'.encode())
    assert records(path) == [
        {
            "id": "01",
            "messages": [{"role": "user", "content": 'Say "hi",\nplease'}],
            "reference": None,
            "when": "2020-01-01",
        },
        {"id": "2", "messages": [{"role": "user", "content": "é"}], "reference": None, "when": ""},
    ]
    path.write_text("prompt,prompt\n1,2\n")
    assert "several columns have one name" in complaint(path)
    path.write_text("prompt,x\n1,2\n3\n")
    assert "Row #3: Expected 2 columns, got 1" in complaint(path)
    path.write_bytes(b"prompt,x\n1,\xff\n")
    assert "UTF8" in complaint(path)


@pytest.mark.parametrize(
    ("name", "mark"), [("rows.tsv", "\t"), ("rows.csv", "\t"), ("rows.csv", ";"), ("rows.csv", ",")]
)
def test_what_separates_values(tmp_path: Path, name: str, mark: str) -> None:
    lines = ['"a, b;c"', "prompt", "completion"], ["1", f'"x{mark} ""y"""', "z"]
    (tmp_path / name).write_text("".join(mark.join(line) + "\n" for line in lines))
    [row] = records(tmp_path / name)
    assert [turn["content"] for turn in row["messages"]] == [f'x{mark} "y"', "z"] and row["a, b;c"] == "1"


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv"])
def test_an_empty_file_has_no_rows(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    rows = open_rows(str(tmp_path / name))
    assert rows.schema == pa.schema([BASE.field("messages"), BASE.field("reference")])
    assert list(rows.batches()) == []


def test_rows_of_an_empty_object_are_counted_as_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{}\n{}\n")
    rows = open_rows(str(tmp_path / "rows.jsonl"))
    batch = next(rows.judged())
    assert faults_of(batch) == ["there is nothing in it"] * 2 and batch.column("messages").null_count == 2
    with pytest.raises(UsageError, match="none of its 2 rows can be read"):
        list(rows.readable())
    passages = open_documents(
        open_source(str(tmp_path / "rows.jsonl")), "text", pa.schema({"t": pa.string()}), lambda _, text: [{"t": text}]
    )
    assert [row["t"] for batch in passages.batches() for row in batch.to_pylist()] == ["", ""]


def test_batches_are_slices_of_what_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "BATCH_ROWS", 16)
    ipc_stream(tmp_path / "rows.arrow")  # one batch of 100
    sizes = [batch.num_rows for batch in open_rows(str(tmp_path / "rows.arrow")).batches()]
    assert sizes == [16] * 6 + [4]


@pytest.mark.parametrize("content", ["lines", "array", "stream", "file"])
def test_standard_input(content: str) -> None:
    sink = io.BytesIO()
    if content == "lines":
        sink.write("\n".join(map(json.dumps, TABLE.to_pylist())).encode())
    elif content == "array":
        sink.write(json.dumps(TABLE.to_pylist()).encode())
    else:
        with (pa.ipc.new_stream if content == "stream" else pa.ipc.new_file)(sink, TABLE.schema) as writer:
            writer.write_table(TABLE)
    code = (
        "import json; from synth.data.read import open_rows\nrows = open_rows('-')\n"
        "for _ in range(2): print(json.dumps([row for batch in rows.batches() for row in batch.to_pylist()]))"
    )
    done = subprocess.run([sys.executable, "-c", code], input=sink.getvalue(), capture_output=True, check=True)
    for line in done.stdout.splitlines():
        assert json.loads(line) == TABLE.to_pylist()


def test_a_run_under_way(tmp_path: Path) -> None:
    """Its directory lists the shards that have landed, none at first."""
    path = write(tmp_path / "run")
    (path / "progress.json").write_text("{}")
    rows = open_rows(str(path))
    assert any("still being written" in note for note in rows.notes)
    assert sum(batch.num_rows for batch in rows.batches()) == 100
    finish_dataset_dir(path, [], TABLE.schema)
    assert records(path) == []


def test_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`datasets.load_dataset` reads a local folder as it reads a repository of the Hub."""
    pytest.importorskip("datasets")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    for split in ("train", "test"):
        (tmp_path / "org" / "chat" / split).mkdir(parents=True)
        parquet.write_table(TABLE, tmp_path / "org" / "chat" / split / "0.parquet")
    named = {"path": "org/chat", "name": None, "revision": None, "split": "test"}
    rows = read._hub("org/chat:test", named)
    assert pa.Table.from_batches(rows.batches(), rows.schema).equals(TABLE)
    with pytest.raises(UsageError, match="org/chat has several splits"):
        read._hub("org/chat", named | {"split": None})


def test_hub_out_of_reach() -> None:
    pytest.importorskip("datasets")
    code = "from synth.data.read import open_rows; open_rows('nobody/nothing/config@main:train')"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True
    )
    last = done.stderr.splitlines()[-1]
    assert "UsageError: nobody/nothing/config@main:train is no local file, and cannot be loaded from the" in last


REAL: dict[str, tuple[int, dict[str, str] | None]] = {
    # rows, and how the columns are named (None: a reader of the file's own format is needed)
    "gsm8k/train.jsonl": (7473, {}),
    "gsm8k/test.jsonl": (1319, {}),
    "math500/test.jsonl": (500, {}),
    "mbpp/mbpp.jsonl": (974, {}),
    "humaneval/HumanEval.jsonl": (164, {}),
    "ifeval/prompt_instructions.jsonl": (541, {}),
    "self-instruct/seed_tasks.jsonl": (175, {}),
    "safety-tuned-llamas/safety_only_data_Instructions.json": (2483, {}),
    "safety-tuned-llamas/I-MaliciousInstructions.json": (100, {"prompt_column": "instructions"}),
    "advbench/harmful_behaviors.csv": (520, {"prompt_column": "goal", "reference_column": "target"}),
    "xstest/xstest_prompts.csv": (450, {}),
    "bfcl/BFCL_v4_irrelevance.json": (240, {}),
    "bfcl/BFCL_v4_multiple.json": (200, {}),
    "bfcl/BFCL_v4_simple_python.json": (400, {}),
    "bfcl/possible_answer__BFCL_v4_multiple.json": (200, None),
    "bfcl/possible_answer__BFCL_v4_simple_python.json": (400, None),
}


@needs_data
@pytest.mark.parametrize("name", REAL)
def test_real_files(tmp_path: Path, name: str) -> None:
    count, named = REAL[name]
    path = DATA / name
    if named is None:
        assert "no conversation recognised" in complaint(path)
        rows = open_source(str(path))
    else:
        rows = open_rows(str(path), **named)
    found = [row for batch in rows.batches() for row in batch.to_pylist()]
    assert len(found) == count
    if named is not None:
        assert all(row["messages"][0]["role"] == "user" for row in found)
        assert all(row["messages"][0]["content"].strip() for row in found)
        has_answer = any(row["reference"] for row in found)
        assert has_answer == (
            not name.startswith(("bfcl", "ifeval", "self-instruct", "xstest", "safety-tuned-llamas/I-"))
        )
    for suffix in (".jsonl", ".parquet", ".arrow", ""):
        with open_writer(copy := str(tmp_path / f"copy{suffix}"), rows.schema) as writer:
            for batch in rows.batches():
                writer.write(batch)
        again = open_source(copy) if named is None else open_rows(copy)
        assert [row for batch in again.batches() for row in batch.to_pylist()] == found


@needs_data
def test_real_lines_agree_with_the_json_parser_of_python() -> None:
    for name in ("gsm8k/train.jsonl", "math500/test.jsonl", "mbpp/mbpp.jsonl", "humaneval/HumanEval.jsonl"):
        path = DATA / name
        found = [row for batch in open_source(str(path)).batches() for row in batch.to_pylist()]
        assert found == [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@needs_data
def test_real_tool_definitions_survive() -> None:
    """Free-form objects are text; what a file says about each function is all there."""
    path = DATA / "bfcl/BFCL_v4_simple_python.json"
    found = [row for batch in open_source(str(path)).batches() for row in batch.to_pylist()]
    for row, line in zip(found, path.read_text(encoding="utf-8").splitlines(), strict=True):
        expected = json.loads(line)
        assert (
            json.loads(row["function"][0]["parameters"]["properties"])
            == expected["function"][0]["parameters"]["properties"]
        )
