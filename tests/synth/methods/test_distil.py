"""A teacher's answers: which are kept, what they cost, and a budget that holds."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from filters.verdict import RIGHT, WRONG, Task, Verdict
from synth.chat.format import ChatFormat
from synth.data.prompts import PromptSet, open_prompts
from synth.data.read import open_rows
from synth.data.row import Outcome
from synth.data.run.directory import RunDirectory
from synth.data.run.record import RunRecord
from synth.engines.base import Sampling
from synth.errors import RequestError, UsageError
from synth.generation.acceptance import Acceptance
from synth.generation.chat_model import ChatModel
from synth.generation.runner import Run
from synth.methods.distil import COLUMNS, DistilSettings, Ledger, Prices, distil
from tests.synth.methods.scripted import Scripted, always, chat_model

PRICES = Prices(2.0, 10.0)


class Says:
    """A verifier that takes for right what says the reference."""

    name = "says"
    votes = False

    async def check(self, response: str, task: Task) -> Verdict:
        return Verdict(RIGHT if (task.reference or "") in response else WRONG, response)

    def vote(self, verdicts: Any) -> list[Verdict]:
        return list(verdicts)

    def gold(self, task: Task) -> str | None:
        return task.reference

    async def close(self) -> None:
        pass


@pytest.fixture
def tasks(tmp_path: Path) -> PromptSet:
    file = tmp_path / "tasks.jsonl"
    file.write_text("\n".join(json.dumps({"prompt": f"What comes after {n}?", "completion": "six"}) for n in range(40)))
    return open_prompts(open_rows(str(file)))


def run(loop: Any, tasks: PromptSet, method: Any, count: int = 1) -> list[Outcome | BaseException]:
    rows = list(tasks.rows("distil", {}, COLUMNS)(0))[:count]

    async def all_rows() -> list[Outcome | BaseException]:
        return list(await asyncio.gather(*map(method, rows), return_exceptions=True))

    outcomes: list[Outcome | BaseException] = loop.run(all_rows())
    return outcomes


def drawing(chat: ChatFormat, texts: list[str | None]) -> ChatModel:
    """One who says one text after the other."""
    left = iter(texts)
    return chat_model(chat, lambda prompt, sampling: next(left))


def test_every_distinct_right_answer_is_a_row(loop: Any, tasks: PromptSet, chat: ChatFormat) -> None:
    teacher = drawing(chat, ["It is six.", "Five.", "six", "It is six.", ""])
    [outcome] = run(loop, tasks, distil(teacher, Says(), DistilSettings(samples=5), Ledger(PRICES)))
    assert isinstance(outcome, Outcome) and outcome.reason is None
    rows = [outcome.row, *outcome.more]
    assert [row.messages[-1]["content"] for row in rows] == ["It is six.", "six"]
    assert len({row.id for row in rows}) == 2
    for row in rows:
        assert (row.method, row.model, row.verifier, row.verdict) == ("distil", "scripted", "says", "right")
        assert row.samples == 5 and row.extra["samples_right"] == 3
    prompt = len(chat.answer_prompt([{"role": "user", "content": "What comes after 0?"}]))
    texts = ["It is six.", "Five.", "six", "It is six.", ""]
    drawn = sum(len(chat.tokenizer(text, add_special_tokens=False)["input_ids"]) + 1 for text in texts)
    assert rows[0].extra["cost"] == pytest.approx((5 * prompt * 2 + drawn * 10) / 1e6)
    assert rows[1].extra["cost"] is None


def test_without_a_verifier_what_is_sound_is_kept(loop: Any, tasks: PromptSet, chat: ChatFormat) -> None:
    [outcome] = run(loop, tasks, distil(always(chat, "Whatever."), None, DistilSettings(), Ledger(None)))
    assert isinstance(outcome, Outcome) and outcome.reason is None
    assert outcome.row.verdict is None and "cost" not in outcome.row.extra
    [outcome] = run(loop, tasks, distil(always(chat, "  "), None, DistilSettings(), Ledger(None)))
    assert isinstance(outcome, Outcome)
    assert outcome.reason == "no right answer: of 1 the first is wrong: empty"


def test_answers_that_came_are_kept_and_paid_for(loop: Any, tasks: PromptSet, chat: ChatFormat) -> None:
    ledger = Ledger(PRICES)
    teacher = drawing(chat, [None, "six", None])
    [outcome] = run(loop, tasks, distil(teacher, Says(), DistilSettings(samples=3), ledger))
    assert isinstance(outcome, Outcome) and outcome.reason is None and outcome.row.samples == 1
    assert ledger.spent == outcome.row.extra["cost"] > 0
    [failed] = run(loop, tasks, distil(always(chat, None), Says(), DistilSettings(samples=3), ledger))
    assert isinstance(failed, RequestError) and ledger.spent == outcome.row.extra["cost"]


class Slow(Scripted):
    """Takes a moment for each answer, and counts what it was paid for."""

    paid = 0.0

    async def generate(self, token_ids: Any, sampling: Sampling) -> Any:
        await asyncio.sleep(0.001)
        [completion] = await super().generate(token_ids, sampling)
        self.paid += PRICES.cost(len(token_ids), len(completion.token_ids) + 1)
        return [completion]


def go(loop: Any, tasks: PromptSet, chat: ChatFormat, path: Path, most: float | None) -> tuple[Run, Slow]:
    async def all_rows() -> tuple[Run, Slow]:
        engine = Slow(chat, lambda prompt, sampling: "It is six." if sampling.seed % 3 else "seven")
        ledger = Ledger(PRICES, most)
        method = distil(ChatModel(engine, chat, "slow"), Says(), DistilSettings(sampling=Sampling(50)), ledger)
        sink = RunDirectory.open(path, RunRecord("distil", {}), tasks.schema(COLUMNS))
        rows = tasks.rows("distil", {}, COLUMNS)
        run = Run(method, rows, sink, [engine.usage], 8, Acceptance(sink), tasks.total)
        ledger.watch(run)
        await run.go()
        sink.finish() if run.complete else sink.pause()
        assert ledger.exhausted == (not run.complete)
        return run, engine

    done: tuple[Run, Slow] = loop.run(all_rows())
    return done


def test_the_budget_holds_over_processes_and_nothing_paid_for_is_lost(
    loop: Any, tasks: PromptSet, chat: ChatFormat, tmp_path: Path
) -> None:
    _, engine = go(loop, tasks, chat, tmp_path / "whole", None)
    whole = engine.paid
    paid = 0.0
    for most in (0.3 * whole, 0.3 * whole, 0.8 * whole):
        run, engine = go(loop, tasks, chat, tmp_path / "parts", most)
        paid += engine.paid
        assert not run.complete and paid <= most
        assert run.sink.record.cost == pytest.approx(paid)
    assert paid > 0.5 * whole
    run, engine = go(loop, tasks, chat, tmp_path / "parts", None)
    assert run.complete and paid + engine.paid == pytest.approx(whole)
    ids = [
        [name for batch in RunDirectory.rows(one) for name in batch.column("id").to_pylist()]
        for one in (run.sink, go(loop, tasks, chat, tmp_path / "again", None)[0].sink)
        if isinstance(one, RunDirectory)
    ]
    assert len(ids) == 2 and ids[0] == ids[1]


def test_a_budget_too_small_for_one_answer_buys_none(
    loop: Any, tasks: PromptSet, chat: ChatFormat, tmp_path: Path
) -> None:
    run, engine = go(loop, tasks, chat, tmp_path / "none", 1e-6)
    assert not run.complete and engine.paid == 0 and run.sink.next == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Ledger(None, 5.0), "`most` needs prices"),
        (lambda: Ledger(PRICES, 0.0), "`most` must be above 0"),
        (lambda: Ledger(PRICES, float("nan")), "`most` must be above 0"),
        (lambda: Prices(-1.0, 1.0), "`price_in` must be 0 or more"),
        (lambda: Prices(1.0, float("nan")), "`price_out` must be 0 or more"),
        (lambda: DistilSettings(samples=0), "`samples` must be at least 1"),
        (lambda: DistilSettings(samples=2, sampling=Sampling(temperature=0)), "at temperature 0"),
    ],
)
def test_settings_that_cannot_work(make: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()
