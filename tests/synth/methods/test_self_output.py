"""Self-output and its fallbacks, on the sample model's new skill, with the real `math` verifier."""

import asyncio
import json
import math
import random
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from filters.verdict import Verdict
from synth.chat.format import ChatFormat
from synth.chat.turn import Turn
from synth.data.prompts import PromptSet, open_prompts
from synth.data.read import open_rows
from synth.data.row import Message, Outcome, Row
from synth.engines.base import Completion, Engine, Sampling
from synth.errors import UsageError
from synth.generation.chat_model import Answer, ChatModel
from synth.generation.verification import Verifier
from synth.methods.few_shot import demonstrations
from synth.methods.minimum_change import MinimumChangeSettings, minimum_change, word_changes
from synth.methods.paraphrase import ParaphraseSettings, paraphrase
from synth.methods.self_output import SELECT, SelfOutputSettings, choose, self_output
from tests.synth.methods import scripted

TASKS = 24
NOTHING = pa.schema([])
SAMPLING = Sampling(max_tokens=100, temperature=1.0)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two-step stories with answers as people write them, of the kind the model can do in part."""
    path = tmp_path_factory.mktemp("tasks") / "tasks.jsonl"
    stories = []
    for n in range(TASKS):
        a, b, c = 3 + n % 10, 2 + n % 7, 2 + n % 5
        name = "Sami" if n % 2 else "Remy"
        question = f"Otto buys {a} packs of {b} shells and hands {c} shells to {name}. How many shells does Otto keep?"
        answer = f"{a} * {b} = {a * b}. {a * b} - {c} = {a * b - c}. All told, the answer is {a * b - c}."
        stories.append({"question": question, "answer": answer, "number": n})
    path.write_text("\n".join(map(json.dumps, stories)))
    return path


@pytest.fixture(scope="module")
def tasks(file: Path) -> PromptSet:
    return open_prompts(open_rows(str(file)))


@pytest.fixture(scope="module")
def chat_model(transformers_engine: Engine, chat: ChatFormat) -> ChatModel:
    return ChatModel(transformers_engine, chat, "sample")


def run(loop: Any, tasks: PromptSet, method: Any) -> list[Outcome]:
    async def all_rows() -> list[Outcome]:
        return list(await asyncio.gather(*map(method, tasks.rows("test", {}, NOTHING)(0))))

    outcomes: list[Outcome] = loop.run(all_rows())
    return outcomes


def answer(row: Row) -> str:
    assert row.messages[-1]["role"] == "assistant"
    return str(row.messages[-1]["content"])


@pytest.fixture(scope="module")
def drawn(loop: Any, tasks: PromptSet, chat_model: ChatModel, verifier: Verifier) -> dict[str, list[Outcome]]:
    """Every selection over the same samples."""
    return {
        way: run(
            loop, tasks, self_output(chat_model, verifier, SelfOutputSettings(3, 6, way, pairs=True, sampling=SAMPLING))
        )
        for way in SELECT
    }


def test_right_answers_are_taken_and_described(drawn: dict[str, list[Outcome]]) -> None:
    taken = [outcome.row for outcome in drawn["lowest-perplexity"] if outcome.reason is None]
    assert 4 < len(taken) <= TASKS
    for row in taken:
        assert (row.method, row.model, row.verifier, row.verdict) == ("self-output", "sample", "math", "right")
        assert answer(row).rstrip(".").endswith(str(row.answer))
        assert row.reference and row.reference.rstrip(".").endswith(str(row.answer))
        assert row.samples == 6 and 1 <= row.extra["samples_right"] <= 6
        assert row.logprob is not None and row.logprob < 0 and row.extra["tokens"] > 5
        assert row.passthrough == {"number": row.passthrough["number"]}
    for outcome in drawn["lowest-perplexity"]:
        if outcome.reason is not None:
            assert outcome.reason.startswith("no right answer: of 6 the first is wrong")


def test_every_selection_takes_right_answers(drawn: dict[str, list[Outcome]]) -> None:
    """Runs of their own: here and there rounding flips a sampled token, so they need not agree row by row."""
    for way, outcomes in drawn.items():
        rows = [row for outcome in outcomes if outcome.reason is None for row in (outcome.row, *outcome.more)]
        assert len(rows) > 4 and all(row.verdict == "right" for row in rows), way
        assert len({row.id for row in rows}) == len(rows)
    for outcome in drawn["all"]:
        texts = [answer(row) for row in (outcome.row, *outcome.more)] if outcome.reason is None else []
        assert len(set(texts)) == len(texts)


def test_all_right_answers_are_kept_in_the_order_drawn(
    loop: Any, tasks: PromptSet, chat: ChatFormat, verifier: Verifier
) -> None:
    row = next(iter(tasks.rows("test", {}, NOTHING)(0)))
    one, other = str(row.reference), f"So: {row.reference}"
    drawn = iter([one, other, one])
    chat_model = scripted.chat_model(chat, lambda *_: next(drawn))
    outcome = loop.run(self_output(chat_model, verifier, SelfOutputSettings(samples=3, select="all"))(row))
    assert [answer(row) for row in (outcome.row, *outcome.more)] == [one, other]


@pytest.mark.parametrize(
    ("select", "taken"),
    [("first", ["The answer is 1."]), ("all", [f"The answer is {n}." for n in (1, 2, 3)])],
)
def test_unverified_answers_are_marked_and_may_be_wrong(
    loop: Any, tasks: PromptSet, chat: ChatFormat, select: str, taken: list[str]
) -> None:
    """A first answer that is none is left out; so the first of those that are is the second drawn."""
    row, another = islice(tasks.rows("test", {}, NOTHING)(0), 2)
    drawn = iter(["", "The answer is 1.", "The answer is 2.", "The answer is 3."])
    settings = SelfOutputSettings(samples=4, select=select)
    outcome = loop.run(self_output(scripted.chat_model(chat, lambda *_: next(drawn)), None, settings)(row))
    rows = [outcome.row, *outcome.more]
    assert outcome.reason is None and [answer(row) for row in rows] == taken
    assert {(row.verifier, row.verdict, row.answer) for row in rows} == {(None, "unverified", None)}
    assert {row.samples for row in rows} == {2 if select == "first" else 4}
    nothing = loop.run(self_output(scripted.always(chat, ""), None, settings)(another))
    assert nothing.reason == "no usable answer: of 4 the first is empty" and nothing.row.verdict is None


@pytest.mark.parametrize("select", ["first", "all"])
def test_a_prompt_is_tokenised_once_for_all_samples(
    loop: Any, tasks: PromptSet, chat: ChatFormat, verifier: Verifier, select: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = next(iter(tasks.rows("test", {}, NOTHING)(0)))
    asked: list[str] = []
    prompt = ChatFormat.answer_prompt

    def answer_prompt(self: ChatFormat, messages: list[Message]) -> list[int]:
        asked.append(messages[-1]["content"])
        return prompt(self, messages)

    monkeypatch.setattr(ChatFormat, "answer_prompt", answer_prompt)
    settings = SelfOutputSettings(samples=8, select=select)
    outcome = loop.run(self_output(scripted.always(chat, "The answer is 0."), verifier, settings)(row))
    assert str(outcome.reason).startswith("no right answer: of 8 ")
    assert asked == [row.messages[-1]["content"]]


def test_choosing_among_right_answers() -> None:
    def made(tokens: int, logprob: float) -> Answer:
        text = f"{tokens} {logprob}"
        return Answer(Completion(tuple(range(tokens - 1)), text, "stop", 0, logprob), Turn(text), Verdict("right"))

    answers = [made(10, -5.0), made(4, -4.0), made(40, -4.0), made(20, -30.0)]
    assert [answer.perplexity for answer in answers] == pytest.approx([math.exp(x) for x in (0.5, 1.0, 0.1, 1.5)])
    chosen = {way: choose(answers, way, random.Random(0)).tokens for way in SELECT}
    assert chosen | {"random": 0} == {
        "first": 10,
        "lowest-perplexity": 40,
        "highest-perplexity": 20,
        "shortest": 4,
        "longest": 40,
        "all": 10,
        "random": 0,
    }
    assert {choose(answers, "random", random.Random(seed)).tokens for seed in range(50)} == {10, 4, 40, 20}


def test_pairs_are_right_against_wrong(drawn: dict[str, list[Outcome]], loop: Any, verifier: Verifier) -> None:
    pairs = [(outcome.row, pair) for outcome in drawn["first"] for pair in outcome.pairs]
    assert pairs
    for row, pair in pairs:
        assert pair["prompt"][-1]["role"] == "user" and pair["parent"] == row.parent
        (good,), (bad,) = pair["chosen"], pair["rejected"]
        assert good["content"].rstrip(".").split()[-1] == str(row.reference).rstrip(".").split()[-1]
        assert bad["content"].rstrip(".").split()[-1] != str(row.reference).rstrip(".").split()[-1]


def test_first_stops_drawing_and_takes_the_same_answer(
    drawn: dict[str, list[Outcome]], loop: Any, tasks: PromptSet, chat_model: ChatModel, verifier: Verifier
) -> None:
    lazy = run(loop, tasks, self_output(chat_model, verifier, SelfOutputSettings(3, 6, "first", sampling=SAMPLING)))
    spared = differing = 0
    for one, other in zip(lazy, drawn["first"], strict=True):
        if one.reason is None and other.reason is None:
            differing += answer(one.row) != answer(other.row)
            assert one.row.samples is not None and one.row.extra["samples_right"] == 1
            spared += 6 - one.row.samples
        else:
            differing += one.reason != other.reason
    assert differing <= 2  # rounding
    assert spared > 10


def test_fallbacks_in_their_order(loop: Any, tasks: PromptSet, chat_model: ChatModel, verifier: Verifier) -> None:
    settings = SelfOutputSettings(
        3, 1, fallback=("minimum-change", "paraphrase", "gold"), sampling=Sampling(max_tokens=100, temperature=1.0)
    )
    rows = [outcome.row for outcome in run(loop, tasks, self_output(chat_model, verifier, settings))]
    assert len(rows) == TASKS
    methods = {row.method for row in rows}
    assert methods >= {"self-output", "minimum-change"} and methods <= {
        "self-output",
        "minimum-change",
        "paraphrase",
        "gold",
    }
    for row in rows:
        assert row.verdict == "right" and row.samples == 1
        assert row.extra["samples_right"] == (row.method == "self-output")
        if row.method != "self-output":
            assert row.extra["note"].startswith("no right answer")
        if row.method == "minimum-change":
            assert 0.5 <= row.extra["similarity"] < 1 and row.extra["edit_distance"] > 0
            assert row.extra["logprob_before"] < 0 and row.extra["logprob_after"] < 0
        if row.method == "gold":
            assert answer(row) == row.reference and row.model is None


def test_rows_whose_reference_says_nothing_are_rejected_before_anything_is_drawn(
    loop: Any, chat_model: ChatModel, verifier: Verifier
) -> None:
    method = self_output(chat_model, verifier, SelfOutputSettings(0, 1, sampling=SAMPLING))
    before = chat_model.engine.usage.requests
    question = [{"role": "user", "content": "How many?"}]

    async def both() -> tuple[Outcome, Outcome]:
        missing = await method(Row("a", question, "self-output"))
        return missing, await method(Row("b", question, "self-output", reference="nobody knows\nor ever will"))

    missing, unreadable = loop.run(both())
    assert missing.reason == "reference unscorable: no reference"
    assert unreadable.reason.startswith("reference unscorable")
    assert chat_model.engine.usage.requests == before


def test_paraphrases_stay_right_or_the_original_stands(
    loop: Any, tasks: PromptSet, chat_model: ChatModel, verifier: Verifier
) -> None:
    rows = [
        outcome.row
        for outcome in run(loop, tasks, paraphrase(chat_model, verifier, ParaphraseSettings(sampling=SAMPLING)))
    ]
    restated = [row for row in rows if row.method == "paraphrase"]
    assert len(restated) > TASKS / 3
    assert sum(answer(row) != row.reference for row in restated) > TASKS / 4
    for row in rows:
        assert row.verdict == "right"
        if row.method == "gold":
            assert answer(row) == row.reference and row.extra["note"].startswith("restatement")


def test_talk_about_the_task_is_no_answer(loop: Any, chat_model: ChatModel, verifier: Verifier, tmp_path: Path) -> None:
    """With a prompt that makes the model copy, what it copies is what is looked at."""
    from synth.methods.paraphrase import telltale

    assert telltale("Here is the answer in my own words: 5.", "What is 2 + 3? 5.") == "in my own words"
    assert telltale("As the reference answer says, 5.", "5") is not None
    assert telltale("The poem is rewritten in the past tense.", "5") is not None
    assert telltale("Rewrite it as 2 * 3.", "We rewrite it as 6.") is None
    assert telltale("2 + 3 = 5. The answer is 5.", "5") is None


def test_minimum_change_keeps_right_answers_and_mends_wrong_ones(
    loop: Any, tasks: PromptSet, chat_model: ChatModel, verifier: Verifier
) -> None:
    settings = MinimumChangeSettings(sampling=Sampling(max_tokens=100, temperature=1.0))
    outcomes = run(loop, tasks, minimum_change(chat_model, chat_model, verifier, settings))
    rows = [outcome.row for outcome in outcomes if outcome.reason is None]
    kept = [row for row in rows if row.method == "self-output"]
    mended = [row for row in rows if row.method == "minimum-change"]
    assert kept and len(mended) > 2
    for row in kept:
        assert (row.extra["edit_distance"], row.extra["similarity"]) == (0, 1.0)
        assert row.extra["logprob_before"] == row.extra["logprob_after"] == row.logprob
    for row in mended:
        assert row.extra["edit_distance"] > 0 and row.extra["similarity"] >= 0.5
        assert row.extra["logprob_after"] == row.logprob
    strict = minimum_change(
        chat_model, chat_model, verifier, MinimumChangeSettings(floor=0.99, sampling=settings.sampling)
    )
    refused = [outcome for outcome in run(loop, tasks, strict) if outcome.reason is not None]
    assert any(str(outcome.reason).startswith("edit too different: similarity") for outcome in refused)


def test_word_changes() -> None:
    assert word_changes("a b c d", "a b c d") == (0, 1.0)
    assert word_changes("a b c d", "a x c d") == (1, 0.75)
    assert word_changes("", "a b") == (2, 0.0)
    assert word_changes("", "") == (0, 1.0)


def test_demonstrations_are_other_rows(tasks: PromptSet) -> None:
    rows = list(tasks.rows("test", {}, NOTHING)(0))
    choose = demonstrations(rows, 3, seed=1)
    assert demonstrations(rows, 3, seed=1)(rows[0]) == choose(rows[0]) != choose(rows[1])
    for row in rows:
        turns = choose(row)
        assert [turn["role"] for turn in turns] == ["user", "assistant"] * 3
        assert row.messages[0]["content"] not in [turn["content"] for turn in turns]
    assert demonstrations(rows, 0, seed=1)(rows[0]) == []
    with pytest.raises(UsageError, match="more than 24 rows"):
        demonstrations(rows, 24, seed=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 0}, "`samples` must be at least 1"),
        ({"select": "best"}, "`select` best is unknown; take first"),
        ({"fallback": ("gold", "hope")}, "`fallback` hope is unknown"),
        ({"samples": 4, "sampling": Sampling(temperature=0)}, "temperature 0"),
        ({"samples": 1, "pairs": True}, "`samples` 2 or more"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SelfOutputSettings(**settings)
