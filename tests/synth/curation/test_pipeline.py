"""Curation: what filters see, in which order they run, and how they are written."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet

from synth.curation.context import FilterContext
from synth.curation.frames import blocks_of, columns_of, schema_of
from synth.curation.judging import REASON_LENGTH, OpenStep
from synth.curation.pipeline import Curation, Removal
from synth.curation.registry import StepKind
from synth.curation.steps import described, open_steps, read_step
from synth.data.prompts import PromptSet, open_prompts
from synth.data.read import open_rows
from synth.data.row import MESSAGES
from synth.data.run.record import MOST_CATEGORIES, OTHER, RunRecord
from synth.errors import UsageError


def tasks_of(folder: Path, rows: Sequence[dict[str, Any]], name: str = "set.jsonl") -> PromptSet:
    file = folder / name
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return open_prompts(open_rows(str(file)))


def chat(*turns: tuple[str, str | None], **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns], **more}


def pair(prompt: str, answer: str, **more: Any) -> dict[str, Any]:
    return chat(("user", prompt), ("assistant", answer), **more)


def opened(asked: Sequence[tuple[StepKind, str]], context: FilterContext) -> list[OpenStep]:
    return open_steps([read_step(kind, text) for kind, text in asked], context)


def frame_of(tasks: PromptSet) -> pl.DataFrame:
    return pl.concat([block.frame() for block in blocks_of(tasks)])


@dataclass
class Curated:
    """What became of all rows."""

    reasons: list[str | None]
    removals: list[Removal]


def curate(tasks: PromptSet, steps: Sequence[OpenStep]) -> Curated:
    curation = Curation(tasks, steps)
    reasons: dict[str, str | None] = {}
    for accepted, rejected in curation.rows():
        reasons |= dict.fromkeys(accepted["id"].to_pylist())
        reasons |= dict(zip(rejected["id"].to_pylist(), rejected["reason"].to_pylist(), strict=True))
    return Curated([reasons[name] for name in frame_of(tasks)["id"]], curation.removals)


def run(tasks: PromptSet, *asked: tuple[StepKind, str], seed: int = 0) -> Curated:
    return curate(tasks, opened(asked, FilterContext(columns_of(tasks), seed)))


def test_the_frame(tmp_path: Path) -> None:
    rows = [
        chat(("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("tool", "t"), ("assistant", "d")),
        chat(("user", "only asked"), text="own"),
        chat(("user", None), ("assistant", None)),
        chat(),
    ]
    tasks = tasks_of(tmp_path, [row | {"prompt_id": 7} for row in rows])
    frame = frame_of(tasks)
    assert frame["prompt"].to_list() == ["a\n\nc", "only asked", None, None]
    assert frame["answer"].to_list() == ["b\n\nd", None, None, None]
    assert frame["text"].to_list() == ["a\n\nb\n\nc\n\nt\n\nd", "only asked", "", ""]
    assert frame["system"].to_list() == ["s", None, None, None]
    assert frame["roles"].to_list()[0] == ["system", "user", "assistant", "user", "tool", "assistant"]
    assert frame["row"].to_list() == [0, 1, 2, 3]
    assert frame["input_text"].to_list() == [None, "own", None, None] and frame["prompt_id"].to_list() == [7] * 4
    assert columns_of(tasks) == frame.columns


def test_a_plain_text_is_what_is_said(tmp_path: Path) -> None:
    """Such as `synth rephrase` writes, beside the passage that was restated, and `synth sample`."""
    rows = [{"messages": None, "text": "restated", "reference": "as it was"}, pair("q", "a", text="other")]
    frame = frame_of(tasks_of(tmp_path, rows))
    assert frame["prompt"].to_list() == [None, "q"] and frame["answer"].to_list() == ["restated", "a"]
    assert frame["text"].to_list() == ["restated", "q\n\na"]


def test_a_reference_stands_for_an_answer_that_is_not_there(tmp_path: Path) -> None:
    tasks = tasks_of(tmp_path, [chat(("user", "q"), reference="human", method="m"), pair("q", "own")])
    frame = frame_of(tasks)
    assert frame["answer"].to_list() == ["human", "own"] and frame["text"].to_list() == ["q\n\nhuman", "q\n\nown"]


def test_what_scored_tokens_tell(tmp_path: Path) -> None:
    table = pa.table(
        {
            "messages": pa.array([pair("q", "a")["messages"]] * 2, MESSAGES),
            "input_ids": pa.array([[1, 2, 3], []], pa.list_(pa.int32())),
            "labels": pa.array([[-100, 2, 3], []], pa.list_(pa.int32())),
            "logprobs": pa.array([[None, -1.0, -2.0], []], pa.list_(pa.float32())),
            "scorer": pa.array(["m r assistant"] * 2),
        }
    )
    parquet.write_table(table, tmp_path / "scored.parquet")
    frame = frame_of(open_prompts(open_rows(str(tmp_path / "scored.parquet"))))
    assert frame["tokens"].to_list() == [3, 0]
    assert frame["perplexity"].to_list() == [pytest.approx(4.4817, abs=1e-3), None]


def test_each_step_sees_only_what_is_left(tmp_path: Path) -> None:
    rows = [pair("one?", "short"), pair("two?", "long enough, this one"), pair("two?", "long enough, this one")]
    tasks = tasks_of(tmp_path, rows)
    found = run(tasks, ("filter", "duplicates"), ("filter", "length:min=10"), ("filter", "length:of=prompt,max=3"))
    assert [removal.seen for removal in found.removals] == [3, 2, 1]
    assert found.reasons[0] == "length / too short: answer of 5 characters"
    assert found.reasons[1] == "length (2) / too long: prompt of 4 characters"
    assert (found.reasons[2] or "").startswith("duplicates / exact duplicate: of ")
    backwards = run(tasks, ("keep", "top:row,1"), ("filter", "duplicates"))
    assert [reason is None for reason in backwards.reasons] == [False, False, True]


def test_a_reason_that_says_the_filter_s_name_says_it_once(tmp_path: Path) -> None:
    tasks = tasks_of(tmp_path, [pair("Write to me", "Write to anna.karenina@gmail.com, please.")])
    [reason] = run(tasks, ("filter", "personal-data")).reasons
    assert (reason or "").startswith("personal data: e-mail")


def test_system_turns_are_searched_for_secrets_and_not_compared(tmp_path: Path) -> None:
    system = "You are a helper of many words that are the same in every row of this set, whatever is asked in it. " * 3
    rows = [
        chat(("system", system), ("user", "How old is the moon?"), ("assistant", "Very old.")),
        chat(("system", system), ("user", "Name a river of Spain."), ("assistant", "Ebro.")),
        chat(("system", "mail leo.tolstoy@gmail.com"), ("user", "Hello, who are you?"), ("assistant", "Me.")),
    ]
    found = run(tasks_of(tmp_path, rows), ("filter", "near-duplicates"), ("filter", "personal-data"))
    assert [reason is None for reason in found.reasons] == [True, True, False]


def test_columns(tmp_path: Path) -> None:
    scores = [(5, "a"), (1, "b"), (None, "a"), (3, "a")]
    tasks = tasks_of(tmp_path, [pair(f"q {n}", "a", quality=q, kind=k) for n, (q, k) in enumerate(scores)])
    assert run(tasks, ("filter", "column:quality,min=3,max=4")).reasons == [
        "column / high quality: 5",
        "column / low quality: 1",
        "column / no quality",
        None,
    ]
    assert run(tasks, ("filter", "column:kind,equals=a")).reasons == [None, "column / other kind: b", None, None]


def test_what_a_column_equals_is_of_its_type(tmp_path: Path) -> None:
    values = [{"flag": n == 1, "share": n / 2, "count": n, "code": f"0{n}"} for n in range(4)]
    tasks = tasks_of(tmp_path, [pair(f"q {n}", "a", **value) for n, value in enumerate(values)])
    for written, kept in {
        "flag,equals=True": [1],
        "flag,equals=false": [0, 2, 3],
        "flag,equals=maybe": [],
        "share,equals=1": [2],
        "share,equals=0.50": [1],
        "share,equals=half": [],
        "count,equals=2": [2],
        "code,equals=02": [2],
        "code,equals=2": [],
    }.items():
        reasons = run(tasks, ("filter", f"column:{written}")).reasons
        assert [n for n, reason in enumerate(reasons) if reason is None] == kept, written


def test_other_sets_and_benchmarks(tmp_path: Path) -> None:
    question = "A farmer has seventeen sheep and buys four times as many goats at the market in spring"
    tasks = tasks_of(tmp_path, [pair(question + "?", "68."), pair("Something else?", "Yes.")])
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"question": question + "!", "answer": "none"}) + "\n")
    for text, words in (("contamination", "other item 0"), ("against", "other row 0")):
        context = FilterContext(columns_of(tasks))
        found = curate(tasks, opened([("filter", f"{text}:{other}")], context))
        assert words in (found.reasons[0] or "") and found.reasons[1] is None
        assert list(context.inputs) == [str(other)]


def test_benchmarks_of_conversations(tmp_path: Path) -> None:
    question = "Which of these four rivers flows through three countries before it reaches the sea in the north?"
    benchmark = tasks_of(tmp_path, [pair(question, "The second.")], "exam.jsonl")
    tasks = tasks_of(tmp_path, [pair("Hear this: " + question, "The second."), pair("Hello.", "Hello.")])
    found = run(tasks, ("filter", f"contamination:{benchmark.source.source}"))
    assert "exam item 0" in (found.reasons[0] or "") and found.reasons[1] is None


def test_answers_of_benchmarks(tmp_path: Path) -> None:
    worked = "She sells 48 clips in April and 48/2 = <<48/2=24>>24 in May, so she sells 72 of them in all.\n#### 72"
    item = {"question": "How many clips does she sell in the two months together?", "answer": worked}
    turns = ["Name the three longest rivers of the whole continent of Asia", "And now those of Africa, please."]
    files = {"gsm.jsonl": item, "lists.jsonl": {"prompt": turns, "answer": 72}}
    for name, line in files.items():
        (tmp_path / name).write_text(json.dumps(line) + "\n")
    plain = worked.replace("<<48/2=24>>", "")
    tasks = tasks_of(tmp_path, [pair("Clips?", worked), pair("Clips again?", plain), pair("Another?", "Yes.")])
    found = run(tasks, ("filter", f"contamination:{tmp_path / 'gsm.jsonl'}"))
    assert all("answer of gsm item 0" in (reason or "") for reason in found.reasons[:2]) and found.reasons[2] is None
    asked = tasks_of(tmp_path, [pair(turns[0], "Yangtze."), pair("Rivers?", "Yangtze.")], "asked.jsonl")
    found = run(asked, ("filter", f"contamination:{tmp_path / 'lists.jsonl'}"))
    assert "lists item 0: “name the three" in (found.reasons[0] or "") and found.reasons[1] is None
    assert run(tasks, ("filter", f"contamination:{tmp_path / 'gsm.jsonl'},words=40,short=39")).reasons == [None] * 3


def test_columns_that_are_no_numbers(tmp_path: Path) -> None:
    tasks = tasks_of(tmp_path, [pair("q", "a", kind="good")])
    steps: list[tuple[StepKind, str]] = [("filter", "column:kind,min=1"), ("keep", "top:messages,1")]
    for step in steps:
        with pytest.raises(UsageError) as error:
            run(tasks, step)
        assert "\n" not in str(error.value) and step[1] in str(error.value)


def test_functions_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "mine_of_curation.py").write_text(
        "import polars as pl\n"
        "def reasons(frame): return pl.Series([None, 'odd:  one\\n two', '', 'x' * 5000], dtype=pl.String)\n"
        "def stays(frame): return frame['row'] < 2\n"
        "def expression(frame): return pl.when(pl.col('row') > 2).then(pl.lit('late'))\n"
        "def numbers(frame): return frame['row']\n"
        "def broken(frame): return frame['nothing']\n"
        "few = lambda frame: pl.Series(['one'])\n"
    )
    tasks = tasks_of(tmp_path, [pair(f"q {n}", "a") for n in range(4)])

    def reasons(name: str) -> list[str | None]:
        return run(tasks, ("filter", f"mine_of_curation:{name}")).reasons

    assert reasons("reasons")[:3] == [None, "reasons / odd: one two", "reasons / no reason given"]
    assert len(reasons("reasons")[3] or "") == REASON_LENGTH + len("reasons / ")
    assert reasons("stays") == [None, None, "stays / false", "stays / false"]
    assert reasons("expression") == [None, None, None, "expression / late"]
    for name, words in (("numbers", "of type Int"), ("broken", "nothing"), ("few", "1 values"), ("absent", "imported")):
        with pytest.raises(UsageError, match=words):
            reasons(name)


def test_as_many_reasons_as_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows keep their own; of those that are counted, and shown, no more than so many have names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "mine_of_length.py").write_text(
        "import polars as pl\ndef over(frame): return pl.format('too long by {}', pl.col('row'))\n"
    )
    count = MOST_CATEGORIES + 200
    found = run(tasks_of(tmp_path, [pair(f"q {n}", "a") for n in range(count)]), ("filter", "mine_of_length:over"))
    assert found.reasons == [f"over / too long by {n}" for n in range(count)]
    [removal] = found.removals
    assert len(removal.categories) == len(removal.examples) == MOST_CATEGORIES + 1
    assert removal.categories[OTHER] == 200 and removal.categories["too long by 0"] == 1
    assert removal.examples[OTHER][0] == (MOST_CATEGORIES, f"too long by {MOST_CATEGORIES}")
    record = RunRecord("filter", {})
    none = pa.record_batch({"method": pa.nulls(0, pa.string()), "verdict": pa.nulls(0, pa.string())})
    record.count_batches(none, pa.record_batch({"reason": found.reasons}))
    assert len(record.reasons) == MOST_CATEGORIES + 1 and record.reasons[OTHER] == 200 and record.rejected == count


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("filter", "lenght:min=3", "did you mean length"),
        ("filter", "lenght:min", "did you mean length"),
        ("filter", "top:row,1", "write `keep` top"),
        ("keep", "duplicates", "write `filter` duplicates"),
        ("filter", "length:mni=3", "did you mean min"),
        ("filter", "length:min=many", "min is a number|min is a whole number"),
        ("filter", "length:min=1.5", "whole number"),
        ("filter", "length:min=1e400", "whole number"),
        ("filter", "near-duplicates:threshold=nan", "threshold is a number, not nan"),
        ("filter", "contamination:test.jsonl,words=100000000000000000000", "words is a whole number"),
        ("filter", "length:min=1,min=2", "twice"),
        ("filter", "length:of=title", "one of answer, prompt, text"),
        ("filter", "refusal:3", "one value too many"),
        ("filter", "language", "name the languages"),
        ("filter", "language:xx", "no such language"),
        ("filter", "column:row", "min=, max= or equals="),
        ("filter", "column:nothing,min=1", "no column nothing"),
        ("filter", "against:nowhere.jsonl", "does not exist"),
        ("filter", "length:min=9,max=2", "no text has at least 9 and at most 2 characters"),
        ("filter", "repeated-words:n=0", "at least one word, not 0"),
        ("filter", "near-duplicates:n=0", "at least one word, not 0"),
        ("keep", "tokens:100,model=./nope", "nope"),
        ("filter", "near-duplicates:7", "near-duplicates:7: a similarity threshold is"),
        ("filter", "semantic-duplicates:no-such-model,threshold=7", "a similarity threshold is"),
        ("filter", "duplicates:against=nowhere.jsonl", "does not exist"),
        ("keep", "diverse:10,no-such-model,row,distance=1", "a distance of cosines is"),
        ("keep", "top:row", "rows is missing; it is written top:COLUMN,ROWS"),
        ("keep", "top:row,-5", "no number of rows"),
        ("keep", "top:row,1e999", "no number of rows"),
        ("keep", "top:row,200%", "no number of rows"),
        ("filter", "os.path:nothing_there", "cannot be imported"),
    ],
)
def test_wrong_words(kind: StepKind, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        opened([(kind, text)], FilterContext(["row"]))


def test_settings_found_wrong_by_the_filter_itself(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"contamination:.*: 3 words in a row for long texts"):
        tasks = tasks_of(tmp_path, [pair("q", "a")])
        opened([("filter", f"contamination:{tasks.source.source},words=3")], FilterContext(frame_of(tasks).columns))


def test_everything_known_is_described() -> None:
    for kind in ("filter", "keep"):
        for one in described(kind):
            assert one.says.endswith((".", "right.")) and len(one.says) < 110, one


def test_what_comes_out_has_the_columns_of_what_went_in(tmp_path: Path) -> None:
    tasks = tasks_of(tmp_path, [pair(f"q {n}", "a", reason="own", row=n) for n in range(5)])
    steps = opened([("keep", "top:input_row,2")], FilterContext(columns_of(tasks)))
    schema = schema_of(tasks)
    assert "input_reason" in schema.names and "reason" not in schema.names
    for start in (0, 3):
        [(accepted, rejected)] = Curation(tasks, steps).rows(start)
        assert accepted.schema == schema and rejected.schema.names == [*schema.names, "reason"]
        assert accepted["row"].to_pylist() == [3, 4]
        assert rejected["row"].to_pylist() == [0, 1, 2][start:] and rejected["input_reason"].null_count == 0


def test_duplicates_of_another_set(tmp_path: Path) -> None:
    other = tasks_of(tmp_path, [pair("What is the tallest of all mountains on earth?", "Everest.")], "other.jsonl")
    same, near = "what is the tallest of ALL mountains on earth", "What is the tallest of all mountains on this earth?"
    tasks = tasks_of(tmp_path, [pair(same, "a"), pair(near, "b"), pair("Else?", "c"), pair("Else?", "c")])
    for step, words in (
        ("duplicates:prompt", ["exact duplicate: of other row 0", None, None, None]),
        ("near-duplicates:0.6,of=prompt", ["similarity 1.00", "of other row 0, similarity 0.6", None, None]),
    ):
        found = run(tasks, ("filter", f"{step},against={other.source.source}")).reasons
        for reason, expected in zip(found, words, strict=True):
            assert (reason is None) if expected is None else expected in (reason or "")
