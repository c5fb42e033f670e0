"""Tools and calls of tools for tests, and the stored templates that write them."""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest

from synth.chat.template import Template, common_start
from synth.chat.tool_calls import ToolCallForm
from tests.synth.tokenizers import STORED, small_tokenizer

SPECIALS = (
    *("<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|start_header_id|>"),
    *("<|end_header_id|>", "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>", "<|turn>", "<turn|>"),
)
MARKERS = (
    *("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>"),
    *(
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁call▁begin｜>",
        "<｜tool▁sep｜>",
        "<｜tool▁call▁end｜>",
        "<｜tool▁calls▁end｜>",
    ),
    *("<|tool_call_start|>", "<|tool_call_end|>", "<|tool_call>", "<tool_call|>", "<|tool_response>", '<|"|>'),
    *("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|return|>", "<|call|>", "<|eot|>"),
    *("<|eom|>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "<|assistant|>", "<|user|>"),
)
QUESTION = {"role": "user", "content": "What is the weather in Paris?"}

HARD: dict[str, Any] = {
    "text": 'He said "it\'s </tool_call>",\nthen\t\\n left: é 你好 {"a": 1}',
    "code": "def f(a, b=2):\n    return {'a': [a, b]}\n",
    "digits": "42",
    "word": "null",
    "whole": 12,
    "part": -0.5,
    "yes": True,
    "nothing": None,
    "list": [1, "two", None, [3.5]],
    "object": {"a": {"b": ["c", False]}, "d e": ""},
    "none": {},
    "empty": "",
}
TYPES = {
    **dict.fromkeys(("text", "code", "digits", "word", "empty"), "string"),
    **{"whole": "integer", "part": "number", "yes": "boolean", "list": "array", "object": "object", "none": "object"},
}


def function_of(name: str, types: dict[str, str]) -> dict[str, Any]:
    properties = {key: {"type": kind, "description": "A part."} for key, kind in types.items()}
    parameters = {"type": "object", "properties": properties}
    return {"type": "function", "function": {"name": name, "description": "It helps.", "parameters": parameters}}


TOOLS = [
    function_of("look.up", TYPES),
    function_of("get_weather", {"city": "string", "days": "integer"}),
    function_of("now", {}),
]


def call_of(name: str, arguments: Any, number: str | None = None) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}
    call = {"type": "function", "function": function}
    return {"id": number, **call} if number else call


@cache
def stored_template(name: str, *, control: bool = False) -> Template:
    if name not in STORED:
        pytest.skip(f"TRL does not ship the chat template {name}")
    specials = (*SPECIALS, *MARKERS) if control else SPECIALS
    return Template(small_tokenizer(STORED[name].read_text(encoding="utf-8"), specials), variables={"tools": TOOLS})


def form_of(name: str) -> ToolCallForm:
    return stored_template(name).tool_calls


def calls_read(calls: Sequence[dict[str, Any]]) -> list[tuple[str, Any]]:
    return [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls]


def drawn_by(template: Template, message: dict[str, Any]) -> str:
    """What a model draws that answers the question so, without the end of the turn."""
    text = template.render([QUESTION, message])
    before, _, _ = template.render([QUESTION, {"role": "assistant", "content": "Plain."}]).partition("Plain.")
    asked = template.render([QUESTION], generation=True)
    header = asked if text.startswith(asked) else common_start(text, before)
    drawn = text[text.index(message["content"]) if message["content"] else len(header) :].rstrip()
    return drawn.removesuffix(template.tool_calls.end)
