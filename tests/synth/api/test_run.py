"""`synth.run`: methods of a user's own."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import synth
from filters.verdict import Verdict
from synth.data.prompts import task_of
from synth.data.row import Outcome, Row
from synth.engines.base import Sampling
from synth.generation.chat_model import ChatModel
from synth.generation.verification import Verifier

SHORT: dict[str, Any] = {"max_tokens": 64, "progress": synth.SILENT}


async def answered(row: Row, model: ChatModel, sampling: Sampling) -> str:
    return (await model.reply(row.messages, sampling)).text


async def even(row: Row) -> str | None:
    return "The answer is 7." if int(row.passthrough["number"]) % 2 == 0 else None


async def counted(row: Row, model: ChatModel, sampling: Sampling, verifier: Verifier) -> Outcome:
    """Says how many of two answers are right, in a column of its own."""
    verdicts: list[Verdict] = []
    for number in range(2):
        reply = await model.reply(row.messages, replace(sampling, seed=sampling.seed + number))
        verdicts.append(await verifier.check(reply.text, task_of(row)))
    row.extra["right"] = sum(verdict.kind == "right" for verdict in verdicts)
    row.messages = [*row.messages, {"role": "assistant", "content": "said"}]
    return Outcome(row)


counted.columns = pa.schema([("right", pa.int32())])  # type: ignore[attr-defined]


async def failing(row: Row) -> str:
    raise KeyError("nothing")


async def numbered(row: Row) -> Any:
    return 7


async def asking(row: Row, colour: str) -> str:
    return colour


async def naming(row: Row, model: ChatModel, sampling: Sampling) -> str:
    """From nothing: what is asked is decided by the row's own seed."""
    row.messages.append({"role": "user", "content": f"Tell me what is {sampling.seed % 90} + 4?"})
    return (await model.reply(row.messages, sampling)).text


async def unasked(row: Row) -> str:
    return "The answer is 7."


def plain(row: Row) -> str:
    return "no"


def test_answers_are_verified_and_the_others_kept_with_their_reason(
    model: synth.Model, tmp_path: Path, questions: list[dict[str, str]]
) -> None:
    rows = synth.run(answered, model, questions, output=tmp_path / "own", verifier="math", **SHORT)
    assert len(rows) and rows.record is not None and rows.record.settings["method"].endswith("test_run:answered")
    every = [*rows, *(rows.rejected or ())]
    assert len(every) == len(questions) and {row["method"] for row in every} == {"answered"}
    assert {row["verdict"] for row in rows} == {"right"} and {row["verifier"] for row in rows} == {"math"}
    assert all(row["reason"] for row in rows.rejected or ())
    again = synth.run(answered, model, questions, output=tmp_path / "again", verifier="math", **SHORT)
    assert [row["messages"] for row in again] == [row["messages"] for row in rows], "each row has a seed of its own"


def test_none_rejects_and_an_outcome_may_have_columns(model: synth.Model, questions: list[dict[str, str]]) -> None:
    told = [{"question": one["question"], "number": number} for number, one in enumerate(questions)]
    rows = synth.run(even, model, told, **SHORT)
    assert [row["number"] for row in rows] == [0, 2, 4, 6]
    assert rows.rejected is not None and {row["reason"] for row in rows.rejected} == {"rejected by even"}
    counts = synth.run(counted, model, questions[:3], verifier="math", temperature=0, **SHORT)
    assert {row["right"] for row in counts} <= {0, 2} and len(counts) == 3


def test_a_function_that_fails_ends_the_run_and_what_was_finished_stays(
    model: synth.Model, tmp_path: Path, questions: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_methods.py").write_text(
        "import os\nasync def late(row):\n    if row.passthrough['number'] == 5 and not os.path.exists('mended'):\n"
        "        raise ValueError('not yet')\n    return f'It is {row.passthrough[\"number\"]}.'\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    told = [{"question": one["question"], "number": number} for number, one in enumerate(questions)]
    with pytest.raises(synth.RunError, match=r"late failed at row .* ValueError: not yet.*What was finished is kept"):
        synth.run("own_methods:late", model, told, output="out", **SHORT)
    Path("mended").touch()
    rows = synth.run("own_methods:late", model, told, output="out", **SHORT)
    assert [row["messages"][-1]["content"] for row in rows] == [f"It is {number}." for number in range(8)]
    with pytest.raises(synth.UsageError, match="did you mean late") as wrong:
        synth.run("own_methods:lat", model, told, **SHORT)
    assert wrong.value.field == "method"


@pytest.mark.parametrize(
    ("method", "verifier", "words"),
    [
        (plain, None, "plain is no async function"),
        (asking, None, "takes colour; it can have row, model, sampling, verifier"),
        (counted, None, "needs a `verifier`"),
        (answered, "majority", "judges samples only together"),
        ("nowhere:at_all", None, "cannot be imported: ModuleNotFoundError"),
    ],
)
def test_what_cannot_work_is_told_before_a_model_is_loaded(
    method: Any, verifier: str | None, words: str, questions: list[dict[str, str]], tmp_path: Path
) -> None:
    with synth.load("samples/model", engine="transformers") as fresh:
        with pytest.raises(synth.UsageError, match=words):
            synth.run(method, fresh, questions, verifier=verifier, **SHORT)
        assert fresh.running is None


def test_what_is_no_answer_and_what_fails(model: synth.Model, questions: list[dict[str, str]]) -> None:
    for method, words in ((numbered, "returned 7: it returns an answer"), (failing, "KeyError: 'nothing'")):
        with pytest.raises(synth.RunError, match=words):
            synth.run(method, model, questions[:1], **SHORT)


def test_rows_from_nothing_are_those_of_an_uninterrupted_run(model: synth.Model, tmp_path: Path) -> None:
    rows = synth.run(naming, model, rows=3, output=tmp_path / "named", **SHORT)
    assert [[turn["role"] for turn in row["messages"]] for row in rows] == [["user", "assistant"]] * 3
    more = synth.run(naming, model, rows=5, output=tmp_path / "named", **SHORT)
    assert list(more)[:3] == list(synth.run(naming, model, rows=3, **SHORT)) and len(more) == 5
    assert {row["method"] for row in more} == {"naming"} and len({row["id"] for row in more}) == 5


def test_an_answer_to_nothing_is_rejected(model: synth.Model, tmp_path: Path) -> None:
    with pytest.raises(synth.RunError, match="no prompt"):
        synth.run(unasked, model, rows=3, output=tmp_path / "unasked", **SHORT)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "either a source.* or `rows`"),
        ({"rows": 3, "source": [{"question": "What is 3 + 4?"}]}, "either a source.* or `rows`"),
        ({"rows": 3, "verifier": "math"}, "compares with a reference, which rows made from nothing do not have"),
    ],
)
def test_a_source_or_a_number_of_rows(model: synth.Model, given: dict[str, Any], words: str) -> None:
    with pytest.raises(synth.UsageError, match=words):
        synth.run(naming, model, **given, **SHORT)


def test_a_verifier_may_be_a_function_of_a_notebook(model: synth.Model, questions: list[dict[str, str]]) -> None:
    """One with no import path, that reads names around it."""
    wanted = {one["answer"] for one in questions}

    def known(response: str, reference: str | None) -> bool:
        return reference in wanted

    rows = synth.run(answered, model, questions, verifier=known, **SHORT)
    assert len(rows) == len(questions) and {row["verdict"] for row in rows} == {"right"}
    assert rows.record is not None and rows.record.settings["verifier"]["name"].endswith("<locals>.known")
    with pytest.raises(synth.UsageError, match=r"cannot be called with \(response, reference\)"):
        synth.run(answered, model, questions, verifier=lambda response: True, **SHORT)
