"""What is trained on is what was drawn, also of turns that call tools: over the templates that TRL stores."""

import json
import random
from typing import Any

import pytest

from synth.chat.derive import chat_format
from synth.chat.format import ChatFormat
from synth.chat.thinking import Mode
from synth.chat.turn import put_together
from synth.data.row import Message
from synth.errors import RequestError
from tests.synth.chat.calls import TOOLS, drawn_by
from tests.synth.chat.test_law import drawn_ids, places
from tests.synth.tokenizers import SIGNS, STORED, small_tokenizer, stored_format

pytestmark = pytest.mark.skipif(not STORED, reason="trl, which stores today's chat templates, is not installed")

FORMS = [  # one of each form in which calls are written, and of each way that thoughts go with them
    *("deepseekv3", "gemma4", "gemma4_v5", "glm4moe", "gptoss", "lfm2_2_5", "lfm2_v2", "llama3_1", "muse_glimmer"),
    *("nemotron_3_nano", "nemotron_3_super", "qwen2_5", "qwen3", "qwen3_5_think", "qwen3_8", "qwen3_vl"),
]
WITHOUT_TOOLS = ("deepseekv3",)  # its template writes calls, but does not offer tools
AGAIN = "<|end|><|start|>assistant"


def _call(name: str, arguments: Any) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)},
    }


def _offered(chat: ChatFormat, name: str) -> ChatFormat:
    return chat if name.removesuffix("_training") in WITHOUT_TOOLS else chat.with_tools(TOOLS)


def _texts(chat: ChatFormat, turn: Message) -> str:
    """What a model draws that answers so: its thoughts, and the call as the template writes it."""
    said = {key: value for key, value in turn.items() if key != "tool_calls"}
    if "tool_calls" not in turn:
        return put_together(turn, chat.thinking, chat.begun)
    call = drawn_by(chat.template, {"role": "assistant", "content": "", "tool_calls": turn["tool_calls"]})
    begin = chat.template.tool_calls.begins.search(call)
    call = call[begin.start() :] if begin else call
    if "reasoning_content" not in turn:
        return call
    if chat.thinking.between:
        again = AGAIN if AGAIN in chat.thinking.closer else "<|eom|><|start|>assistant"
        return f"{chat.thinking.opener}{turn['reasoning_content']}{again}{call}"
    return put_together(said, chat.thinking, chat.begun) + call


@pytest.mark.parametrize("name", FORMS)
def test_what_is_drawn_is_what_is_trained_on(name: str) -> None:
    base = stored_format(name)
    modes: list[Mode | None] = [*base.modes]
    for mode in modes or [None]:
        chat = _offered(base.in_mode(mode) if mode else base, name)
        choice = random.Random(f"{name}{mode}")
        calls = [_call("look.up", {"text": "a\n</x> \"é\" 'b'", "whole": 3, "yes": True}), _call("now", {})]
        calls = calls if chat.template.tool_calls.several else calls[:1]
        answers: list[Message] = [
            {"role": "assistant", "content": "", "tool_calls": calls},
            {"role": "assistant", "content": "It is **sunny**."},
            {"role": "assistant", "content": "You are\n\nwelcome, é."},
        ]
        given = [{"role": "tool", "content": f"result {number}", "name": "now"} for number in range(len(calls))]
        between: list[list[Message]] = [
            [{"role": "user", "content": "How is it there?"}],
            given,
            [{"role": "user", "content": "Thank you!"}],
        ]
        messages: list[Message] = []
        prompts, drawn, indices = [], [], []
        for answer, before in zip(answers, between, strict=True):
            thoughts = {"reasoning_content": "Let me see:\n\nthis …"} if mode == "thinking" else {}
            messages += before
            prompts.append(chat.answer_prompt(messages))
            ids = drawn_ids(chat, _texts(chat, answer | thoughts), choice)
            turn = chat.parse(chat.tokenizer.decode(ids, skip_special_tokens=False), calls=True)
            assert turn.fault is None
            assert turn.content == answer["content"] and (turn.reasoning or None) == thoughts.get("reasoning_content")
            assert len(turn.tool_calls) == len(answer.get("tool_calls", ()))
            indices.append(len(messages))
            messages.append(turn.message())
            drawn.append([*ids, chat.end_ids[0]])
        examples, lost = chat.examples(messages, drawn)
        assert not lost
        there = places(examples)
        for index, prompt, ids in zip(indices, prompts, drawn, strict=True):
            encoded, (start, end) = there[index]
            assert start == len(prompt)
            assert encoded.input_ids[:end] == [*prompt, *ids]


@pytest.mark.parametrize("name", FORMS)
def test_calls_whose_tokens_nobody_kept_are_trained_on_as_the_template_writes_them(name: str) -> None:
    chat = _offered(stored_format(name), name)
    compact = {"type": "function", "id": "call00001", "function": {"name": "now", "arguments": '{"a":1,"b":"é"}'}}
    messages: list[Message] = [
        {"role": "user", "content": "How late is it?"},
        {"role": "assistant", "content": "", "tool_calls": [compact]},
        {"role": "tool", "content": "12:00", "tool_call_id": "call00001", "name": "now"},
        {"role": "assistant", "content": "It is noon."},
    ]
    examples, lost = chat.examples(messages)
    assert not lost
    there = places(examples)
    encoded, (start, end) = there[1]
    text = chat.tokenizer.decode(encoded.input_ids[start:end], skip_special_tokens=False)
    assert "now" in text and "12:00" not in text and "How late" not in text
    encoded, (start, end) = there[3]
    text = chat.tokenizer.decode(encoded.input_ids[start:end], skip_special_tokens=False)
    assert "It is noon." in text and "12:00" not in text


OFFER = "{% if tools %}<|system|>Tools: {{ tools | tojson }}<|eot|>{% endif %}"
CALLS = "{% for c in m.tool_calls or [] %}<call>{{ c.function | tojson }}</call>{% endfor %}<|eot|>"
SWITCHED = {
    "an answer without thoughts has none where its prompt closed them": (
        "<|{{ m.role }}|>{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}",
        "<|assistant|>{% if no_thinking %}<think></think>{% endif %}",
    ),
    "empty thoughts in answers are written otherwise than in the prompt": (
        "<|{{ m.role }}|>{% if m.role == 'assistant' %}"
        "<think>\n{{ m.reasoning_content or '' }}\n</think>\n\n{% endif %}",
        "<|assistant|><think>\n{% if no_thinking %}\n</think>\n\n{% endif %}",
    ),
    "results are turns of the user": (
        "<|{{ 'user' if m.role == 'tool' else m.role }}|>"
        "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>"
        "{% endif %}",
        "<|assistant|>{% if no_thinking %}<think></think>{% endif %}",
    ),
}


@pytest.mark.parametrize("content", ["", "a", "I look."])
@pytest.mark.parametrize("name", SWITCHED)
def test_calls_follow_the_prompt_of_either_mode(name: str, content: str) -> None:
    turn, asked = SWITCHED[name]
    template = f"{OFFER}{{% for m in messages %}}{turn}{{{{ m.content or '' }}}}{CALLS}{{% endfor %}}"
    signs = [*SIGNS.findall(template), "<|assistant|>", "<|user|>", "<|tool|>"]
    base = chat_format(
        small_tokenizer(
            f"{template}{{% if add_generation_prompt %}}{asked}{{% endif %}}", signs, bos=None, eos="<|eot|>"
        )
    )
    assert sorted(base.modes) == ["plain", "thinking"]
    for mode in base.modes:
        chat = base.in_mode(mode).with_tools(TOOLS)
        assert (chat.thinking.opener, chat.thinking.closer) == (base.thinking.opener, base.thinking.closer)
        thoughts = {"reasoning_content": "Hm."} if mode == "thinking" else {}
        called = {"role": "assistant", "content": content, "tool_calls": [_call("now", {}), _call("now", {"a": "é"})]}
        messages: list[Message] = [{"role": "user", "content": "How late is it?"}, called | thoughts]
        messages.append({"role": "tool", "content": "12:00"})
        messages.append({"role": "assistant", "content": "Noon."} | thoughts)
        examples, lost = chat.examples(messages)
        assert not lost
        for index, (encoded, (start, end)) in places(examples).items():
            assert encoded.input_ids[:start] == chat.answer_prompt(messages[:index])
            parsed = chat.parse(chat.tokenizer.decode(encoded.input_ids[start : end - 1]))
            assert parsed.message() == messages[index] and encoded.input_ids[end - 1] == chat.end_ids[0]


def test_the_span_of_a_turn_that_calls_tools_is_what_the_model_wrote() -> None:
    for name, text in (("qwen3", "<tool_call>\n"), ("gptoss", " to=functions.now"), ("gemma4", "<|tool_call>call:now")):
        chat = stored_format(name).with_tools(TOOLS)
        turn = {"role": "assistant", "content": "", "tool_calls": [_call("now", {})]}
        after = [{"role": "tool", "content": "12:00"}, {"role": "assistant", "content": "Noon."}]
        encoded = chat.encode([{"role": "user", "content": "How late is it?"}, turn, *after])
        start, end = encoded.spans[0]
        written = chat.tokenizer.decode(encoded.input_ids[start:end], skip_special_tokens=False)
        assert text in written and "12:00" not in written and encoded.input_ids[end - 1] in chat.end_ids
        assert not encoded.rewritten


def test_a_template_that_offers_no_tools_says_so() -> None:
    with pytest.raises(RequestError, match="takes no tools"):
        stored_format("deepseekv3").with_tools(TOOLS)


def test_a_broken_call_on_a_channel_of_its_own_is_a_fault() -> None:
    chat = stored_format("gptoss").with_tools(TOOLS)
    thoughts = f"<|channel|>analysis<|message|>Hm.{AGAIN}"
    call = "<|channel|>commentary to=functions.now <|constrain|>json<|message|>"
    turn = chat.parse(f"{thoughts}{call}{{}}")
    assert (turn.reasoning, turn.fault) == ("Hm.", None) and len(turn.tool_calls) == 1
    for broken in ("{", "[1]", "{} done"):
        fault = chat.parse(f"{thoughts}{call}{broken}").fault
        assert fault is not None and fault.startswith("a tool call cannot be read")
