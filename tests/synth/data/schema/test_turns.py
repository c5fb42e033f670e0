"""Conversations as other programs write them: each is read rightly, or its row is rejected with the reason."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from synth.chat.derive import format_for
from synth.data.plain import only_texts, open_rows_or_texts
from synth.data.prompts import open_prompts
from synth.data.read import faults_of, open_rows, open_source
from synth.data.row import FAULT
from synth.data.schema.parts import Unreadable
from synth.data.schema.turns import conversation
from synth.errors import UsageError
from synth.scoring.encoding import RowEncoder
from synth.training.rows import read_training_rows
from tests.synth.data.schema.conversations import lines

USER = {"role": "user", "content": "2+2?"}
ASSISTANT = {"role": "assistant", "content": "4"}


def read(source: str, **named: str) -> tuple[list[Any], list[str | None], list[str]]:
    """The messages of each row, why it cannot be read, and the notes."""
    rows = open_rows(source, **named)
    messages: list[Any] = []
    faults: list[str | None] = []
    for batch in rows.judged():
        batch.validate(full=True)
        messages += batch["messages"].to_pylist()
        faults += faults_of(batch)
    assert [turns is None for turns in messages] == [fault is not None for fault in faults]
    return messages, faults, rows.notes


@pytest.mark.parametrize("form", ["json", "parquet"])
@pytest.mark.parametrize(
    ("turn", "reason"),
    [
        ({"role": "assistant", "content": None}, "no content: turn 2 (assistant) has none"),
        ({"role": "assistant", "content": None, "refusal": "No."}, "no content: turn 2 (assistant) has none"),
        ({"role": None, "content": "4"}, "no role: turn 2 has none"),
        ({"role": "", "content": "4"}, "no role: turn 2 has none"),
        ({"role": "assistant", "content": "4", "weight": 0}, "turn not to be trained on: turn 2 has weight 0"),
        ({"role": "assistant", "content": "4", "train": False}, "turn not to be trained on: turn 2 has train false"),
        (
            {"role": "assistant", "content": [{"type": "image_url", "image_url": {"url": "a.png"}}]},
            "not text: turn 2 (assistant) holds a part of type image_url",
        ),
        (
            {"role": "assistant", "content": [{"type": "text", "text": None}]},
            "not text: turn 2 (assistant) holds a part",
        ),
        ({"role": "assistant", "content": []}, "no content: turn 2 (assistant) has none"),
        (None, "no turn: turn 2 is null"),
    ],
)
def test_a_row_that_cannot_be_read(tmp_path: Path, form: str, turn: Any, reason: str) -> None:
    rows = [{"messages": [USER, turn]}, {"messages": [USER, ASSISTANT]}]
    source = lines(tmp_path / "rows.jsonl", *rows)
    if form == "parquet":
        try:
            table = pa.Table.from_pylist(rows)
        except pa.ArrowInvalid:
            pytest.skip("a column of Parquet has one type")
        parquet.write_table(table, source := str(tmp_path / "rows.parquet"))
    messages, faults, _ = read(source)
    assert messages == [None, [USER, ASSISTANT]]
    assert faults[1] is None and faults[0] is not None and faults[0].startswith(reason), faults


@pytest.mark.parametrize("form", ["json", "parquet"])
@pytest.mark.parametrize(
    ("turns", "said"),
    [
        ([{"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"}], None),
        ([{"from": "Human", "value": "2+2?"}, {"from": "GPT", "value": "4"}], None),
        ([{"role": "USER", "content": "2+2?"}, {"role": "Assistant", "content": "4"}], None),
        ([{"role": "user", "text": "2+2?"}, {"role": "assistant", "text": "4"}], None),
        ([{"speaker": "human", "text": "2+2?"}, {"speaker": "bot", "text": "4"}], None),
        ([{"content": "2+2?", "role": "user", "turn_identifier": 7}, {"content": "4", "role": "assistant"}], None),
        ([USER, ASSISTANT | {"weight": 1, "tool_calls": None, "function_call": None}], None),
        ([USER, ASSISTANT | {"weight": 1, "tool_calls": []}], None),
        ([USER, {"role": "assistant", "content": [{"type": "text", "text": "4"}]}], None),
        ([{"role": "user", "content": [{"type": "text", "text": "2+2?"}]}, ASSISTANT], None),
        ([{"role": "user", "content": ["2+2?"]}, {"role": "assistant", "content": [{"text": "4"}]}], None),
        ([USER, {"role": "assistant", "content": [{"type": "output_text", "text": a} for a in "ab"]}], "a\nb"),
        ([[USER, ASSISTANT]], None),
        ([USER, {"role": "assistant", "content": 4}], None),
    ],
)
def test_forms_of_one_conversation(tmp_path: Path, form: str, turns: Any, said: str | None) -> None:
    rows = [{"conversation": turns}, {"conversation": None, "other": 1}]
    source = lines(tmp_path / "rows.jsonl", *rows)
    if form == "parquet":
        try:
            table = pa.Table.from_pylist(rows)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            pytest.skip("a column of Parquet has one type")
        parquet.write_table(table, source := str(tmp_path / "rows.parquet"))
    messages, faults, _ = read(source)
    assert messages == [[USER, ASSISTANT if said is None else {"role": "assistant", "content": said}], None]
    assert faults == [None, "no conversation: there is nothing in 'conversation'"]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_messages_as_json_text(tmp_path: Path, suffix: str) -> None:
    texts = [json.dumps([USER, ASSISTANT]), json.dumps([USER]), "", "Human: 2+2?", '{"a": 1}', "[" * 5000, "[1]"]
    path = tmp_path / f"rows{suffix}"
    if suffix == ".jsonl":
        lines(path, *({"messages": text} for text in texts))
    elif suffix == ".csv":
        path.write_text("messages\n" + "".join('"' + text.replace('"', '""') + '"\n' for text in texts))
    else:
        parquet.write_table(pa.table({"messages": texts}), path)
    messages, faults, _ = read(str(path))
    assert messages == [[USER, ASSISTANT], [USER], None, None, None, None, None]
    assert [fault and fault.partition(":")[0] for fault in faults[2:]] == ["no conversation"] * 4 + ["no turn"]


def test_what_turns_hold_beside_is_said(tmp_path: Path) -> None:
    source = lines(tmp_path / "a.jsonl", {"messages": [USER | {"name": "Ann"}, ASSISTANT | {"refusal": "…"}]})
    messages, _, notes = read(source)
    assert messages == [[USER, ASSISTANT]]
    assert sorted(notes) == [
        "not kept: 'name' of each turn in 'messages'",
        "not kept: 'refusal' of each turn in 'messages'",
    ]
    parts = USER | {"content": [{"type": "text", "text": "2+2?"}], "name": "Ann"}
    assert read(lines(tmp_path / "b.jsonl", {"messages": [parts, ASSISTANT]}))[2] == sorted(notes)[:1]


def test_contents_of_text_and_of_parts_in_one_file(tmp_path: Path) -> None:
    """A text that looks like parts stays the text it is."""
    looks = '[{"type": "text", "text": "no"}]'
    rows = [
        [USER, ASSISTANT],
        [USER | {"content": [{"type": "text", "text": "2+2?"}]}, {"role": "assistant", "content": looks}],
    ]
    messages, faults, notes = read(lines(tmp_path / "rows.jsonl", *({"messages": turns} for turns in rows)))
    assert messages == [[USER, ASSISTANT], [USER, {"role": "assistant", "content": looks}]]
    assert faults == [None, None] and notes == []


def test_alpaca_with_system_and_history(tmp_path: Path) -> None:
    row = {"instruction": "i", "input": "in", "output": "o"}
    rows = [
        row | {"system": "S", "history": [["q0", "a0"], ["q1", "a1"]]},
        row | {"input": "", "system": "", "history": []},
        row | {"system": None, "history": None},
        row | {"history": [["q0"]]},
        row | {"history": [["q0", None]]},
    ]
    messages, faults, notes = read(lines(tmp_path / "rows.jsonl", *rows))
    told = [[(turn["role"], turn["content"]) for turn in turns or []] for turns in messages]
    assert told[0] == [
        ("system", "S"),
        *(("user", "q0"), ("assistant", "a0"), ("user", "q1"), ("assistant", "a1")),
        *(("user", "i\n\nin"), ("assistant", "o")),
    ]
    assert told[1:3] == [[("user", "i"), ("assistant", "o")], [("user", "i\n\nin"), ("assistant", "o")]]
    assert faults[3] is not None and faults[4] == "no content: turn 2 (assistant) has none"
    assert notes == ["conversation read from: system, history, instruction, input, output"]


def test_a_system_column_beside_turns(tmp_path: Path) -> None:
    system = {"role": "system", "content": "S"}
    turns = [{"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"}]
    rows = [
        {"system": "S", "conversations": turns},
        {"system": "", "conversations": turns},
        {"system": "S", "conversations": [{"from": "System", "value": "S"}, *turns]},
        {"system": "S", "conversations": [{"from": "system", "value": "other"}, *turns]},
    ]
    messages, faults, _ = read(lines(tmp_path / "rows.jsonl", *rows))
    assert messages == [[system, USER, ASSISTANT], [USER, ASSISTANT], [system, USER, ASSISTANT], None]
    assert faults[3] == "two system turns: the column and the first turn say different things"
    openorca = {"id": "a", "system_prompt": "S", "question": "2+2?", "response": "4"}
    assert read(lines(tmp_path / "orca.jsonl", openorca))[0] == [[system, USER, ASSISTANT]]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("[204, 5, null]", ["204", "5", None]),
        ("[9007199254740993, 1.5, null]", ["9007199254740993", "1.5", None]),
        ("[204, 2.0, 1e3]", ["204", "2.0", "1e3"]),
        ("[2.50, 0.1, -0.0]", ["2.50", "0.1", "-0.0"]),
        ("[12345678901234567890123, 1, 2.0]", ["12345678901234567890123", "1", "2.0"]),
        ("[true, false, null]", ["true", "false", None]),
        ('["204", 204, true]', ["204", "204", "true"]),
        ('[{"f": {"x": [1]}}, {"g": {"y": 2.0}}, {}]', ['{"f": {"x": [1]}}', '{"g": {"y": 2.0}}', "{}"]),
        ('[["a", "b"], [], "c"]', ['["a", "b"]', "[]", "c"]),
    ],
)
def test_answers_that_are_no_text(tmp_path: Path, values: str, said: list[str | None]) -> None:
    """As they are written in the file: no integer changes its value."""
    decoded = [part.strip() for part in _split(values)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f'{{"question": "q", "answer": {value}}}\n' for value in decoded))
    rows = [row for batch in open_rows(str(path)).batches() for row in batch.to_pylist()]
    assert [row["reference"] for row in rows] == said
    assert [row["messages"][1:] for row in rows] == [
        [{"role": "assistant", "content": text}] if text else [] for text in said
    ]
    path.write_text("".join(f'{{"question": "q", "reference": {value}}}\n' for value in decoded))
    assert [row["reference"] for batch in open_rows(str(path)).batches() for row in batch.to_pylist()] == said


def _split(values: str) -> list[str]:
    """The items of a JSON list as they are written."""
    decoder, at, found = json.JSONDecoder(), 1, []
    while at < len(values) and values[at] != "]":
        _, end = decoder.raw_decode(values, at)
        found.append(values[at:end])
        at = end + len(values[end:]) - len(values[end:].lstrip(", "))
    return found


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32(), pa.int8(), pa.decimal128(5, 2), pa.bool_()])
def test_answers_of_a_typed_column(kind: pa.DataType, tmp_path: Path) -> None:
    parquet.write_table(
        pa.table(
            {"question": ["q"], "answer": pa.array([1 if kind != pa.decimal128(5, 2) else Decimal(1)]).cast(kind)}
        ),
        tmp_path / "rows.parquet",
    )
    [[_, answer]], _, _ = read(str(tmp_path / "rows.parquet"))
    assert answer["content"] == {"double": "1.0", "float": "1.0", "int8": "1", "bool": "true"}.get(str(kind), "1.00")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_an_answer_that_is_no_number(tmp_path: Path, value: str) -> None:
    path = tmp_path / "rows.jsonl"
    for other in ("1.5", '"text"', "7"):
        path.write_text(f'{{"question": "q", "answer": {value}}}\n{{"question": "q", "answer": {other}}}\n')
        _, faults, _ = read(str(path))
        assert faults == [f"no number: 'answer' is {value}", None]
    parquet.write_table(pa.table({"question": ["q"], "answer": [float(value)]}), tmp_path / "rows.parquet")
    assert read(str(tmp_path / "rows.parquet"))[1][0].startswith("no number: 'answer' is")  # type: ignore[union-attr]


def test_half_of_a_character(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "cut \\ud83d"}\n{"prompt": "whole \\ud83d\\ude00"}\n')
    messages, faults, _ = read(str(path))
    assert messages == [None, [{"role": "user", "content": "whole 😀"}]]
    assert faults[0] == "no text: \\ud83d is half of a character (a surrogate without its pair)"


def test_a_nested_list_of_prompts(tmp_path: Path) -> None:
    rows = [{"id": "a", "question": [[USER]]}, {"id": "b", "question": [[USER], [USER]]}]
    messages, faults, _ = read(lines(tmp_path / "rows.jsonl", *rows))
    assert messages == [[USER], None] and faults[1] == "no conversation: 2 lists of turns instead of one"


def test_what_goes_with_a_question(tmp_path: Path) -> None:
    squad = {"id": "a", "title": "t", "context": "Paris is big.", "question": "What is big?"}
    assert read(lines(tmp_path / "squad.jsonl", squad))[0] == [
        [{"role": "user", "content": "What is big?\n\nParis is big."}]
    ]


def test_tasks_say_what_they_reject(tmp_path: Path) -> None:
    bad = {"messages": [USER, ASSISTANT | {"content": None}]}
    rows = open_rows(lines(tmp_path / "some.jsonl", {"messages": [USER, ASSISTANT]}, bad, bad))
    tasks = open_prompts(rows)
    assert (tasks.total, tasks.unreadable, set(tasks.faults())) == (3, 2, {1, 2})
    assert rows.notes == ["2 of 3 rows cannot be read and are rejected; row 1: no content: turn 2 (assistant) has none"]
    assert FAULT not in tasks.schema(pa.schema([])).names
    assert [row.fault is None for row in tasks.rows("m", {}, pa.schema([]))(0)] == [True, False, False]
    assert [row.fault is None for row in tasks.answered(pa.schema([]))(1)] == [False, False]
    with pytest.raises(UsageError, match="none of its 1 rows can be read; row 0: no content"):
        open_prompts(open_rows(lines(tmp_path / "none.jsonl", bad)))
    with pytest.raises(UsageError, match="none of its 1 rows can be read"):
        list(open_rows(str(tmp_path / "none.jsonl")).readable())


def test_hostile_values() -> None:
    value: Any
    for value in (1, "x", {"role": "user"}, [[[]]], [{"role": 5, "content": "x"}], [{"role": "user", "content": {}}]):
        with pytest.raises(Unreadable):
            conversation(value)
    for value in (None, [], "", "null", [[]]):
        assert conversation(value) == []


TOOLS = '[{"type": "function", "function": {"name": "f"}}]'
HUMAN = [{"from": "human", "value": "2+2?", "weight": None}, {"from": "gpt", "value": "4", "weight": None}]
CHATTED = [
    USER | {"turn_identifier": 1, "timestamp": None},
    ASSISTANT | {"turn_identifier": 1, "timestamp": "2023-04-10"},
]


@pytest.mark.parametrize(
    ("row", "kept", "note"),
    [
        ({"prompt": "2+2?", "prompt_id": "1", "messages": [USER, ASSISTANT]}, {"prompt": "2+2?"}, None),
        ({"model": "m", "conversation": CHATTED}, {"input_model": "m"}, "not kept: 'timestamp' of each turn"),
        ({"system_prompt": None, "conversations": HUMAN, "source": "s"}, {"source": "s"}, "read from: conversations"),
        ({"instruction": "2+2?", "context": "", "response": "4", "category": "c"}, {"category": "c"}, None),
        ({"messages": [USER, ASSISTANT], "tools": [{"name": "f"}]}, {"tools": TOOLS}, None),
        ({"system": "", "tools": "[]", "conversations": HUMAN}, {"tools": None}, None),
    ],
    ids=["UltraChat", "WildChat", "OpenHermes", "Dolly", "OpenAI", "LLaMA-Factory"],
)
def test_rows_of_public_data_sets(tmp_path: Path, row: Any, kept: dict[str, Any], note: str | None) -> None:
    rows = open_rows(lines(tmp_path / "rows.jsonl", row))
    [found] = [record for batch in rows.judged() for record in batch.to_pylist()]
    assert found["messages"] == [USER, ASSISTANT] and found["reference"] == "4"
    assert found.items() >= kept.items()
    assert note is None or any(note in said for said in rows.notes), rows.notes


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
def test_texts_are_texts_however_they_are_stored(tmp_path: Path, kind: pa.DataType) -> None:
    file = tmp_path / "texts.parquet"
    parquet.write_table(pa.table({"text": pa.array(["Once upon a time.", "The end."]).cast(kind)}), file)
    assert only_texts(open_rows_or_texts(str(file)))
    chat = format_for("samples/model")
    found = read_training_rows(open_source(str(file)), RowEncoder(chat, "all"), len(chat.tokenizer), text_column="text")
    assert len(found) == 2 and not found.rejected


def test_half_a_character_in_json_text_is_the_rows_fault(tmp_path: Path) -> None:
    """A column of conversations as JSON text, from a file that cannot hold half a character itself."""
    texts = [r'[{"role": "user", "content": "cut \ud83d"}]', r'[{"role": "user", "content": "whole \ud83d\ude00"}]']
    parquet.write_table(pa.table({"messages": texts}), tmp_path / "a.parquet")
    [batch] = open_rows(str(tmp_path / "a.parquet")).judged()
    assert faults_of(batch) == ["no text: \\ud83d is half of a character (a surrogate without its pair)", None]
    assert batch["messages"].to_pylist() == [None, [{"role": "user", "content": "whole \U0001f600"}]]
