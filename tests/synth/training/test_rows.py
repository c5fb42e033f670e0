import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from synth.chat.format import ChatFormat
from synth.data.read import open_rows, open_source
from synth.data.row import MESSAGES
from synth.errors import UsageError
from synth.scoring.encoding import RowEncoder
from synth.training.rows import TrainingRows, read_training_rows

VOCABULARY = 1024


def read(file: Path, chat: ChatFormat, records: list[dict[str, Any]], **encoder: Any) -> TrainingRows:
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    rows = open_source(str(file)) if "input_ids" in records[0] or "text" in records[0] else open_rows(str(file))
    text = "text" if "text" in records[0] else None
    return read_training_rows(rows, RowEncoder(chat, **encoder), VOCABULARY, text_column=text)


def test_conversations_are_trained_on_what_the_assistant_says(tmp_path: Path, chat: ChatFormat) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello there"}]
    rows = read(tmp_path / "a.jsonl", chat, [{"id": "x", "messages": turns, "source": "s"}, {"messages": turns[:1]}])
    assert rows.names == ["x"] and rows.sources == ["s"]
    assert chat.tokenizer.decode(rows.tokens[rows.weights > 0]) == "Hello there<|end|>"
    assert (rows.labels[rows.weights > 0] == rows.tokens[rows.weights > 0]).all()
    assert rows.rejected == [("row 1", "no assistant turn to train on")]


def test_labels_and_weights_are_used_as_they_are(tmp_path: Path, chat: ChatFormat) -> None:
    records: list[dict[str, Any]] = [
        {"input_ids": [5, 6, 7, 8], "labels": [5, -100, 9, 8], "weights": [1, 1, 0.5, 2]},
        {"input_ids": [5, 6], "labels": [5, 6]},
    ]
    rows = read(tmp_path / "a.jsonl", chat, records)
    assert rows.labels.tolist() == [-100, -100, 9, 8, -100, 6]  # nothing precedes a first token
    assert rows.weights.tolist() == [0, 0, 0.5, 2, 0, 1]
    assert rows.starts.tolist() == [0, 4, 6] and rows.trained == 3


def test_rows_beyond_the_vocabulary_are_rejected(tmp_path: Path, chat: ChatFormat) -> None:
    """Of a model whose tokenizer has tokens that it does not know."""
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": turns}))
    known = int(max(chat.tokenizer("b").input_ids))
    with pytest.raises(UsageError, match=f"a token id is outside the model's vocabulary of {known}"):
        read_training_rows(open_rows(str(tmp_path / "a.jsonl")), RowEncoder(chat), known)


def test_texts_are_trained_on_whole(tmp_path: Path, chat: ChatFormat) -> None:
    rows = read(tmp_path / "a.jsonl", chat, [{"text": "a short text"}, {"text": " "}], train_on="all")
    assert rows.trained == len(rows.tokens) - 1
    assert rows.rejected == [("row 1", "empty text")]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"input_ids": [], "labels": []}, "no tokens"),
        ({"input_ids": None, "labels": [1]}, "no tokens"),
        ({"input_ids": [1, 2], "labels": [1]}, "1 labels for 2 tokens"),
        ({"input_ids": [1, 2], "labels": None}, "no labels: `train_on` all trains on every token of such a row"),
        ({"input_ids": [1, None], "labels": [1, 2]}, "input_ids with null in them"),
        ({"input_ids": [1, 2], "labels": [None, 2]}, "labels with null in them"),
        ({"input_ids": [1, 2], "labels": [1, 2], "weights": [1, None]}, "weights that are negative or not numbers"),
        ({"input_ids": [1, 2], "labels": [-100, -100]}, "no token to train on"),
        ({"input_ids": [1, 2], "labels": [1, -100]}, "no token to train on"),
        ({"input_ids": [1, 2], "labels": [1, 2], "weights": [1, -1]}, "weights that are negative or not numbers"),
        ({"input_ids": [1, 2], "labels": [1, 2], "weights": [0, 0]}, "no token to train on"),
        ({"input_ids": [1] * 20, "labels": [1] * 20}, "overlong: 20 tokens, the window holds 16"),
    ],
)
def test_bad_rows_are_kept_with_the_reason(
    tmp_path: Path, chat: ChatFormat, record: dict[str, Any], reason: str
) -> None:
    good = {"id": "good", "input_ids": [1, 2], "labels": [1, 2], "weights": [1.0, 1.0]}
    rows = read(tmp_path / "a.jsonl", chat, [good, {"id": "bad", **record}], window=16)
    assert rows.names == ["good"] and rows.rejected == [("bad", reason)]


def test_overlong_rows_can_be_cut(tmp_path: Path, chat: ChatFormat) -> None:
    record = {"input_ids": list(range(20)), "labels": list(range(20))}
    rows = read(tmp_path / "a.jsonl", chat, [record], window=16, overlong="truncate")
    assert rows.tokens.tolist() == list(range(16))


def test_tokens_of_another_tokenizer_are_refused(tmp_path: Path, chat: ChatFormat) -> None:
    with pytest.raises(UsageError, match="another tokenizer"):
        read(tmp_path / "a.jsonl", chat, [{"input_ids": [1, 5000], "labels": [1, 5000]}])
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    own = chat.encode(turns).input_ids
    assert len(read(tmp_path / "b.jsonl", chat, [{"messages": turns, "input_ids": own, "labels": own}])) == 1
    other = [*own[:-1], 77]
    with pytest.raises(UsageError, match="not those of the model's tokenizer"):
        read(tmp_path / "c.jsonl", chat, [{"messages": turns, "input_ids": other, "labels": other}])


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([6, 7, 8, 9, -100], "3 of 3 labels .* shifted by one"),
        ([-100, -100, 90, 91, 9], "2 of 3 labels .* another tokenizer"),
    ],
)
def test_labels_that_are_not_their_tokens_are_refused(
    tmp_path: Path, chat: ChatFormat, labels: list[int], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        read(tmp_path / "a.jsonl", chat, [{"input_ids": [5, 6, 7, 8, 9], "labels": labels}])


def test_tokens_without_labels_are_trained_on_whole_where_that_is_asked_for(tmp_path: Path, chat: ChatFormat) -> None:
    records: list[dict[str, Any]] = [{"input_ids": [5, 6, 7]}, {"input_ids": [8, 9]}]
    rows = read(tmp_path / "a.jsonl", chat, records, train_on="all")
    assert rows.labels.tolist() == [-100, 6, 7, -100, 9]
    for train_on in ("assistant", "last"):
        with pytest.raises(UsageError, match="row 0: no labels: `train_on` all"):
            read(tmp_path / "b.jsonl", chat, records, train_on=train_on)
    mixed = read(tmp_path / "c.jsonl", chat, [{**records[0], "labels": [-100, -100, 7]}, records[1]], train_on="all")
    assert mixed.labels.tolist() == [-100, -100, 7, -100, 9]


@pytest.mark.parametrize("number", [1 << 40, 1 << 31, -5])
def test_numbers_that_no_token_has_are_refused(number: int, tmp_path: Path, chat: ChatFormat) -> None:
    with pytest.raises(UsageError, match="another tokenizer"):
        read(tmp_path / "a.jsonl", chat, [{"input_ids": [1, number], "labels": [1, number]}])


def test_strings_of_numbers_are_no_tokens(tmp_path: Path, chat: ChatFormat) -> None:
    with pytest.raises(UsageError, match=r"column input_ids of .* must hold lists of whole numbers"):
        read(tmp_path / "a.jsonl", chat, [{"input_ids": ["1", "2"], "labels": [1, 2]}])


def test_columns_of_other_types_are_refused(tmp_path: Path, chat: ChatFormat) -> None:
    with pytest.raises(UsageError, match=r"column labels of .* must hold lists of whole numbers"):
        read(tmp_path / "a.jsonl", chat, [{"input_ids": [1, 2], "labels": "1 2"}])


def test_nothing_to_train_on_says_why(tmp_path: Path, chat: ChatFormat) -> None:
    with pytest.raises(UsageError, match="of 2 rows none can be trained on; row 0: no token to train on"):
        read(tmp_path / "a.jsonl", chat, [{"input_ids": [3], "labels": [3]}] * 2)


def test_sizes_add_up(rows: TrainingRows) -> None:
    assert rows.sizes.sum() == len(rows.tokens) == len(rows.labels) == len(rows.weights)
    assert np.array_equal(np.diff(rows.starts), rows.sizes) and len(rows) == 70


@pytest.mark.parametrize(
    "messages", [None, [{"role": "assistant", "content": None}], [{"role": "user"}], "not turns", 5, [5]]
)
def test_what_stands_beside_tokens_need_not_be_readable(tmp_path: Path, chat: ChatFormat, messages: Any) -> None:
    tokens = {"input_ids": [5, 6], "labels": [5, 6]}
    assert read(tmp_path / "a.jsonl", chat, [tokens | {"messages": messages}]).trained == 1
    table = pa.table({"input_ids": [[5, 6]], "labels": [[5, 6]], "messages": pa.array([None], MESSAGES)})
    if isinstance(messages, list) and isinstance(messages[0], dict):
        table = table.set_column(2, "messages", pa.array([messages], MESSAGES))
    parquet.write_table(table, tmp_path / "a.parquet")
    assert read_training_rows(open_source(str(tmp_path / "a.parquet")), RowEncoder(chat), VOCABULARY).trained == 1
