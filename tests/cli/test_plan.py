"""`--preview` and `synth plan`: what a run takes, before it starts and from one that was made."""

from pathlib import Path

import pytest

import synth
from tests.cli.running import load
from tests.conftest import Here

MAGPIE = ["magpie", "--model", "samples/model", "--device", "cpu", "--answer-temperature", 1, "--question-tokens", 24]


def test_a_preview_shows_the_first_rows_of_the_run_and_what_it_takes(here: Here, tmp_path: Path) -> None:
    seen = here(*MAGPIE, "-n", 5000, "--preview", 8, "-o", tmp_path / "d")
    assert seen.returncode == 0 and not (tmp_path / "d").exists(), seen.stderr
    made = here(*MAGPIE, "-n", 3, "-o", tmp_path / "d")
    assert made.returncode == 0, made.stderr
    said = " ".join(seen.stdout.split())
    assert all(row["id"] in said for row in load(tmp_path / "d"))
    assert "8 attempts in" in said and " accepted (" in said and "rejected, for example:" in said
    first = next(line for line in seen.stdout.splitlines() if line.lstrip().startswith("5,000 "))
    assert "–" in first and "100,000,000" in seen.stdout
    plan = here("plan", tmp_path / "d", "-n", 777)
    assert plan.returncode == 0 and "\n 777  " in plan.stdout.replace("rows", "    "), plan.stdout


def test_no_preview_of_what_no_model_makes(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}]
    with pytest.raises(synth.UsageError, match=r"`preview` .*: first rows are shown of runs that a model"):
        synth.filter(rows, [synth.filters.Duplicates()], output=synth.FirstRows(1))
    with pytest.raises(synth.UsageError, match="`shard`: a preview is one of the whole run"):
        synth.verify(rows, verifier="math", shard="1/2", output=synth.FirstRows(1))


def test_ssr_has_no_preview_and_says_so_before_an_input_is_written(here: Here, tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"
    kept.write_text('{"question": "2 + 2?", "answer": "4"}\n')
    done = here("ssr", kept, "--model", "samples/model", "-n", 1000, "--preview", 2)
    assert done.returncode == 2 and "--preview" in done.stderr and "Try it with few" in done.stderr, done.stderr


def test_what_is_no_run_cannot_be_planned_from(here: Here, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n')
    for place in (tmp_path / "rows.jsonl", tmp_path / "none"):
        done = here("plan", place)
        assert done.returncode == 2 and "has no record of a run" in done.stderr
