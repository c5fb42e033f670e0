"""Rows as tasks: what is asked, what is known, what is carried along."""

import datetime
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from synth.data.prompts import PromptSet, open_prompts, task_of
from synth.data.read import open_rows
from synth.data.run.shard import Shard
from synth.errors import UsageError

ADDED = pa.schema([("tokens", pa.int32())])


def tasks(path: Path, rows: list[dict[str, object]], limit: int | None = None) -> PromptSet:
    path.write_text("\n".join(map(json.dumps, rows)))
    return open_prompts(open_rows(str(path)), limit)


def test_answers_become_references_and_other_columns_are_carried(tmp_path: Path) -> None:
    found = tasks(tmp_path / "a.jsonl", [{"question": "1+1?", "answer": "2", "tokens": "mine", "level": 3}])
    [row] = found.rows("self-output", {"a": 1}, ADDED)(0)
    assert row.messages == [{"role": "user", "content": "1+1?"}]
    assert row.reference == "2" and row.verdict is None and row.model is None
    assert row.passthrough == {"input_tokens": "mine", "level": 3}
    assert found.schema(ADDED).names[-3:] == ["tokens", "input_tokens", "level"]
    task = task_of(row)
    assert (task.prompt, task.reference, task.columns["level"]) == ("1+1?", "2", 3)


def test_ids_tell_rows_and_settings_apart(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"question": "a", "answer": "b"}, {"question": "a", "answer": "b"}]
    found = tasks(tmp_path / "a.jsonl", rows)
    first, second = found.rows("self-output", {"a": 1}, ADDED)(0)
    assert first.id != second.id and first.parent == second.parent
    assert [row.id for row in found.rows("self-output", {"a": 1}, ADDED)(1)] == [second.id]
    [other, _] = found.rows("self-output", {"a": 2}, ADDED)(0)
    assert other.id != first.id


def test_what_another_model_said_is_not_carried_as_ours(tmp_path: Path) -> None:
    row = {
        "id": "x",
        "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "old"}],
        "method": "magpie",
        "model": "m",
        "verdict": "wrong",
        "logprob": -1.5,
    }
    found = tasks(tmp_path / "a.jsonl", [row])
    [fresh] = found.rows("self-output", {}, ADDED)(0)
    assert (fresh.parent, fresh.reference, fresh.verdict, fresh.logprob) == ("x", None, None, None)
    assert len(fresh.messages) == 1
    [same] = found.answered(ADDED)(0)
    assert (same.id, same.method, same.model, same.logprob, len(same.messages)) == ("x", "magpie", "m", -1.5, 2)


def test_the_fingerprint_is_of_the_rows_taken(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"question": str(n), "answer": "b"} for n in range(5)]
    found = tasks(tmp_path / "a.jsonl", rows)
    assert found.total == 5 and open_prompts(open_rows(str(tmp_path / "a.jsonl"))).fingerprint == found.fingerprint
    limited = tasks(tmp_path / "b.jsonl", rows, limit=3)
    assert limited.total == 3 and limited.fingerprint != found.fingerprint
    assert len(list(limited.rows("self-output", {}, ADDED)(1))) == 2
    rows[4]["answer"] = "c"
    assert tasks(tmp_path / "c.jsonl", rows).fingerprint != found.fingerprint


def test_one_range_after_another_is_read_on(tmp_path: Path) -> None:
    begun: list[int] = []
    (tmp_path / "a.jsonl").write_text(
        "".join(json.dumps({"question": str(n), "answer": "b"}) + "\n" for n in range(11))
    )
    source = open_rows(str(tmp_path / "a.jsonl"))
    read = source.read

    def few_at_a_time() -> Iterator[pa.RecordBatch]:
        begun.append(len(begun))
        for batch in read():
            yield from (batch.slice(start, 3) for start in range(0, batch.num_rows, 3))
            if len(begun) == 4:
                raise UsageError("the disk")

    source.read = few_at_a_time
    found = open_prompts(source)

    def taken(start: int, end: int) -> list[str]:
        return [row.messages[0]["content"] for row in islice(found.rows("", {}, ADDED)(start), end - start)]

    for start, end in ((0, 2), (2, 5), (5, 6), (9, 99)):
        assert taken(start, end) == [str(n) for n in range(start, min(end, 11))]
    assert len(begun) == 2  # once to count them
    part = found.part(Shard(2, 3).over(11))
    assert [row.messages[0]["content"] for row in part.rows("", {}, ADDED)(1)] == ["5", "6", "7"]
    assert taken(8, 9) == ["8"] and len(begun) == 3  # in the batch in which the part before ends
    for _ in range(2):  # a reading that failed is not gone on with
        with pytest.raises(UsageError, match="the disk"):
            list(found.rows("", {}, ADDED)(1))
        begun.pop()


def test_columns_that_json_cannot_hold_are_carried(tmp_path: Path) -> None:
    when = datetime.datetime(2020, 1, 2)
    table = pa.table({"question": ["q"], "answer": ["a"], "when": [when], "raw": [b"\xff"]})
    parquet.write_table(table, tmp_path / "a.parquet")
    [row] = open_prompts(open_rows(str(tmp_path / "a.parquet"))).rows("self-output", {}, ADDED)(0)
    assert row.passthrough == {"when": when, "raw": b"\xff"}
    assert "when" not in row.own()


def test_damage_is_found_while_the_rows_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"question": "a", "answer": "b"}\n{"question": ')
    with pytest.raises(UsageError, match=r"a\.jsonl"):
        open_prompts(open_rows(str(tmp_path / "a.jsonl")))
