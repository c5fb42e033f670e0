from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from synth.data.row import BASE, FAULT, MESSAGES
from synth.data.schema.assemble import last_answer
from synth.data.schema.shapes import recognise
from synth.errors import UsageError

USER = {"role": "user", "content": "2+2?"}
ASSISTANT = {"role": "assistant", "content": "4"}


def convert(data: dict[str, Any] | pa.RecordBatch, **named: str) -> tuple[list[dict[str, Any]], list[str]]:
    batch = data if isinstance(data, pa.RecordBatch) else pa.record_batch(data)
    shape = recognise(batch.schema, **named)  # type: ignore[arg-type]
    result = shape.convert(batch)
    if FAULT in result.schema.names:
        assert result["messages"].is_null().equals(result[FAULT].is_valid())
        result = result.drop_columns([FAULT])
    assert result.schema == shape.schema
    assert result.schema.field("messages").type == MESSAGES
    result.validate(full=True)
    return result.to_pylist(), shape.notes


@pytest.mark.parametrize(
    "names",
    [
        ("prompt", "completion"),
        ("prompt", "response"),
        ("prompt", "canonical_solution"),
        ("question", "answer"),
        ("question", "response"),
        ("problem", "solution"),
        ("query", "response"),
        ("instruction", "output"),
        ("inputs", "targets"),
    ],
)
@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_pairs(names: tuple[str, str], kind: pa.DataType) -> None:
    prompts = pa.array(["2+2?", None, " ", "why?", "how?"])
    answers = pa.array(["4", "lost", "lost", None, ""])
    rows, _ = convert({names[0]: prompts.cast(kind), "level": [1, 2, 3, 4, 5], names[1]: answers.cast(kind)})
    assert [row["messages"] for row in rows] == [
        [USER, ASSISTANT],
        None,
        None,
        [{"role": "user", "content": "why?"}],
        [{"role": "user", "content": "how?"}],
    ]
    assert [row["reference"] for row in rows] == ["4", None, None, None, None]
    assert [row["level"] for row in rows] == [1, 2, 3, 4, 5]
    assert set(rows[0]) == {"messages", "reference", "level"}


def test_a_prompt_alone() -> None:
    rows, _ = convert({"prompt": ["2+2?"]})
    assert rows == [{"messages": [USER], "reference": None}]


def test_alpaca() -> None:
    rows, notes = convert(
        {"instruction": ["Add.", "Add.", None], "input": ["2 and 2", "", "3"], "output": ["4", "what?", "x"]}
    )
    assert [row["messages"] for row in rows] == [
        [{"role": "user", "content": "Add.\n\n2 and 2"}, ASSISTANT],
        [{"role": "user", "content": "Add."}, {"role": "assistant", "content": "what?"}],
        None,
    ]
    assert notes == ["conversation read from: instruction, input, output"]


def test_sharegpt() -> None:
    turns = [
        {"from": "system", "value": "Be brief.", "weight": None},
        {"from": "human", "value": "2+2?", "weight": None},
        {"from": "gpt", "value": "4", "weight": 1.0},
        {"from": "observation", "value": "x", "weight": None},
        {"from": "stranger", "value": "y", "weight": None},
    ]
    rows, notes = convert({"conversations": [turns, turns[:3], [], None], "id": [1, 2, 3, 4]})
    assert [turn["role"] for turn in rows[0]["messages"]] == ["system", "user", "assistant", "tool", "stranger"]
    assert rows[1]["messages"][1:] == [USER, ASSISTANT]
    assert [row["messages"] for row in rows[2:]] == [None, None]
    assert [row["reference"] for row in rows] == [None, "4", None, None]
    assert [row["id"] for row in rows] == ["1", "2", "3", "4"]
    assert "not kept: 'weight' of each turn in 'conversations'" in notes


def test_lists_of_messages_as_prompt_and_completion() -> None:
    system = {"role": "system", "content": "Be brief."}
    rows, _ = convert(
        {
            "prompt": [[system, USER], [USER], None, [USER], []],
            "completion": [[ASSISTANT], None, [ASSISTANT], [], [ASSISTANT]],
        }
    )
    assert [row["messages"] for row in rows] == [[system, USER, ASSISTANT], [USER], None, [USER], None]
    assert [row["reference"] for row in rows] == ["4", None, None, None, None]


def test_messages_of_another_layout() -> None:
    turn = pa.struct(
        [("content", pa.large_string()), ("role", pa.string()), ("name", pa.string()), ("calls", pa.null())]
    )
    turns = [{"content": "2+2?", "role": "user", "name": None}, {"content": "4", "role": "assistant", "name": None}]
    column = pa.array([turns, None, []], pa.large_list(turn))
    rows, notes = convert({"messages": column})
    assert [row["messages"] for row in rows] == [[USER, ASSISTANT], None, None]
    assert rows[0]["reference"] == "4"
    assert notes == []
    turns[0]["name"] = "Ann"
    _, notes = convert({"messages": pa.array([turns], pa.list_(turn))})
    assert notes == ["not kept: 'name' of each turn in 'messages'"]


def test_messages_of_another_writer(tmp_path: Path) -> None:
    """Parquet written elsewhere calls the items of a list otherwise, or says that none is null."""
    for item in (pa.field("element", MESSAGES.value_type), pa.field("item", MESSAGES.value_type, nullable=False)):
        column = pa.array([[USER, ASSISTANT], None], pa.list_(item))
        parquet.write_table(pa.table({"messages": column}), tmp_path / "rows.parquet", store_schema=False)
        batch = parquet.read_table(tmp_path / "rows.parquet").to_batches()[0]
        rows, _ = convert(batch)
        assert [row["messages"] for row in rows] == [[USER, ASSISTANT], None]
        shape = recognise(batch.schema)
        with pa.ipc.new_stream(tmp_path / "rows.arrow", shape.schema) as writer:
            writer.write_batch(shape.convert(batch.slice(0, 1)))


def test_slices_are_read_from_their_own_place() -> None:
    whole = pa.record_batch({"prompt": [f"p{i}" for i in range(10)], "completion": [f"c{i}" for i in range(10)]})
    rows, _ = convert(whole.slice(4, 2))
    assert [row["reference"] for row in rows] == ["c4", "c5"]
    turns = pa.array([[{"from": "human", "value": f"p{i}"}, {"from": "gpt", "value": f"c{i}"}] for i in range(10)])
    rows, _ = convert(pa.record_batch({"conversations": turns}).slice(4, 2))
    assert [row["messages"][0]["content"] for row in rows] == ["p4", "p5"]
    assert [row["reference"] for row in rows] == ["c4", "c5"]


def test_our_own_rows_pass_through_without_a_copy() -> None:
    record = dict.fromkeys(BASE.names) | {"id": "a", "messages": [USER, ASSISTANT], "method": "magpie"}
    batch = pa.RecordBatch.from_pylist([record | {"score": 0.5}], schema=BASE.append(pa.field("score", pa.float32())))
    shape = recognise(batch.schema)
    assert shape.schema == batch.schema
    assert shape.notes == []
    result = shape.convert(batch)
    assert result.equals(batch)
    for before, after in zip(batch.columns, result.columns, strict=True):
        assert [b and b.address for b in before.buffers()] == [b and b.address for b in after.buffers()]


def test_our_own_rows_after_json_get_their_types_back() -> None:
    batch = pa.record_batch(
        {
            "id": ["a"],
            "messages": [[USER, ASSISTANT]],
            "method": ["m"],
            "samples": [4],
            "logprob": [-3],
            "answer": ["4"],
        }
    )
    shape = recognise(batch.schema)
    assert shape.schema.field("samples").type == pa.int32()
    assert shape.schema.field("logprob").type == pa.float64()
    assert shape.convert(batch).to_pylist() == batch.to_pylist()
    bad = shape.convert(batch.set_column(batch.schema.get_field_index("samples"), "samples", pa.array([2**40])))
    assert bad[FAULT].to_pylist() == ["unfit value: 1099511627776 in column 'samples' is no int32"]
    assert bad["messages"].to_pylist() == [None]


def test_foreign_columns_with_our_names() -> None:
    data = {"problem": ["2+2?"], "solution": ["It is 4."], "answer": ["4"], "samples": [[1]], "id": [7]}
    rows, notes = convert(data)
    assert rows[0]["input_answer"] == "4"
    assert rows[0]["input_samples"] == [1]
    assert rows[0]["id"] == "7"
    assert "answer" not in rows[0]
    assert "column 'answer' is carried as 'input_answer'" in notes


def test_a_reference_column_stays() -> None:
    rows, _ = convert({"prompt": ["2+2?"], "completion": ["It is 4."], "reference": [4], "verifier": ["math"]})
    assert rows[0]["reference"] == "4"
    assert rows[0]["verifier"] == "math"
    assert rows[0]["messages"][1]["content"] == "It is 4."


def test_named_columns() -> None:
    data = {"text": ["2+2?"], "code": ["4"], "prompt": ["other"], "number": [4.5], "messages": ["raw"]}
    rows, _ = convert(data, prompt_column="text", reference_column="code")
    assert rows == [
        {"messages": [USER, ASSISTANT], "reference": "4", "prompt": "other", "number": 4.5, "input_messages": "raw"}
    ]
    rows, _ = convert(data, prompt_column="text")
    assert rows[0]["messages"] == [USER]
    rows, _ = convert(data, prompt_column="text", reference_column="number")
    assert rows[0]["reference"] == "4.5"
    rows, _ = convert({"messages": [[USER, ASSISTANT]], "gold": ["four"]}, reference_column="gold")
    assert rows == [{"messages": [USER, ASSISTANT], "reference": "four"}]
    data = {"prompt": ["2+2?"], "gold": ["4"], "reference": ["four"]}
    rows, _ = convert(data, reference_column="gold")
    assert rows == [{"messages": [USER, ASSISTANT], "reference": "4", "input_reference": "four"}]
    rows, _ = convert(data, prompt_column="prompt", reference_column="reference")
    assert rows[0]["reference"] == rows[0]["messages"][1]["content"] == "four"


@pytest.mark.parametrize(
    ("data", "named", "message"),
    [
        ({"goal": ["x"], "size": [1]}, {}, "goal (string), size (int64)"),
        ({"prompt": ["x"], "question": ["y"]}, {}, "several columns may be the prompt (prompt, question)"),
        ({"question": ["x"], "answer": ["y"], "response": ["z"]}, {}, "several columns may be the answer"),
        ({"question": [[["x"]]]}, {}, "no conversation recognised"),
        ({"prompt": ["x"]}, {"prompt_column": "promt"}, "there is no column 'promt'; there are: prompt"),
        ({"prompt": ["x"]}, {"reference_column": "gold"}, "there is no column 'gold'"),
        (pa.record_batch([["x"], ["y"]], ["prompt", "prompt"]), {}, "several columns are called prompt"),
        ({"messages": [[USER]], "gold": [b"1"]}, {"reference_column": "gold"}, "column 'gold' holds binary"),
        ({"prompt": [1]}, {"prompt_column": "prompt"}, "column 'prompt' holds int64"),
    ],
)
def test_refused(data: dict[str, Any], named: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        convert(data, **named)
    assert message in str(caught.value)
    if not named and "called" not in message:
        assert "`prompt_column`" in str(caught.value)


def test_last_answer() -> None:
    column = pa.array([[USER, ASSISTANT], [USER], [], None, [ASSISTANT, USER, ASSISTANT]], MESSAGES)
    assert last_answer(column).to_pylist() == ["4", None, None, None, "4"]
    assert last_answer(column.slice(4)).to_pylist() == ["4"]
    assert last_answer(column.slice(0, 0)).to_pylist() == []


@pytest.mark.parametrize("list_of", [pa.list_, pa.large_list])
def test_the_first_of_several_right_answers(list_of: Any) -> None:
    kind = pa.struct([("text", list_of(pa.string())), ("answer_start", list_of(pa.int32()))])
    several = [
        {"text": ["Rome", "the city"], "answer_start": [0, 9]},
        {"text": [], "answer_start": []},  # SQuAD 2: not answered by the context
        None,
    ]
    asked = {"context": ["Rome is old."] * 3, "question": ["What is old?"] * 3}
    rows, notes = convert(pa.record_batch(asked | {"answers": pa.array(several, kind)}))
    assert [row["reference"] for row in rows] == ["Rome", None, None]
    assert [len(row["messages"]) for row in rows] == [2, 1, 1]
    assert [row["answers"] for row in rows] == several and "answers" in notes[0]
    best = {"value": "Rome", "aliases": ["Roma"]}  # TriviaQA
    rows, _ = convert(pa.record_batch({"question": ["What?"], "answer": pa.array([best])}))
    assert rows[0]["reference"] == "Rome" and rows[0]["input_answer"] == best
    rows, _ = convert(pa.record_batch({"question": ["What?"], "answers": [["a", "b"]]}))
    assert rows[0]["reference"] is None and rows[0]["answers"] == ["a", "b"]


def test_texts_that_are_not_read_are_named() -> None:
    row = {"prompt": "p", "response": "r", "system_message": "s", "inputs": "i", "level": 3, "id": "a"}
    rows, notes = convert(pa.record_batch({name: [value] for name, value in row.items()}))
    assert rows[0]["messages"][0] == {"role": "system", "content": "s"}
    assert notes == ["conversation read from: system_message, prompt, response; no part of it: inputs"]
    many = {"prompt": ["p"]} | {f"column {number}": ["x"] for number in range(5_000)}
    assert convert(pa.record_batch(many))[1][0].endswith("column 7 and 4,992 more")
