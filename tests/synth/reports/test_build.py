import base64
import gzip
import hashlib
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from synth.chat.format import ChatFormat
from synth.data.read import open_rows
from synth.data.row import MESSAGES
from synth.data.views import open_views
from synth.data.write import open_writer, replace_text
from synth.errors import UsageError
from synth.reports.build import build_report
from synth.reports.figures import (
    BIN_NATS,
    Scan,
    conversations,
    figures,
    method_label,
    scan_rows,
    small_batches,
    split_answer,
)
from synth.reports.heat_maps import choose, cut, evenly, heat_map, level
from synth.reports.page import packed
from synth.scoring.cells import cells

EVIL = "</script><img src=x onerror=alert(1)><!-- & \u2028 \u202e"
TOKEN_FIELDS = [
    pa.field("input_ids", pa.list_(pa.int32())),
    pa.field("labels", pa.list_(pa.int32())),
    pa.field("logprobs", pa.list_(pa.float32())),
    pa.field("scorer", pa.string()),
]
TEXT_FIELDS = [pa.field("messages", MESSAGES), *(pa.field(name, pa.string()) for name in ("id", "parent", "method"))]


def talk(prompt: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def write(path: Path, records: list[dict[str, Any]], *more: pa.Field, scored: bool = False) -> str:
    schema = pa.schema([*TEXT_FIELDS, *(TOKEN_FIELDS if scored else []), *more])
    with open_writer(str(path), schema) as writer:
        writer.write(pa.RecordBatch.from_pylist(records, schema=schema))
    return str(path)


def tokens(ids: list[int], logprobs: list[float | None], masked: tuple[int, ...] = (), scorer: str = "") -> Any:
    kept = [logprobs[at] is not None and at not in masked for at in range(len(ids))]
    labels = [token if keep else -100 for token, keep in zip(ids, kept, strict=True)]
    return {"input_ids": ids, "labels": labels, "logprobs": logprobs, "scorer": scorer}


def scored_row(chat: ChatFormat, model: str, prompt: str, answer: str, seed: int, **more: Any) -> dict[str, Any]:
    """A row as `synth score-tokens` writes it, with log-probabilities of chance; the third answer token is masked."""
    encoded = chat.encode(talk(prompt, answer))
    chance = Random(seed)
    logprobs = [-chance.expovariate(0.7) if trained else None for trained in encoded.trained]
    third = [at for at, trained in enumerate(encoded.trained) if trained][2]
    scores = tokens(encoded.input_ids, logprobs, (third,), f"{model} r all")
    return {"messages": talk(prompt, answer), **scores, **more}


def scanned(source: str) -> Scan:
    return scan_rows(open_rows(source))


class Page(HTMLParser):
    """What a browser would see: tags, and the scripts that would run."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.said: list[str] = []
        self._in_script = False
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_script = tag == "script" and "type" not in dict(attrs)

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script" and self._in_script:
            self.scripts.append(data)
            self._in_script = False
        elif self.tags and self.tags[-1][0] not in ("script", "style"):
            self.said.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.said).split())

    def block(self, name: str) -> Any:
        found = re.search(rf'id="{name}">([^<]*)<', self.text)
        assert found is not None
        return json.loads(gzip.decompress(base64.b64decode(found[1])), parse_constant=lambda name: pytest.fail(name))

    def rows(self) -> list[Any]:
        return [
            row for number in range(len(re.findall('id="block-', self.text))) for row in self.block(f"block-{number}")
        ]


def built(tmp_path: Path, *sources: str, model: str | None = None) -> tuple[Page, list[str]]:
    made = build_report(sources, str(tmp_path / "page.html"), model=model, force=True)
    assert made.size == (tmp_path / "page.html").stat().st_size
    page = Page(tmp_path / "page.html")
    assert not re.search(r"\b(nan|inf|NaN|Infinity|None|undefined)\b", page.words)
    return page, made.notes


def test_figures_by_hand(tmp_path: Path) -> None:
    ln2 = math.log(2)
    rows = [
        {"messages": talk("a", "b")} | tokens([1, 2, 3], [None, -ln2, -3 * ln2], masked=(2,)),
        {"messages": talk("a", "cd")} | tokens([1, 2], [None, -4 * ln2]),
        {"messages": talk("a", "b"), "method": "self-output"} | tokens([1, 2], [None, 0.0]),
        {"messages": talk("a", "b"), "method": "self-output"} | tokens([1], [None]),
        {"messages": None, "input_ids": None, "labels": None, "logprobs": None},
    ]
    scan = scanned(write(tmp_path / "d", rows, scored=True))
    assert scan.methods == ["human", "self-output"]
    human = figures(scan, 0)
    assert (human.rows, human.tokens, human.scored) == (3, 5, 3)
    assert human.perplexity == pytest.approx(2 ** (8 / 3))  # exp(8 ln 2 / 3)
    assert human.row_mean == pytest.approx(10) and human.row_deviation == pytest.approx(6)  # of 4 and 16
    assert human.hard == pytest.approx(2 / 3) and human.masked == pytest.approx(1 / 3)  # 2 is easy; 8 and 16 are hard
    assert human.mean_chars == pytest.approx(5 / 3)
    own = figures(scan, 1)
    assert (own.perplexity, own.row_mean, own.row_deviation, own.hard, own.masked) == (1, 1, 0, 0, 0)
    everything = figures(scan)
    assert everything.rows == 5 and everything.scored == 4
    assert everything.perplexity == pytest.approx(4)


def test_histogram_has_an_edge_at_the_hard_limit(tmp_path: Path) -> None:
    values = [1.0, 2.49, 2.51, 1e30]
    row = {"messages": talk("a", "b")} | tokens([1] * 4, [-math.log(value) for value in values])
    [counts] = scanned(write(tmp_path / "d", [row], scored=True)).histogram
    assert counts.nonzero()[0].tolist() == [0, 3, 4, 39] and counts.sum() == 4
    assert math.exp(4 * BIN_NATS) == pytest.approx(2.5)


def test_log_probabilities_that_are_no_numbers_count_as_not_scored(tmp_path: Path) -> None:
    values = [float("-inf"), float("nan"), -3e38, -1.0, None]
    row = {"messages": talk("a", "b")} | tokens([5] * 5, values, scorer="/no/such model r all")
    page, notes = built(tmp_path, write(tmp_path / "d", [row], scored=True))
    assert any("2 log-probabilities are not finite" in note for note in notes)
    assert "perplexity" in page.words
    page.block("index-data")


def test_token_columns_of_different_lengths_are_refused(tmp_path: Path) -> None:
    row = {"messages": talk("a", "b"), "input_ids": [1, 2], "labels": [1, 2], "logprobs": [-1.0]}
    with pytest.raises(UsageError, match="row 0 has 2 input_ids, 2 labels, 1 logprobs"):
        scanned(write(tmp_path / "d", [row], scored=True))


def test_method_labels() -> None:
    assert method_label(None, None) == method_label("input", None) == "human"
    assert method_label("input", "M") == "input" and method_label("gold", None) == "gold"


def test_groups_answer_one_prompt_or_have_one_parent(tmp_path: Path) -> None:
    one = tokens([1, 2], [None, -1.0])
    human = [{"id": f"h{at}", "messages": talk(f"q{at}", "x")} | one for at in range(6)]
    own = [
        {"id": "a", "messages": talk("q4", "y"), "method": "self-output"} | one,
        {"id": "a2", "messages": talk("q4", "another"), "method": "self-output"} | one,
        {"id": "b", "parent": "h2", "messages": talk("q2, but longer", "y"), "method": "self-output"} | one,
        {"id": "c", "parent": "c", "messages": talk("alone", "y"), "method": "self-output"} | one,
        {"id": "d", "messages": talk("q5", "not scored"), "method": "self-output"} | tokens([1], [None]),
    ]
    scans = [scanned(write(tmp_path / name, rows, scored=True)) for name, rows in (("h", human), ("o", own))]
    choice = choose(scans, 4)
    assert choice.groups == 7
    assert choice.chosen[:2] == [[(0, 2), (1, 2)], [(0, 4), (1, 0), (1, 1)]]  # those of two data sets
    assert [len(group) for group in choice.chosen] == [2, 3, 1, 1]
    scans[1].rejected = True
    assert choose(scans).groups == 6
    assert choose([]).groups == 0


def test_of_one_prompt_every_answer_has_a_heat_map(tmp_path: Path) -> None:
    """Eight samples of one method beside a human's; the first of each data set and method come first."""
    one = tokens([1, 2], [None, -1.0])
    human = [{"id": "h", "messages": talk("q", "x")} | one]
    own = [{"id": f"o{at}", "messages": talk("q", f"y{at}"), "method": "magpie"} | one for at in range(8)]
    own.insert(4, {"id": "p", "messages": talk("q", "z"), "method": "paraphrase"} | one)
    scans = [scanned(write(tmp_path / name, rows, scored=True)) for name, rows in (("h", human), ("o", own))]
    (group,) = choose(scans).chosen
    assert group[:3] == [(0, 0), (1, 0), (1, 4)]
    assert group[3:] == [(1, 1), (1, 2), (1, 3), (1, 5), (1, 6), (1, 7), (1, 8)]


def test_evenly_and_level() -> None:
    assert evenly(10, 4).tolist() == [0, 2, 5, 7]
    assert evenly(3, 9).tolist() == [0, 1, 2] and evenly(0, 9).tolist() == []
    assert level(np.array([1, 10, 100]), 31) == 20  # 1 + 10 + 20
    assert level(np.array([5, 5]), 100) == 5 and level(np.array([], np.int64), 9) == 0
    kept, was_cut = cut([("user", "a" * 10), ("assistant", "b" * 100)], 30)
    assert was_cut and [len(content) for _, content in kept] == [10, 20]
    assert cut([("user", "ab")], 30) == ([("user", "ab")], False)


def test_cells_spell_the_decoded_text(chat: ChatFormat) -> None:
    encoded = chat.encode(talk("What is 2+2?", "  Ünïcode 日本 🙂\n\tdone."))
    found = cells(chat.tokenizer, encoded.input_ids)
    assert "".join(cell.text for cell in found) == encoded.text
    assert sum(cell.tokens for cell in found) == len(encoded.input_ids)
    assert {"日", "🙂"} <= {cell.text.strip() for cell in found} and not any("\ufffd" in cell.text for cell in found)
    assert [cell.text for cell in found if cell.special][:2] == ["<bos>", "<|user|>"]


def test_cells_of_broken_characters_and_foreign_ids(chat: ChatFormat) -> None:
    emoji = chat.tokenizer("🙂", add_special_tokens=False)["input_ids"]
    broken = [*emoji[:-1], 2, *emoji[:-2], 10**6, -1]
    found = cells(chat.tokenizer, broken)
    assert sum(cell.tokens for cell in found) == len(broken) and all(cell.text for cell in found)
    assert [cell.text for cell in found][-2:] == ["<token 1000000>", "<token -1>"]


def test_heat_map_of_a_row(chat: ChatFormat, model: str, tmp_path: Path) -> None:
    source = write(tmp_path / "d", [scored_row(chat, model, "Why 日?", "Because 日 is.", 1)], scored=True)
    [batch] = open_rows(source).batches()
    found = heat_map(batch, chat.tokenizer)
    assert len(found["t"]) == len(found["k"]) == len(found["l"])
    first = next(at for at, value in enumerate(found["l"]) if value is not None)
    assert found["lead"] == first and set(found["k"][:first]) <= {0, 4}
    assert sum(kind & 3 == 2 for kind in found["k"]) == 1
    assert any(isinstance(value, list) and len(value) > 1 for value in found["l"])  # 日 is several tokens


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


def test_all_heat_maps_are_within_reach(chat: ChatFormat, model: str, tmp_path: Path) -> None:
    rows = [scored_row(chat, model, f"Question {at}?", "It is so.", at) for at in range(60)]
    page, _ = built(tmp_path, write(tmp_path / "human", rows, scored=True))
    assert len(page.block("heat-data")) == 60 and "60 of 60 prompts" in page.words
