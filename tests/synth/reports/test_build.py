"""The page about data sets."""

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from synth.chat.format import ChatFormat
from synth.data.views import open_views
from synth.data.write import replace_text
from synth.errors import UsageError
from synth.reports.build import build_report
from synth.reports.figures import (
    conversations,
    small_batches,
    split_answer,
)
from synth.reports.page import packed
from tests.synth.reports.pages import built, scanned, scored_row, talk, tokens, write

EVIL = "</script><img src=x onerror=alert(1)><!-- & \u2028 \u202e"


def test_page_of_scored_data_sets(chat: ChatFormat, model: str, tmp_path: Path) -> None:
    human = [scored_row(chat, model, f"Question {at}?", "It is so.", at) for at in range(3)]
    own = [scored_row(chat, model, f"Question {at}?", "So it is!", at, method="self-output") for at in range(3)]
    sources = [write(tmp_path / name, rows, scored=True) for name, rows in (("human", human), ("own", own))]
    page, notes = built(tmp_path, *sources)
    assert notes == []
    groups = page.block("heat-data")
    assert [[version["m"] for version in group["v"]] for group in groups] == [["human", "self-output"]] * 3
    assert "3 of 3 prompts" in page.words
    index = page.block("index-data")
    assert index["rows"]["d"] == [0, 0, 0, 1, 1, 1] and index["methods"] == ["human", "self-output"]
    assert all(value > 1 for value in index["rows"]["p"])
    assert [row[1][0][1] for row in page.rows()] == [f"Question {at}?" for at in (0, 1, 2)] * 2
    assert "hard, over 2.5" in page.words


def test_nothing_hostile_gets_through(chat: ChatFormat, model: str, tmp_path: Path) -> None:
    rows = [
        scored_row(chat, model, EVIL, EVIL * 2, at, id=EVIL, method=EVIL) | {EVIL: f"{EVIL}{at % 2}"} for at in range(4)
    ]
    folder = tmp_path / "d<b>&"
    write(folder, rows, pa.field(EVIL, pa.string()), scored=True)
    write(folder / "rejected", [{"messages": talk("a", "b"), "reason": EVIL}], pa.field("reason", pa.string()))
    page, _ = built(tmp_path, str(folder))
    assert "<img" not in page.text and "<b>&" not in page.text
    names = [tag for tag, _ in page.tags]
    assert "img" not in names and names.count("style") == 1
    [script] = page.scripts
    policy = next(dict(attrs)["content"] for tag, attrs in page.tags if tag == "meta" and "http-equiv" in attrs)
    assert policy is not None and base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy
    assert "default-src 'none'" in policy and not re.search(r"https?://|url\(|@import", script)
    assert not any(
        name in ("src", "href") and not (value or "").startswith("#") for _, a in page.tags for name, value in a.items()
    )
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert EVIL in page.rows()[0][1][0][1]
    assert not re.search(r"[<>&\u2028]", packed([EVIL]))


def test_odd_data_sets(tmp_path: Path) -> None:
    empty = write(tmp_path / "empty", [], scored=True)
    page, _ = built(tmp_path, empty)
    assert "There are no rows." in page.words and "synth score-tokens" in page.words
    nothing = tmp_path / "nothing.jsonl"
    nothing.write_text("")
    built(tmp_path, str(nothing), empty)
    nulls: list[dict[str, Any]] = [
        {"messages": None},
        {"messages": []},
        {"messages": [None]},
        {"messages": [{"role": None, "content": None}]},
        {"messages": talk("only", "one")},
    ]
    page, [note] = built(tmp_path, write(tmp_path / "nulls.parquet", nulls))
    assert "All 1 rows." in page.words and note.startswith("4 of 5 rows cannot be read and are left out; row 0: ")
    one = write(tmp_path / "one", [{"messages": talk("only", "one")}])
    page, notes = built(tmp_path, one, one)
    assert page.block("index-data")["sets"] == ["one", "one (2)"] and notes == []
    assert page.words.count("synth score-tokens D --model M -o scored") == 2


def test_scorer_that_cannot_be_found(tmp_path: Path, model: str) -> None:
    row = {"messages": talk("a", "b")} | tokens([60, 61], [None, -1.0], scorer="/no/such/model rev assistant")
    source = write(tmp_path / "d", [row], scored=True)
    page, [note] = built(tmp_path, source)
    assert "tokenizer of /no/such/model" in note and "`model` M" in note and note in page.words
    assert "No heat maps" in page.words and page.block("heat-data") == []
    assert "hard, over 2.5" in page.words  # the rest is there
    page, notes = built(tmp_path, source, model=model)
    assert notes == [] and len(page.block("heat-data")) == 1


def test_run_record_reasons_and_categories(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"messages": talk("a", str(at)), "skill": f"skill {at % 3}"} for at in range(20)]
    folder = write(tmp_path / "run", rows, pa.field("skill", pa.string()))
    rejected = [{"messages": talk("no", "no"), "reason": "too short: 3 characters"}]
    write(tmp_path / "run" / "rejected", rejected, pa.field("reason", pa.string()))
    page, _ = built(tmp_path, folder)
    assert "20 accepted (95.2%), 1 rejected" in page.words and "too short 1" in page.words  # counted from the rows
    assert "skill skill 0 7 skill 1 7 skill 2 6" in page.words
    assert page.block("index-data")["rows"]["s"] == [0] * 20 + [1]
    assert page.rows()[-1][3] == "too short: 3 characters"
    record = {"command": "magpie", "settings": {}, "accepted": 20, "rejected": 80, "reasons": {"cut off": 80}}
    replace_text(
        tmp_path / "run" / "run.json", json.dumps(record | {"methods": {"magpie": 20}, "note": "stopped early"})
    )
    page, _ = built(tmp_path, folder)
    assert "20 accepted (20.0%), 80 rejected" in page.words and "cut off 80" in page.words
    assert "stopped early" in page.words and "synth magpie" in page.words
    replace_text(tmp_path / "run" / "run.json", "{")
    page, notes = built(tmp_path, folder)
    assert "is damaged" in notes[0]
    page, _ = built(tmp_path, str(tmp_path / "run" / "rejected"))
    assert page.block("index-data")["sets"] == ["run/rejected"] and "0 accepted (0.0%), 1 rejected" in page.words


def test_bounds_are_kept_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synth.reports.build.MOST_ROWS", 7)
    monkeypatch.setattr("synth.reports.build.BLOCK_ROWS", 3)
    monkeypatch.setattr("synth.reports.build.ROW_CHARS", 50)
    rows = [{"messages": talk("q" * 10, f"{at} " + "a" * 100), "method": f"method {at}"} for at in range(60)]
    page, _ = built(tmp_path, write(tmp_path / "d", rows))
    assert "7 of 60 rows, evenly chosen." in page.words and "Texts beyond 50 characters are cut." in page.words
    found = page.rows()
    assert [row[1][1][1].split()[0] for row in found] == ["0", "8", "17", "25", "34", "42", "51"]
    assert all(row[2] == 1 and sum(len(content) for _, content in row[1]) == 50 for row in found)
    assert "(other)" in page.words and "method 40" not in page.words.split("Values of columns")[0]


def test_output_is_not_overwritten_by_mistake(tmp_path: Path) -> None:
    file = write(tmp_path / "rows.jsonl", [{"messages": talk("a", "b")}])
    page = str(tmp_path / "deep" / "page.html")
    build_report([file], page)
    for output, force, message in (
        (page, False, "`force`"),
        (file, True, "input itself"),
        (str(tmp_path), True, "is a directory"),
    ):
        with pytest.raises(UsageError, match=message):
            build_report([file], output, force=force)
    build_report([file], page, force=True)


def test_pairs_and_plain_texts(tmp_path: Path) -> None:
    pair = {
        "prompt": [{"role": "user", "content": "Why?"}],
        "chosen": [{"role": "assistant", "content": "So."}],
        "rejected": [{"role": "assistant", "content": "No."}],
    }
    sources = [str(tmp_path / name) for name in ("pairs.jsonl", "texts.jsonl")]
    for source, row in zip(sources, (pair | {"id": "p"}, {"text": "It was dark."}), strict=True):
        Path(source).write_text(json.dumps(row) + "\n")
    page, _ = built(tmp_path, *sources)
    rows = page.block("block-0")
    assert rows[0] == ["p", [["user", "Why?"]], 0, "", [["assistant", "So."]], [["assistant", "No."]]]
    assert rows[1][1] == [["text", "It was dark."]]
    assert page.block("index-data")["rows"]["n"] == [10, 12]


def test_parts_of_turns(tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "add", "arguments": "{}"}}
    called = {"role": "assistant", "content": "", "reasoning_content": "Add.", "tool_calls": [call]}
    asked = {"role": "user", "content": "2+2?"}
    said = {"role": "assistant", "content": "4", "reasoning_content": "So <b>4</b>."}
    source = str(tmp_path / "rows.jsonl")
    rows = [{"messages": [asked, called]}, {"messages": [asked, said]}]
    Path(source).write_text("".join(json.dumps(row) + "\n" for row in rows))
    [batch] = small_batches(open_views(source))
    found = [split_answer(turns) for turns in conversations(batch)]
    assert [prompt for prompt, _ in found] == [[("user", "2+2?")]] * 2, "thoughts are of the answer"
    assert [answer for _, answer in found] == [
        [("thoughts", "Add."), ("calls", "add({})")],
        [("thoughts", "So <b>4</b>."), ("assistant", "4")],
    ]
    assert scanned(source).columns["chars"].tolist() == [15, 17]
    page, _ = built(tmp_path, source)
    shown = page.block("block-0")[0][1]
    assert shown == [["user", "2+2?"], ["thoughts", "Add."], ["calls", "add({})"]]
