"""Every filter over rows that are empty, huge, broken, all alike, or not there."""

import json
from pathlib import Path

import polars as pl
import pytest

from synth.curation.judging import OpenStep
from synth.curation.registry import StepKind
from synth.data.prompts import open_prompts
from synth.data.read import open_rows
from tests.synth.curation.test_pipeline import chat, curate, pair, run, tasks_of

EVERY_FILTER: list[tuple[StepKind, str]] = [
    ("filter", "roles"),
    ("filter", "length"),
    ("filter", "length:unit=words,max=1000000"),
    ("filter", "repeated-words"),
    ("filter", "repeated-lines"),
    ("filter", "symbols"),
    ("filter", "digits"),
    ("filter", "unfinished"),
    ("filter", "refusal"),
    ("filter", "template-debris"),
    ("filter", "language:en"),
    ("filter", "personal-data"),
    ("filter", "secrets"),
    ("filter", "duplicates"),
    ("filter", "near-duplicates"),
    ("filter", "column:row,min=0"),
    ("keep", "longest:1000"),
    ("keep", "random:100%"),
]


@pytest.mark.parametrize("step", EVERY_FILTER, ids=lambda step: step[1])
def test_odd_rows(tmp_path: Path, step: tuple[StepKind, str]) -> None:
    huge = "word after word, and none like the other 0123456789 " * 100_000  # 5 MB
    rows = [
        chat(),
        chat(("user", None), ("assistant", None)),
        chat(("", "x")),
        pair("\x00\ufffd\u202e", "\U0001f600" * 50 + "\ufeff"),
        pair("q", huge),
        pair("Say hello, please.", "Hello to you, and a fine morning."),
    ]
    one = tasks_of(tmp_path, rows[-1:], "one.jsonl")
    none = open_prompts(open_rows(one.source.source), limit=0)
    assert run(one, step).reasons == [None]
    assert run(tasks_of(tmp_path, rows), step).reasons[-1] is None
    assert run(none, step).reasons == []


def test_broken_unicode(tmp_path: Path) -> None:
    file = tmp_path / "broken.jsonl"
    line = json.dumps(pair("q \\ud83d", "a \\udc00 whole answer.")).replace("\\\\", "\\")
    file.write_text(line + "\n" + json.dumps(pair("fine", "An answer that is whole.")) + "\n")
    found = run(open_prompts(open_rows(str(file))), *EVERY_FILTER[:-4])
    assert len(found.reasons) == 2 and found.reasons[1] is None


def test_all_rows_alike(tmp_path: Path) -> None:
    tasks = tasks_of(tmp_path, [pair("the same", "over and over")] * 500)
    found = run(tasks, ("filter", "near-duplicates"))
    assert found.reasons[0] is None and len([reason for reason in found.reasons if reason]) == 499


def test_a_step_after_nothing_is_left(tmp_path: Path) -> None:
    tasks = tasks_of(tmp_path, [pair("q", "a")])
    never = OpenStep("never", "never", lambda frame: pytest.fail("it was called"))
    everything = OpenStep("all", "all", lambda frame: pl.Series(["gone"] * len(frame)))
    assert curate(tasks, [everything, never]).removals[1].seen == 0
