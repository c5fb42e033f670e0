"""Rows that bring tools of their own: each is answered with them, judged by its reference, and kept with its calls."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from filters.response.calls import with_calls
from filters.verdict import VerifierSettings
from synth.data.prompts import open_prompts
from synth.data.read import open_rows
from synth.data.row import Outcome, Row
from synth.engines.base import Sampling
from synth.generation.asking import Asking, by_row
from synth.generation.chat_model import ChatModel
from synth.generation.verification import Verifier, open_verifier
from synth.methods.paraphrase import ParaphraseSettings, paraphrase
from synth.methods.self_output import SelfOutputSettings, self_output
from synth.scoring.encoding import RowEncoder, rendering
from tests.synth.generation.test_asking import Scripted
from tests.synth.tokenizers import STORED, stored_format

pytestmark = pytest.mark.skipif(not STORED, reason="trl, which stores today's chat templates, is not installed")

PLACES = {"Paris": "city", "Rome": "town"}
NOTHING = pa.schema([])


def function(parameter: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {parameter: {"type": "string"}}, "required": [parameter]}
    return {
        "type": "function",
        "function": {"name": f"by_{parameter}", "description": "Weather.", "parameters": schema},
    }


def call(parameter: str, place: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": f"by_{parameter}", "arguments": json.dumps({parameter: place})}}


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    """Two questions, each with a function of its own and the call that is right."""
    file = tmp_path / "tasks.jsonl"
    lines = [
        {
            "messages": [{"role": "user", "content": f"How is it in {place}?"}],
            "reference": with_calls("", [call(parameter, place)]),
            "tools": json.dumps([function(parameter)]),
        }
        for place, parameter in PLACES.items()
    ]
    file.write_text("\n".join(map(json.dumps, lines)))
    return list(open_prompts(open_rows(str(file))).rows("test", {}, NOTHING)(0))


@pytest.fixture(scope="module")
def verifier(loop: Any) -> Iterator[Verifier]:
    made = loop.run(open_verifier(VerifierSettings("function-call")))
    yield made
    loop.run(made.close())


def answer(prompt: str) -> str:
    """What a model calls that reads which function it has."""
    place = "Paris" if "in Paris?" in prompt else "Rome"
    parameter = "city" if "by_city" in prompt else "town" if "by_town" in prompt else "nowhere"
    return f'<tool_call>\n{{"name":"by_{parameter}","arguments":{{"{parameter}":"{place}"}}}}\n</tool_call>'


def run(loop: Any, rows: list[Row], draw: Any, make: Any, name: str = "qwen2_5") -> tuple[list[Outcome], Any]:
    chat = stored_format(name)
    engine: Any = Scripted(chat, draw)
    method = by_row(Asking(), 0, ChatModel(engine, chat, "m"), make)

    async def all_rows() -> list[Outcome]:
        return list(await asyncio.gather(*map(method, rows)))

    return loop.run(all_rows()), engine


def test_each_row_is_asked_with_its_own_tools(loop: Any, rows: list[Row], verifier: Verifier) -> None:
    settings = SelfOutputSettings(samples=1)
    outcomes, engine = run(loop, rows, answer, lambda one: self_output(one, verifier, settings))
    assert [outcome.reason for outcome in outcomes] == [None, None]
    chat = stored_format("qwen2_5")
    for outcome, (place, parameter) in zip(outcomes, PLACES.items(), strict=True):
        row = outcome.row
        assert (row.verdict, row.answer) == ("right", f"by_{parameter}({parameter}={place!r})")
        [made] = row.messages[-1]["tool_calls"]
        assert made["function"]["arguments"] == f'{{"{parameter}":"{place}"}}', "as it was drawn"
        [encoded] = RowEncoder(chat).conversation(row.messages, **rendering(row.record()))
        prompt, drawn = next(pair for pair in engine.asked if place in chat.tokenizer.decode(pair[0]))
        ids = [*drawn.token_ids, drawn.stop_reason]
        assert encoded.ids.tolist()[: len(prompt) + len(ids)] == [*prompt, *ids]


@pytest.mark.parametrize(
    ("drawn", "reason"),
    [
        (answer("by_nowhere"), "a tool call does not fit: calls by_nowhere"),
        ("It is sunny.", "no call found"),
        (answer("How is it in Paris? by_city").replace("Paris", "Oslo"), "city is 'Oslo'"),
    ],
)
def test_wrong_calls_are_wrong(loop: Any, rows: list[Row], verifier: Verifier, drawn: str, reason: str) -> None:
    settings = SelfOutputSettings(samples=1)
    [outcome], _ = run(loop, rows[:1], lambda _: drawn, lambda one: self_output(one, verifier, settings))
    assert outcome.reason is not None and reason in outcome.reason


def test_pairs_and_further_right_answers_keep_their_calls(loop: Any, rows: list[Row], verifier: Verifier) -> None:
    right = answer("How is it in Paris? by_city")
    drawn = iter([right, "I look.\n" + right, right, right.replace("Paris", "Oslo"), "It is sunny."])
    settings = SelfOutputSettings(samples=5, select="all", pairs=True, sampling=Sampling(temperature=1.0))
    [outcome], _ = run(loop, rows[:1], lambda _: next(drawn), lambda one: self_output(one, verifier, settings))
    assert outcome.reason is None
    assert [row.messages[-1]["content"] for row in (outcome.row, *outcome.more)] == ["", "I look."]
    assert all(row.messages[-1]["tool_calls"] for row in (outcome.row, *outcome.more))
    chosen = [pair["chosen"][0] for pair in outcome.pairs]
    rejected = [pair["rejected"][0] for pair in outcome.pairs]
    assert ["tool_calls" in turn for turn in chosen] == [True, True]
    assert ["tool_calls" in turn for turn in rejected] == [True, False]


def test_a_reference_that_calls_is_taken_as_a_call_and_never_restated(
    loop: Any, rows: list[Row], verifier: Verifier
) -> None:
    settings = SelfOutputSettings(samples=1, fallback=("minimum-change", "paraphrase", "gold"))
    outcomes, _ = run(loop, rows, lambda _: "It is sunny.", lambda one: self_output(one, verifier, settings))
    for outcome, (place, parameter) in zip(outcomes, PLACES.items(), strict=True):
        assert (outcome.reason, outcome.row.method) == (None, "gold")
        last = outcome.row.messages[-1]
        assert last == {"role": "assistant", "content": "", "tool_calls": [call(parameter, place)]}
        assert str(outcome.row.extra["note"]).count("the reference calls tools") == 2
    [outcome], _ = run(loop, rows[:1], str, lambda one: paraphrase(one, None, ParaphraseSettings()))
    assert outcome.row.method == "gold" and "no words to restate" in str(outcome.row.extra["note"])


def test_tools_that_cannot_be_offered_reject_the_row(loop: Any, rows: list[Row], verifier: Verifier) -> None:
    settings = SelfOutputSettings(samples=1)
    for name, reason in (("phi3", "takes no tools"), ("lfm2", "leaves out tool calls")):
        [outcome], engine = run(loop, rows[:1], answer, lambda one: self_output(one, verifier, settings), name)
        assert outcome.reason is not None and reason in outcome.reason and not engine.asked


def test_a_closing_turn_that_calls_is_the_reference(tmp_path: Path, loop: Any, verifier: Verifier) -> None:
    file = tmp_path / "talks.jsonl"
    asked = {"role": "user", "content": "How is it in Paris?"}
    called = {"role": "assistant", "content": None, "tool_calls": [call("city", "Paris") | {"id": "call_1"}]}
    both = called | {"content": "I look."}
    said = [{"role": "assistant", "content": "Sunny."}]
    given = [{"role": "tool", "content": "20", "tool_call_id": "call_1"}]
    talks = [[asked, called], [asked, both], [asked, *said], [asked, called, *given, *said], [asked]]
    offered = {"tools": json.dumps([function("city")])}
    file.write_text("\n".join(json.dumps({"messages": talk, **offered}) for talk in talks))
    prompts = open_prompts(open_rows(str(file)))
    rows = list(prompts.rows("test", {}, NOTHING)(0))
    numbered = [{"id": "call_1", **call("city", "Paris")}]
    assert [row.reference for row in rows] == [
        *(with_calls("", numbered), with_calls("I look.", numbered)),
        *("Sunny.", "Sunny.", None),
    ]
    settings = SelfOutputSettings(samples=1)
    outcomes, _ = run(loop, rows[:2], answer, lambda one: self_output(one, verifier, settings))
    assert [outcome.reason for outcome in outcomes] == [None, None]


def test_results_are_answered(loop: Any, rows: list[Row]) -> None:
    row = rows[0]
    made = {"role": "assistant", "content": "", "tool_calls": [call("city", "Paris")]}
    row.messages = [*row.messages, made, {"role": "tool", "content": "20 degrees", "name": "by_city"}]
    chat = stored_format("qwen3")
    engine: Any = Scripted(
        chat, lambda prompt: "<think>\nWarm.\n</think>\n\nIt is warm." if "20 degrees" in prompt else ""
    )
    model = ChatModel(engine, chat, "m").with_format(chat.with_tools([function("city")]))
    completion = loop.run(model.reply(row.messages, Sampling()))
    model.put(row, completion)
    assert row.messages[-1] == {"role": "assistant", "content": "It is warm.", "reasoning_content": "Warm."}
