import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from synth.data.files import json_types as json_kinds
from synth.data.files import jsonlines
from synth.data.files.jsonlines import open_json
from synth.data.row import FAULT
from synth.errors import UsageError


def read(path: Path, data: bytes) -> tuple[pa.Schema, list[dict[str, Any]], list[str]]:
    path.write_bytes(data)
    found = open_json([path], "F")
    tables = list(found.batches())
    for batch in tables:
        batch.validate(full=True)
        assert [item for item in batch.schema if item.name != FAULT] == list(found.schema)
    return found.schema, [row for batch in tables for row in batch.to_pylist()], found.mixed


@pytest.fixture(params=[8 * 2**20, 10], ids=["one block", "a block per line"])
def file(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(jsonlines, "BLOCK_BYTES", request.param)
    return tmp_path / "rows.jsonl"


@pytest.mark.parametrize(
    ("lines", "kind", "values"),
    [
        (['{"a": "2020-01-01"}', '{"a": "2020-01-01T10:00:00Z"}'], pa.string(), None),
        (['{"a": 1}', '{"a": 1.5}', '{"a": null}'], pa.float64(), [1.0, 1.5, None]),
        (['{"b": 0}', '{"b": 0}', '{"a": "late"}'], pa.string(), [None, None, "late"]),
        (['{"a": [1]}', '{"a": []}', '{"a": null}'], pa.list_(pa.int64()), [[1], [], None]),
        (['{"a": {"x": 1}}', '{"a": {"y": "é"}}'], None, [{"x": 1, "y": None}, {"x": None, "y": "é"}]),
        (['{"a": 9007199254740993}', '{"a": 1.5}'], pa.string(), ["9007199254740993", "1.5"]),
        (['{"a": [9007199254740993, 1]}', '{"a": [1.5]}'], pa.list_(pa.string()), [["9007199254740993", "1"], ["1.5"]]),
        (['{"a": {"x": -9007199254740993}}', '{"a": {"x": 0.5}}'], None, [{"x": "-9007199254740993"}, {"x": "0.5"}]),
        (['{"a": 9007199254740992}', '{"a": 1.5}'], pa.float64(), [9007199254740992.0, 1.5]),
        (['{"a": 9007199254740993}', '{"a": 7}'], pa.int64(), None),
        (['{"a": Infinity}', '{"a": 2}'], pa.float64(), [float("inf"), 2.0]),
        (['{"a": NaN}', '{"a": 2}'], pa.float64(), [float("nan"), 2.0]),
        (['{"a": 1, "a": 2}'], pa.int64(), [2]),
        (['{"a": "\\ud83d\\ude00"}', '{"a": "\\ud83d"}'], pa.string(), ["😀", "\ufffd"]),
        (['{"a": {}}', '{"a": {}}'], pa.string(), ["{}", "{}"]),
        (['{"a": [null, null]}', '{"a": []}', '{"a": [null]}', '{"a": null}'], pa.list_(pa.null()), None),
        (['{"a": {"x": [[null], [null, null]]}}', '{"a": {"x": [[]]}}'], None, None),
    ],
)
def test_types(file: Path, lines: list[str], kind: pa.DataType | None, values: list[Any] | None) -> None:
    schema, rows, _ = read(file, "\n".join(lines).encode())
    if kind is not None:
        assert schema.field("a").type == kind
    expected = [json.loads(line).get("a") for line in lines] if values is None else values
    assert str([row["a"] for row in rows]) == str(expected)  # as text, since nan differs from itself


def test_values_of_several_kinds_become_text(file: Path) -> None:
    data = b'{"a":1}\n{"a":"x"}\n{"a":[1,{"y":"\xc3\xa9"}]}\n{"a":true}\n{"a":null}\n{"a":2.50}'
    schema, rows, notes = read(file, data)
    assert schema == pa.schema({"a": pa.string()})
    assert [row["a"] for row in rows] == ["1", "x", '[1, {"y": "é"}]', "true", None, "2.5"]
    assert notes == ["a"]


def test_nested_values_of_several_kinds(file: Path) -> None:
    _, rows, notes = read(file, b'{"m":[{"c":"x","n":1}]}\n{"m":[{"c":[{"t":"y"}],"n":1.5}]}\n{"m":[]}')
    assert [row["m"] for row in rows] == [[{"c": "x", "n": 1.0}], [{"c": '[{"t": "y"}]', "n": 1.5}], []]
    assert notes


def test_integers_beyond_64_bits_keep_their_digits(file: Path) -> None:
    _, rows, _ = read(file, b'{"hash":17658364958347593845}\n{"hash":1}')
    assert [row["hash"] for row in rows] == ["17658364958347593845", "1"]


def test_objects_of_no_fixed_keys_become_text(file: Path) -> None:
    values = [{"key": index, **{f"k{index}": index}} for index in range(json_kinds.MANY_KEYS + 1)]
    schema, rows, _ = read(file, "\n".join(json.dumps({"a": value}) for value in values).encode())
    assert schema.field("a").type == pa.string()
    assert [json.loads(row["a"]) for row in rows] == values


@pytest.mark.parametrize("data", [b"", b"\n  \n\r\n", b"[]", b"\xef\xbb\xbf"])
def test_empty(file: Path, data: bytes) -> None:
    schema, rows, _ = read(file, data)
    assert schema.names == []
    assert rows == []


@pytest.mark.parametrize(
    ("data", "values"),
    [
        (b'null\n{"a":1}\n', [None, 1]),
        (b'\n null\n{"a":1}', [None, 1]),
        (b'{"a":1}\nnull\n', [1, None]),
        (b"null", []),
        (b"\xef\xbb\xbfnull\n", []),
    ],
)
def test_a_line_of_null(file: Path, data: bytes, values: list[Any]) -> None:
    """Arrow's parser dies of one before any object."""
    assert [row["a"] for row in read(file, data)[1]] == values


def test_byte_order_mark_line_ends_and_blank_lines(file: Path) -> None:
    _, rows, _ = read(file, b'\xef\xbb\xbf{"a":"x\\r\\n"}\r\n\r\n   \n{"a":"y"}')
    assert rows == [{"a": "x\r\n"}, {"a": "y"}]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a":1}\n{"a":\n', "F, line 2: not JSON"),
        (b'{"a":1}\n\n{"a":2}}\n{"a":3}', "F, line 3: not JSON"),
        (b'{"a":1}\nhello\n', "F, line 2: not JSON"),
        (b'{"a":1}\n[1]\n', "F, line 2: a row is an object, {…}; this is a list"),
        (b'{"a":1}\n{"a":"\xff"}\n', "F, line 2: not UTF-8 (byte 7 of the line); write it anew in UTF-8, as in: iconv"),
        (b'{"a":1}\n{"\xff":1}\n', "F, line 2: not UTF-8"),
        ('{"a":1}'.encode("utf-16"), "F is UTF-16; write it anew in UTF-8, as in: iconv -f UTF-16"),
        (b'[{"a":1},\n {"a":\n}]', "F, line 3: not JSON"),
        (b'[{"a":1},\n{"a":2}', "F, line 2: not JSON"),
        (b'[{"a":1}, 7]', "F, value 2: a row is an object, {…}; this is a number"),
        (b'[{"a":"\xff"}]', "F: not UTF-8 (invalid start byte); write it anew in UTF-8, as in: iconv"),
        (b'{\n"a": 1\n', "F, line 3: not JSON"),
    ],
)
def test_broken(file: Path, data: bytes, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(file, data)
    assert str(caught.value).startswith(message)


TOO_DEEP = r"^F, line 2: nested more than 64 levels deep$"


@pytest.mark.parametrize("levels", [64, 100_000])
@pytest.mark.parametrize(
    ("opening", "closing"),
    [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b""), (b'{"]}":', b"}"), (b'{"\\"]}":', b"}")],
    ids=["lists", "objects", "never closed", "brackets in texts", "quotes in texts"],
)
def test_rows_nested_too_deeply(file: Path, levels: int, opening: bytes, closing: bytes) -> None:
    with pytest.raises(UsageError, match=TOO_DEEP):
        read(file, b'{"z":1}\n{"a":' + opening * levels + b"1" + closing * levels + b"}\n")


@pytest.mark.parametrize("line", [b'{"a":\n', b',"c":{"b":{}\n'], ids=["opened", "also closed"])
def test_rows_nested_too_deeply_over_many_lines(file: Path, line: bytes) -> None:
    with pytest.raises(UsageError, match=r"^F, line 1: not JSON"):
        read(file, b'{"b":1\n' + line * 100_000)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_a_list_nested_too_deeply(file: Path, opening: bytes) -> None:
    with pytest.raises(UsageError, match=TOO_DEEP):
        read(file, b'[{"a":1},\n{"a":' + opening * 100_000)


@pytest.mark.parametrize("levels", [64, 200])
def test_a_value_too_deep_for_a_row_is_counted(file: Path, levels: int) -> None:
    """Python still reads it, and its line in the file is not known any more when it is found too deep."""
    deep = b'{\n"a":' + b"[" * levels + b"]" * levels + b"}"
    for data in (b'[\n\n{"z":1},\n' + deep + b"\n]", b'{\n"z":1}\n\n' + deep):
        with pytest.raises(UsageError, match=r"^F, value 2: nested more than 64 levels deep$"):
            read(file, data)


@pytest.mark.parametrize("sign", [b"", b"-"])
@pytest.mark.parametrize("form", [b'{"z":1}\n\n{"a":%b}\n', b'[{"z":1},\n\n{"a":%b}]'], ids=["lines", "array"])
def test_an_integer_of_too_many_digits(file: Path, form: bytes, sign: bytes) -> None:
    assert read(file, form % (sign + b"7" * 4300))[1][1]["a"] == (sign + b"7" * 4300).decode()
    with pytest.raises(UsageError, match=r"^F, line 3: an integer of more than 4,300 digits; write it as text"):
        read(file, form % (sign + b"7" * 4301))


def test_what_is_deep_but_not_too_deep(file: Path) -> None:
    deepest: dict[str, Any] = {"a": json.loads("[" * 63 + "]" * 63)}
    brackets = {"a": [], "b": "[{" * 2_000 + '\\"', "c": [{"d": [1]}] * 2_000}
    rows = read(file, b"\n".join(json.dumps(row).encode() for row in (deepest, brackets)))[1]
    assert rows == [{"a": deepest["a"], "b": None, "c": None}, brackets]
    with pa.ipc.new_stream(pa.BufferOutputStream(), table := pa.Table.from_pylist(rows).schema) as stream:
        stream.write_table(pa.Table.from_pylist(rows, schema=table))


def test_array_and_indented_objects(file: Path) -> None:
    rows = [{"a": index, "b": "x\n\u2028 ] ," * index, "c": [{"d": 12345678901234567}]} for index in range(30)]
    for text in (json.dumps(rows), json.dumps(rows, indent=2, ensure_ascii=False)):
        assert read(file, text.encode())[1] == rows
    assert read(file, "\n".join(json.dumps(row, indent=1) for row in rows).encode())[1] == rows


def test_object_of_columns(file: Path) -> None:
    columns, rows = '{\n"a": [1, 2], "b": ["x", "y"], "c": []}', [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    assert read(file, columns.encode())[1] == rows
    assert read(file.with_suffix(".json"), columns.replace("\n", "").encode())[1] == rows
    turn = {"role": "user", "content": "q"}
    for row in (
        {"messages": [turn, turn]},
        {"prompt": [turn], "completion": [turn]},
        {"input_ids": [1], "labels": [2]},
    ):
        for name in ("row.jsonl", "row.json"):
            assert read(file.with_name(name), json.dumps(row).encode())[1] == [row]
            assert read(file.with_name(name), json.dumps(row, indent=1).encode())[1] == [row]


def test_a_line_longer_than_the_parser_takes_at_a_time(file: Path) -> None:
    rows = [{"a": "x" * 3_000_000}, {"a": "y"}]
    assert read(file, "\n".join(map(json.dumps, rows)).encode())[1] == rows


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
@pytest.mark.parametrize("form", ["lines", "array"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, form: str) -> None:
    code = (
        "import sys; from pathlib import Path; from synth.data.files.jsonlines import open_json\n"
        "found = open_json([Path(sys.argv[1])], 'F')\n"
        "print(sum(batch.num_rows for batch in found.batches()))\n"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
    )
    peaks = []
    for megabytes in (20, 120):
        line = json.dumps({"prompt": "why? " * 200, "id": 7})
        count = megabytes * 2**20 // len(line)
        path = tmp_path / "rows.json"
        with open(path, "w") as file:
            if form == "lines":
                file.writelines(line + "\n" for _ in range(count))
            else:
                file.write("[" + line)
                file.writelines(",\n" + line for _ in range(count - 1))
                file.write("]")
        done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
        rows, peak = map(int, done.stdout.split())
        assert rows == count
        peaks.append(peak)
    assert peaks[1] < peaks[0] + 60 * 1024  # KiB; the larger file alone is 100 MiB more
