"""Mixtures: how many rows of which set, which ones, and in which order."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from synth.data.mix import DUPLICATE, MixPart, Mixture, mixed, plan
from synth.data.prompts import open_prompts
from synth.data.read import open_rows
from synth.data.row import IGNORED
from synth.errors import UsageError


def rows(prefix: str, count: int, **more: Any) -> list[dict[str, Any]]:
    found = []
    for n in range(count):
        turns = [{"role": "user", "content": f"{prefix} {n}?"}, {"role": "assistant", "content": "word " * (n % 7 + 1)}]
        found.append({"messages": turns, "number": n, **more})
    return found


def scored(found: list[dict[str, Any]], scorer: str = "m r assistant") -> list[dict[str, Any]]:
    for row in found:
        size = 3 + row["number"] % 5
        row |= {
            "input_ids": [5] * size,
            "labels": [IGNORED] + [5] * (size - 1),
            "logprobs": [None] + [-0.5] * (size - 1),
        }
        row["scorer"] = scorer
    return found


def part(folder: Path, name: str, found: list[dict[str, Any]], share: float | None = None) -> MixPart:
    import pyarrow as pa
    from pyarrow import parquet

    from synth.data.row import SCORES

    table = pa.Table.from_pylist(found)
    for item in SCORES:
        if item.name in table.schema.names:
            place = table.schema.get_field_index(item.name)
            table = table.set_column(place, item, table[item.name].cast(item.type))
    parquet.write_table(table, folder / f"{name}.parquet")
    return MixPart(name, open_prompts(open_rows(str(folder / f"{name}.parquet"))), share)


def records(mixture: Mixture, start: int = 0) -> list[dict[str, Any]]:
    return [row for rows, _ in mixed(mixture, start) for row in rows.to_pylist()]


def test_shares_of_rows_evenly_among_the_target(tmp_path: Path) -> None:
    parts = [
        part(tmp_path, "own", rows("t", 2_000)),
        part(tmp_path, "replay", rows("a", 900), 0.05),
        part(tmp_path, "safety", rows("b", 900, level="x"), 0.03),
    ]
    mixture = plan(parts, seed=1)
    found = records(mixture)
    assert Counter(row["source"] for row in found) == {"own": 2_000, "replay": 100, "safety": 60}
    assert [row["number"] for row in found if row["source"] == "own"] == list(range(2_000))
    taken = [row["number"] for row in found if row["source"] == "replay"]
    assert len(set(taken)) == 100 and taken != sorted(taken) and max(taken) > 700
    for start in range(0, 2_160, 216):  # a tenth of the mixture has a tenth of each set
        assert 8 <= sum(row["source"] == "replay" for row in found[start : start + 216]) <= 12
    assert {row["level"] for row in found} == {None, "x"}
    assert len({row["id"] for row in found}) == len(found)
    assert records(mixture, 1_500) == found[1_500:]
    assert records(plan(parts, seed=1)) == found
    assert [row["number"] for row in records(plan(parts, seed=2)) if row["source"] == "replay"] != taken


def test_orders(tmp_path: Path) -> None:
    parts = [part(tmp_path, "own", rows("t", 50)), part(tmp_path, "replay", rows("a", 50), 0.2)]
    appended = records(plan(parts, order="append"))
    assert [row["source"] for row in appended] == ["own"] * 50 + ["replay"] * 10
    shuffled = records(plan(parts, order="shuffle"))
    assert sorted(row["id"] for row in shuffled) == sorted(row["id"] for row in appended)
    assert [row["number"] for row in shuffled if row["source"] == "own"] != list(range(50))


def test_shares_of_tokens(tmp_path: Path) -> None:
    parts = [part(tmp_path, "own", scored(rows("t", 400))), part(tmp_path, "replay", scored(rows("a", 400)), 0.1)]
    mixture = plan(parts, by="tokens")
    found = records(mixture)
    tokens = Counter[str]()
    for row in found:
        tokens[row["source"]] += len(row["input_ids"])
        assert row["labels"][0] == IGNORED and row["scorer"] == "m r assistant"
    assert abs(tokens["replay"] - 0.1 * tokens["own"]) <= 4
    assert tokens["replay"] == parts[1].tokens and tokens["own"] == parts[0].tokens == 400 * 5
    plain = [part(tmp_path, "p", rows("t", 100)), part(tmp_path, "q", rows("a", 100), 0.1)]
    with pytest.raises(UsageError, match="`model`"):
        plan(plain, by="tokens")
    counted = plan(plain, by="tokens", count_tokens=lambda row: len(row["messages"][-1]["content"].split()))
    words = Counter[str]()
    for row in records(counted):
        words[row["source"]] += len(row["messages"][-1]["content"].split())
    assert abs(words["q"] - 0.1 * words["p"]) <= 4


def test_what_the_target_asks_is_not_replayed(tmp_path: Path) -> None:
    replay = rows("a", 30) + [{**row, "number": 99} for row in rows("t", 5)]
    replay[-1]["messages"][0]["content"] = " t  4? "  # white space makes no difference
    parts = [part(tmp_path, "own", rows("t", 20)), part(tmp_path, "replay", replay, 1.5)]
    mixture = plan(parts)
    assert len(parts[1].taken) == 30 and all(row["number"] != 99 for row in records(mixture))
    left_out = [row for _, batch in mixed(mixture) for row in batch.to_pylist()]
    assert mixture.total == mixture.rows + len(left_out)
    late = [row for _, batch in mixed(mixture, mixture.rows + 1) for row in batch.to_pylist()]
    assert late == left_out[1:]
    assert [row["number"] for row in left_out] == [99] * 5 and {row["reason"] for row in left_out} == {DUPLICATE}
    parts[1].share = 1.6
    with pytest.raises(UsageError, match=r"replay has 30 rows \(5 more are the target's\).*`oversample`"):
        plan(parts)


def test_oversampling_takes_every_row_as_often_as_any_other(tmp_path: Path) -> None:
    parts = [part(tmp_path, "own", rows("t", 100)), part(tmp_path, "replay", rows("a", 8), 0.3)]
    found = records(plan(parts, oversample=True))
    counts = Counter(row["number"] for row in found if row["source"] == "replay")
    assert sum(counts.values()) == 30 and set(counts.values()) == {3, 4} and len(counts) == 8
    assert len({row["id"] for row in found}) == 130


def test_sets_without_a_common_form_are_refused(tmp_path: Path) -> None:
    own = part(tmp_path, "own", scored(rows("t", 10)))
    with pytest.raises(UsageError, match="own has labels and replay has none"):
        plan([own, part(tmp_path, "replay", rows("a", 10), 0.1)])
    with pytest.raises(UsageError, match="scored by different models"):
        plan([own, part(tmp_path, "others", scored(rows("a", 10), "m2 r assistant"), 0.1)])
    clash = part(tmp_path, "clash", [row | {"number": [1]} for row in scored(rows("a", 10))], 0.1)
    with pytest.raises(UsageError, match="different types"):
        plan([own, clash])


def test_tokens_of_another_tool_need_tokens_beside_them(tmp_path: Path) -> None:
    """They come without scores; beside rows of messages alone they would leave these without tokens."""
    tokens = rows("a", 20, input_ids=[1, 2, 3], labels=[IGNORED, 2, 3])
    with pytest.raises(UsageError, match="replay has labels and own has none"):
        plan([part(tmp_path, "own", rows("t", 20)), part(tmp_path, "replay", tokens, 0.5)])
    unlabelled = part(tmp_path, "bare", rows("a", 20, input_ids=[1, 2, 3]), 0.5)
    with pytest.raises(UsageError, match="own has labels and bare has none"):  # else whole rows would be trained on
        plan([part(tmp_path, "own", scored(rows("t", 20))), unlabelled])
    both = [part(tmp_path, "own", scored(rows("t", 20))), part(tmp_path, "replay", tokens, 0.5)]
    found = records(plan(both))
    assert Counter(row["source"] for row in found) == {"own": 20, "replay": 10}
    assert all(row["input_ids"] and row["labels"] for row in found)
    assert both[1].tokens == 30


def test_a_target_of_many_batches(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows("t", 40_000)))
    target = MixPart("own", open_prompts(open_rows(str(path))))
    found = records(plan([target, part(tmp_path, "replay", rows("a", 4_000), 0.1)], order="shuffle"))
    assert len(found) == 44_000 and len({(row["source"], row["number"]) for row in found}) == 44_000
