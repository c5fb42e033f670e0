"""Magpie with tools: a scripted engine asks and calls as models of today do, each in its template's form."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import synth
from synth.chat.derive import chat_format
from synth.chat.format import ChatFormat
from synth.data.row import PARTED, Row
from synth.errors import UsageError
from synth.generation.chat_model import NOT_OPEN, ChatModel
from synth.generation.tools import open_tools
from synth.methods.magpie import MagpieSettings, magpie, magpie_rows
from synth.scoring.encoding import RowEncoder, rendering
from tests.synth.generation.test_asking import Scripted
from tests.synth.tokenizers import STORED, small_tokenizer, stored_format

WEATHER = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
    },
}
TOOLS = open_tools([WEATHER, {"name": "now", "description": "The time.", "parameters": {}}])
SETTINGS = MagpieSettings(seed=1, tools=TOOLS)
GOOD = '{"city": "Paris", "days": 3}'

THINK = "<think>\nThey want the weather.\n</think>\n\n"
CHANNEL = "<|channel|>analysis<|message|>They want the weather.<|end|><|start|>assistant<|channel|>commentary"
HERMES = '<tool_call>\n{"name": "get_weather", "arguments": %s}\n</tool_call>'
XML = (
    "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n"
    "<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>"
)
DRAWN = {
    "qwen2_5": ("", HERMES % GOOD),
    "qwen3": (THINK, HERMES % GOOD),
    "qwen3_8": (THINK.removeprefix("<think>\n"), XML),
    "nemotron_3_super": (THINK.removeprefix("<think>\n"), XML),
    "glm4moe": (
        "\n<think>They want the weather.</think>\n",
        "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n<arg_key>days</arg_key>\n"
        "<arg_value>3</arg_value>\n</tool_call>",
    ),
    "gptoss": (CHANNEL, f" to=functions.get_weather <|constrain|>json<|message|>{GOOD}"),
    "gemma4_v5": ("", '<|tool_call>call:get_weather{city:<|"|>Paris<|"|>,days:3}<tool_call|>'),
    "llama3_1": ("", f'{{"name": "get_weather", "parameters": {GOOD}}}'),
    "lfm2_v2": ("", "<|tool_call_start|>[get_weather(city='Paris', days=3)]<|tool_call_end|>"),
}

needs_stored = pytest.mark.skipif(not STORED, reason="trl, which stores today's chat templates, is not installed")


def asked(chat: ChatFormat, answer: str | Callable[[str], str]) -> tuple[ChatModel, Any]:
    """A model that asks for the weather, and answers so."""
    question = chat.with_tools(TOOLS.offers).user_prompt().text

    def draw(prompt: str) -> str:
        if prompt == question:
            return "What will the weather be in Paris?"
        return answer if isinstance(answer, str) else answer(prompt)

    engine: Any = Scripted(chat, draw)
    return ChatModel(engine, chat, "m"), engine


@needs_stored
@pytest.mark.parametrize("name", DRAWN)
def test_a_model_asks_and_calls_and_is_trained_on_what_it_drew(name: str, loop: Any) -> None:
    chat = stored_format(name)
    thoughts, call = DRAWN[name]
    chat_model, engine = asked(chat, thoughts + call)
    outcome = loop.run(magpie(chat_model, SETTINGS)(Row("1", [], "magpie")))
    assert outcome.reason is None
    row = outcome.row
    question, answer = row.messages
    assert question == {"role": "user", "content": "What will the weather be in Paris?"}
    [one] = answer["tool_calls"]
    assert (one["function"]["name"], json.loads(one["function"]["arguments"])) == ("get_weather", json.loads(GOOD))
    assert answer["content"] == ""
    assert answer.get("reasoning_content") == ("They want the weather." if thoughts else None)
    assert json.loads(row.extra["tools"]) == list(TOOLS.offers)

    (first, _), (prompt, drawn) = engine.asked
    for ids in (first, prompt):  # what it was asked with names the tools
        assert "get_weather" in chat.tokenizer.decode(ids)
    [encoded] = RowEncoder(chat).conversation(row.messages, **rendering(row.record()))
    ids = [*drawn.token_ids, drawn.stop_reason]
    assert encoded.ids.tolist()[: len(prompt) + len(ids)] == [*prompt, *ids]
    assert encoded.ids[encoded.wanted].tolist() == ids


@needs_stored
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            HERMES.replace("get_weather", "weather") % GOOD,
            "answer a tool call does not fit: calls weather, which is not on offer",
        ),
        (HERMES % '{"days": 3}', "answer a tool call does not fit: get_weather: 'city' is a required property"),
        (
            HERMES % '{"city": "Paris", "days": "3"}',
            "answer a tool call does not fit: get_weather: days: '3' is not of type 'integer'",
        ),
        (HERMES % '{"city": "Paris", "date": "today"}', "answer a tool call does not fit: get_weather takes no date"),
        (HERMES % '{"city": "Paris"', "answer a tool call cannot be read"),
        ((HERMES % GOOD)[:-12], "answer a tool call cannot be read: '</tool_call>' is missing"),
        ((HERMES % GOOD) + "\nIt is sunny.", "answer a tool call cannot be read: text follows the last tool call"),
        ((HERMES % GOOD) + "\n<tool_response>\nsunny\n</tool_response>", "answer a tool call cannot be read: text"),
    ],
)
def test_calls_that_the_tools_do_not_allow_are_rejected(answer: str, reason: str, loop: Any) -> None:
    chat_model, _ = asked(stored_format("qwen2_5"), answer)
    outcome = loop.run(magpie(chat_model, SETTINGS)(Row("1", [], "magpie")))
    assert outcome.reason is not None and outcome.reason.startswith(reason)


@needs_stored
def test_a_conversation_goes_on_until_a_call(loop: Any) -> None:
    chat = stored_format("qwen2_5")
    engine: Any = Scripted(chat, lambda prompt: "")
    replies = iter(["Hello there, you?", "Hello!", "And the weather in Paris?", "I look.\n" + HERMES % GOOD, "never"])
    engine.draw = lambda prompt: next(replies)
    outcome = loop.run(magpie(ChatModel(engine, chat, "m"), MagpieSettings(tools=TOOLS, turns=4))(Row("1", [], "m")))
    assert outcome.reason is None
    assert [turn["role"] for turn in outcome.row.messages] == ["user", "assistant"] * 2
    assert outcome.row.messages[-1]["content"] == "I look." and outcome.row.messages[-1]["tool_calls"]
    assert next(replies) == "never"


@needs_stored
def test_an_answer_in_words_needs_no_tool(loop: Any) -> None:
    chat_model, _ = asked(stored_format("qwen2_5"), "I cannot see the future.")
    outcome = loop.run(magpie(chat_model, SETTINGS)(Row("1", [], "magpie")))
    assert outcome.reason is None
    assert outcome.row.messages[-1] == {"role": "assistant", "content": "I cannot see the future."}


@needs_stored
def test_templates_that_offer_no_tools_are_refused_before_anything_runs() -> None:
    for name, why in (("deepseekv3", "takes no tools"), ("phi3", "takes no tools"), ("lfm2", "leaves out tool calls")):
        chat = stored_format(name)
        with pytest.raises(UsageError, match=f"`tools` cannot be offered: .*{why}"):
            magpie(ChatModel(NOT_OPEN, chat, "m"), SETTINGS)
    tokenizer = small_tokenizer(STORED["qwen3"].read_text())
    with pytest.raises(UsageError, match="`prefix`"):
        chat = chat_format(tokenizer, prefix="<|im_start|>user\n")
        magpie(ChatModel(NOT_OPEN, chat, "m"), SETTINGS)


def test_without_tools_the_rows_are_those_of_before() -> None:
    without, with_tools = MagpieSettings(seed=1).record(), SETTINGS.record()
    assert "tools" not in without
    assert {name: value for name, value in with_tools.items() if name != "tools"} == without
    other = MagpieSettings(seed=1, tools=open_tools([WEATHER])).record()
    ids = {next(magpie_rows(settings, "m")(0)).id for settings in (without, with_tools, other)}
    assert len(ids) == 3


OFFERING = (
    "{{ bos_token }}{% if tools %}<|system|>{% for t in tools %}{{ t | tojson }}{% endfor %}<|end|>{% endif %}"
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% for c in m.tool_calls or [] %}"
    "<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def test_a_whole_run(tmp_path: Path) -> None:
    """The sample model under a template that offers tools: it never learnt to call them."""
    shutil.copytree("samples/model", tmp_path / "model")
    (tmp_path / "model" / "chat_template.jinja").write_text(OFFERING)
    file = tmp_path / "tools.jsonl"
    file.write_text("".join(json.dumps(offer) + "\n" for offer in TOOLS.offers))
    with synth.load(str(tmp_path / "model"), engine="transformers") as model:
        rows = synth.magpie(model, rows=3, tools=str(file), output=tmp_path / "rows", progress=synth.SILENT)
        assert len(rows) == 3
        for row in rows:
            assert json.loads(row["tools"]) == list(TOOLS.offers)
        assert rows.to_dataset().features.arrow_schema.field("messages").type == PARTED
        with pytest.raises(UsageError, match=r"`tools` .*nowhere\.json cannot be read"):
            synth.magpie(model, rows=3, tools="nowhere.json", progress=synth.SILENT)
    with pytest.raises(UsageError, match="`tools` cannot be offered: this model's chat template takes no tools"):
        synth.magpie("samples/model", rows=3, tools=[WEATHER], progress=synth.SILENT)
