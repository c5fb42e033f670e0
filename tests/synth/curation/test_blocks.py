"""Rows gone through block by block: what comes out is what one block gives, and killed, a run is gone on with."""

import itertools
import json
import operator
import random
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import synth
from synth.curation import frames
from synth.curation.context import FilterContext
from synth.curation.frames import blocks_of, columns_of
from synth.curation.judging import Judge, OpenStep, judge_here
from synth.curation.pipeline import Curation
from synth.curation.processes import Processes
from synth.curation.steps import open_steps, steps_of
from synth.curation.summary import StepSummary, summaries
from synth.data.prompts import PromptSet, open_prompts
from synth.data.read import open_rows
from synth.data.row import MESSAGES
from tests.cli.running import code, forked

STEPS = [
    *("length:min=12", "near-duplicates", "refusal", "duplicates:of=answer", "personal-data"),
    *("column:quality,min=1", "shortest-right", "top:quality,60%", "length:max=60,unit=words", "random:90%"),
]
"""Filters of single rows before, between and behind comparisons."""


def rows_of(count: int, seed: int = 0) -> pa.Table:
    """Rows with duplicates, refusals, addresses, and some that cannot be read."""
    chance = random.Random(seed)
    words = [f"w{number}" for number in range(500)]
    conversations: list[list[dict[str, str]]] = []
    for number in range(count):
        if number % 4 == 3:
            turns = [dict(turn) for turn in chance.choice(conversations)]
            if number % 8 == 3:
                turns[0]["content"] += " indeed"
        else:
            answer = " ".join(chance.choices(words, k=chance.randint(1, 80)))
            answer += chance.choice(["", "", ".", " mail leo.tolstoy@gmail.com", "I'm sorry, but I can't do that."])
            turns = [{"role": "user", "content": " ".join(chance.choices(words, k=chance.randint(4, 40)))}]
            turns += [{"role": "assistant", "content": answer}]
        conversations.append(turns)
    quality = [chance.choice([None, *range(5)]) for _ in range(count)]
    verdict = [chance.choice(["right", "right", "wrong"]) for _ in range(count)]
    return pa.table({"messages": pa.array(conversations, MESSAGES), "quality": quality, "verdict": verdict})


def in_batches(table: pa.Table, file: Path, rows: int) -> Path:
    with pa.ipc.new_stream(str(file), table.schema) as stream:
        stream.write_table(table, max_chunksize=rows)
    return file


def curated(
    prompts: PromptSet, start: int = 0, judge: Judge = judge_here
) -> tuple[list[str], list[tuple[str, str]], list[StepSummary]]:
    """The ids that stay, those that do not with their reasons, and what each step did."""
    curation = Curation(prompts, open_steps(steps_of(STEPS), FilterContext(columns_of(prompts), seed=3)), judge)
    stay: list[str] = []
    gone: list[tuple[str, str]] = []
    for accepted, rejected in curation.rows(start):
        stay += accepted["id"].to_pylist()
        gone += zip(rejected["id"].to_pylist(), rejected["reason"].to_pylist(), strict=True)
    return stay, gone, summaries(curation.removals, (block.frame() for block in blocks_of(prompts)))


def test_blocks_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = open_prompts(open_rows(str(in_batches(rows_of(700), tmp_path / "rows.arrow", 7))))
    whole = curated(prompts)
    assert len(list(blocks_of(prompts))) == 1
    assert all(step.removed for step in whole[2]) and 50 < len(whole[0]) < 400
    assert len(whole[0]) + len(whole[1]) == 700 == whole[2][0].seen
    for before, after in itertools.pairwise(whole[2]):
        assert after.seen == before.seen - before.removed
    monkeypatch.setattr(frames, "BLOCK_ROWS", 60)
    assert len(list(blocks_of(prompts))) == 12
    assert curated(prompts) == whole
    with Processes(2, FilterContext(columns_of(prompts), seed=3)) as processes:
        assert curated(prompts, judge=processes.judge) == whole
    stay, gone, did = curated(prompts, 301)
    assert did == whole[2] and len(stay) + len(gone) == 399
    assert stay == whole[0][-len(stay) :] and gone == whole[1][-len(gone) :]


def test_rows_that_cannot_be_read_come_before_no_filter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[dict[str, Any]] = [{"messages": [{"role": "user", "content": f"What is {n}?"}]} for n in range(40)]
    lines[4::9] = [{"messages": [{"role": "user", "content": "x", "tool_calls": "none"}]}] * 4
    monkeypatch.setattr(frames, "BLOCK_ROWS", 8)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    steps = ["column:row,min=2", "duplicates", "length:of=prompt,min=3"]
    kept = synth.filter(tmp_path / "rows.jsonl", steps, output=tmp_path / "out", progress=synth.SILENT)
    assert [step.seen for step in kept.steps] == [36, 34, 34] and len(kept) == 34
    assert kept.rejected is not None
    reasons = [row["reason"] for row in kept.rejected]
    assert reasons[:2] == ["column / low row: 0", "column / low row: 1"]
    assert reasons[2:] == ["tool call: turn 1 (user) has 'tool_calls'"] * 4


def test_a_function_of_the_user_sees_all_rows_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "BLOCK_ROWS", 10)
    source = in_batches(rows_of(100).drop_columns(["verdict"]), tmp_path / "rows.arrow", 9)
    kept = synth.filter(source, lambda frame: frame["quality"] > frame["quality"].mean(), progress=synth.SILENT)
    assert len(kept) == rows_of(100)["quality"].to_pylist().count(3) + rows_of(100)["quality"].to_pylist().count(4)


KILLED = """
import os, sys
import synth
from filters import duplicates
from synth.curation import frames
from synth.data.run.directory import RunDirectory
frames.BLOCK_ROWS = 64
source, output, place, times = sys.argv[1:]
def killing(owner, name):
    true, left = getattr(owner, name), [int(times)]
    def method(*values, **named):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), 9)
        return true(*values, **named)
    setattr(owner, name, method)
killing(*{"comparing": (duplicates.NearDuplicates, "_take"), "writing": (RunDirectory, "extend")}[place])
synth.data.run.directory.BATCH_SECONDS = 0  # all land as they come
synth.filter(source, ["length:min=12", "near-duplicates"], output=output, progress=synth.SILENT)
"""


def test_a_run_that_was_killed_is_gone_on_with(tmp_path: Path) -> None:
    source = in_batches(rows_of(600), tmp_path / "rows.arrow", 50)
    steps = ["length:min=12", "near-duplicates"]
    whole = synth.filter(source, steps, output=tmp_path / "whole", progress=synth.SILENT)
    for place, times in (("comparing", 3), ("writing", 1), ("writing", 9)):
        done = forked(KILLED, source, tmp_path / "parts", place, times, program=code)
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert json.loads((tmp_path / "parts" / "progress.json").read_text())["next"] == 400
    parts = synth.filter(source, steps, output=tmp_path / "parts", progress=synth.SILENT)
    for one, other in ((parts, whole), (parts.rejected, whole.rejected)):
        assert one is not None and other is not None and list(one) == list(other) and len(one)
    assert parts.record is not None and whole.record is not None and parts.record.reasons == whole.record.reasons


def test_a_folder_for_temporary_files_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    rows = [{"question": "What is 1?", "answer": "It is 1."}] * 3
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(synth.RunError, match=r"cannot write temporary files to .*nowhere.*TMPDIR"):
        synth.filter(tmp_path / "rows.jsonl", "duplicates", output=tmp_path / "out", progress=synth.SILENT)


def test_several_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They say what goes wrong in them, and end with the run."""
    monkeypatch.setattr(frames, "BLOCK_ROWS", 20)
    (tmp_path / "test.jsonl").write_text(json.dumps({"question": "w1 w2 w3", "answer": "none"}) + "\n")
    source = in_batches(rows_of(100), tmp_path / "rows.arrow", 20)
    steps: list[Any] = ["length:min=12", synth.filters.Contamination(tmp_path / "test.jsonl"), "column:quality,min=2"]
    one = synth.filter(source, steps, progress=synth.SILENT)
    several = synth.filter(source, steps, processes=2, progress=synth.SILENT)
    assert list(several) == list(one) and several.record is not None and one.record is not None
    assert several.record.reasons == one.record.reasons and several.record.settings == one.record.settings
    with pytest.raises(synth.UsageError, match=r"column:verdict,min=1: "):
        synth.filter(source, "column:verdict,min=1", processes=2, progress=synth.SILENT)
    prompts = open_prompts(open_rows(str(source)))
    fails = OpenStep("odd", "odd", lambda frame: frame["row"], make=operator.methodcaller("absent"))
    with Processes(2, FilterContext(columns_of(prompts))) as processes, pytest.raises(AttributeError, match="absent"):
        list(Curation(prompts, [fails], processes.judge).rows())
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(synth.RunError, match=r"ended \(exit status 1\).*fewer `processes`"):
        synth.filter(source, "length:min=12", processes=2, progress=synth.SILENT)
