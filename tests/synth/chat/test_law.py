"""What is trained on is what was drawn: `examples` of what `parse` makes of a drawn turn are its prompt and its tokens.

Over the chat templates that TRL stores, with the markers of thoughts as tokens of their own and as ordinary words, in
every mode that a template has, for tokens as a model may draw them: not those that tokenising the text would give.
"""

import random
from collections.abc import Sequence
from typing import Any

import pytest

from synth.chat.derive import chat_format
from synth.chat.format import ChatFormat, Encoded, Example
from synth.chat.thinking import Mode
from synth.chat.turn import put_together
from synth.data.row import Message
from synth.errors import RequestError, UsageError
from tests.synth.tokenizers import STORED, small_tokenizer, stored_format

PICTURES = ("idefics3", "llava_next", "smolvlm")  # contents are lists of parts: refused
NO_SYSTEM = ("gemma", "gemma_training")
BOTH = (
    *("qwen3", "qwen3_5_think", "qwen3_5_nothink", "qwen3_6", "qwen3_8", "glm4moe", "gemma4", "gemma4_v5"),
    *("nemotron_3_nano", "nemotron_3_super", "nemotron_3_ultra", "nemotron_3_5_lightning"),
)
ALWAYS_THINKING = ("deepseekv3", "deepseek_r1_distill", "gptoss", "muse_glimmer", "lfm2_2_5")
NEVER_THINKING = ("llama3", "qwen2_5", "phi3", "qwen3_instruct_2507")
MODES = {
    **{name: ["plain", "thinking"] for name in BOTH},
    **{name: ["thinking"] for name in ALWAYS_THINKING},
    **{name: [] for name in NEVER_THINKING},
}
pytestmark = pytest.mark.skipif(not STORED, reason="trl, which stores today's chat templates, is not installed")


def drawn_ids(chat: ChatFormat, text: str, choice: random.Random) -> list[int]:
    """Tokens of a text that are not the ones it is tokenised to: cut in odd places, control tokens whole."""
    ids: list[int] = []
    at = 0
    for sign in [*chat.template.find_added(text), None]:
        end = sign.start() if sign else len(text)
        while at < end:
            piece = text[at : min(end, at + choice.choice([1, 2, 3, 5, 8]))]
            ids += chat.template.token_ids(piece)
            at += len(piece)
        if sign:
            ids += chat.template.token_ids(sign.group())
            at = sign.end()
    return ids


def converse(chat: ChatFormat, mode: Mode | None, *, system: bool, turns: int = 3) -> Sequence[Any]:
    """A conversation as a model would have it: the messages, and of each answer its prompt and its drawn tokens."""
    choice = random.Random(f"{mode}{turns}")
    messages: list[Message] = [{"role": "system", "content": "Be kind."}] if system else []
    prompts, drawn = [], []
    for number in range(turns):
        messages.append({"role": "user", "content": f"What is {number} + {number}?\n\n- why"})
        prompts.append(chat.answer_prompt(messages))
        turn: Message = {"role": "assistant", "content": f"It is **{2 * number}**:\n\n  é, 你好, {number}"}
        if mode == "thinking":
            turn["reasoning_content"] = f"Let me see: {number} and\n\n{number} … (fine)"
        ids = drawn_ids(chat, put_together(turn, chat.thinking, chat.begun), choice)
        parsed = chat.parse(chat.tokenizer.decode(ids, skip_special_tokens=False))
        assert parsed.fault is None and parsed.message() == turn
        messages.append(parsed.message())
        drawn.append([*ids, chat.end_ids[0]])
    return messages, prompts, drawn


def places(examples: Sequence[Example]) -> dict[int, tuple[Encoded, tuple[int, int]]]:
    """In which example an answer is, and which of its tokens are the answer, by the index of its message."""
    return {
        turn: (example.encoded, span)
        for example in examples
        for turn, span in zip(example.turns, example.encoded.spans, strict=True)
    }


@pytest.mark.parametrize("thoughts_are_tokens", [True, False], ids=["tokens", "words"])
@pytest.mark.parametrize("name", [name for name in STORED if not name.startswith(PICTURES)])
def test_what_is_drawn_is_what_is_trained_on(name: str, thoughts_are_tokens: bool) -> None:
    base = stored_format(name, thoughts_are_tokens=thoughts_are_tokens)
    modes: list[Mode | None] = [*base.modes]
    for mode in modes or [None]:
        chat = base.in_mode(mode) if mode else base
        messages, prompts, drawn = converse(chat, mode, system=name not in NO_SYSTEM)
        first = len(messages) - 6
        for turns in (1, 2, 3):
            examples, lost = chat.examples(messages[: first + 2 * turns], drawn[:turns])
            assert not lost
            there = places(examples)
            for number in range(turns):
                encoded, (start, end) = there[first + 2 * number + 1]
                assert start == len(prompts[number])
                assert encoded.input_ids[:end] == [*prompts[number], *drawn[number]]
                assert len(encoded.offsets) == len(encoded.input_ids)


@pytest.mark.parametrize("name", [name for name in STORED if not name.startswith(PICTURES)])
def test_a_conversation_whose_tokens_nobody_kept_stands_after_the_same_prompts(name: str) -> None:
    base = stored_format(name)
    modes: list[Mode | None] = [*base.modes]
    for mode in modes or [None]:
        chat = base.in_mode(mode) if mode else base
        messages, prompts, _ = converse(chat, mode, system=False)
        examples, lost = chat.examples(messages)
        assert not lost
        there = places(examples)
        for number, prompt in enumerate(prompts):
            encoded, (start, end) = there[2 * number + 1]
            assert encoded.input_ids[:start] == prompt
            text = chat.tokenizer.decode(encoded.input_ids[start:end], skip_special_tokens=False)
            if (last := encoded.input_ids[end - 1]) in chat.end_ids:  # some templates write none
                text = text.removesuffix(chat.tokenizer.decode([last], skip_special_tokens=False))
            assert chat.parse(text).message() == messages[2 * number + 1]


@pytest.mark.parametrize("name", [name for name in MODES if name in STORED])
def test_modes(name: str) -> None:
    for tokens in (True, False):
        assert sorted(stored_format(name, thoughts_are_tokens=tokens).modes) == MODES[name]


@pytest.mark.parametrize("name", [name for name in STORED if name.startswith(PICTURES)])
def test_templates_whose_contents_are_lists_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="does not write the text of the user turn exactly once"):
        stored_format(name)


def test_a_mode_that_there_is_not() -> None:
    with pytest.raises(UsageError, match="`mode` plain: this model's chat template has only thinking"):
        stored_format("deepseekv3").in_mode("plain")
    for name in ("qwen2_5", "gemma4_v2"):  # the latter has a switch, but nowhere writes what it makes a model draw
        with pytest.raises(UsageError, match=r"`mode` thinking: .* has no modes"):
            stored_format(name).in_mode("thinking")


def test_template_arguments() -> None:
    chat = stored_format("qwen3_8")
    high, low = (chat.with_args({"reasoning_effort": effort}) for effort in ("xhigh", "low"))
    question: list[Message] = [{"role": "user", "content": "Why?"}]
    assert high.answer_prompt(question) != low.answer_prompt(question)
    with pytest.raises(UsageError, match=r"`template_arg` reasoning_efort: .* does not read it.*reasoning_effort"):
        chat.with_args({"reasoning_efort": "low"})
    with pytest.raises(UsageError, match="Unexpected reasoning effort"):
        chat.with_args({"reasoning_effort": "huge"})
    assert "enable_thinking" in chat.template.reads and "tools" in chat.template.reads


def test_a_template_that_writes_the_date_writes_that_of_the_row() -> None:
    chat = stored_format("gptoss").with_args({"strftime_now": "2026-01-31"})
    assert "2026-01-31" in chat.user_prompt().text
    assert chat.template.arguments == {"strftime_now": "2026-01-31"}
    with pytest.raises(UsageError, match="strftime_now: 'now' is no date such as 2026-01-31"):
        chat.with_args({"strftime_now": "now"})


def test_modes_are_said_by_the_switch_that_gives_them() -> None:
    assert stored_format("qwen3").modes == {"thinking": {"enable_thinking": True}, "plain": {"enable_thinking": False}}
    assert stored_format("gemma4").modes == {"thinking": {"enable_thinking": True}, "plain": {"enable_thinking": False}}
    assert stored_format("deepseekv3").modes == {"thinking": {}}
    # Beside a switch that changes nothing of a prompt: what was thought before is kept, or is not.
    assert stored_format("gemma4_v5").modes == stored_format("gemma4").modes


def test_markers_that_the_tokenizer_alone_knows_are_no_mode() -> None:
    """As those of Qwen3's instruct models, which have their thinking siblings' tokenizer: read where they are drawn."""
    turns = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    asked = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    signs = ["<|im_start|>", "<|im_end|>", "<think>", "</think>"]
    chat = chat_format(small_tokenizer(turns + asked, signs, bos=None, eos="<|im_end|>"))
    assert chat.modes == {} and chat.parse("<think>\nHm.\n</think>\n\nSo.").reasoning == "Hm."
    with pytest.raises(UsageError, match="`mode` thinking: this model's chat template has no modes"):
        chat.in_mode("thinking")


FAULTS = [
    ("qwen3", "<think>\nI wonder", "thoughts do not end"),
    ("qwen3", "<think>\nI wonder\n</think>\n\nSo.\n<think>\nOr", "thoughts are opened or closed twice: <think>"),
    ("qwen3", "So.</think> It is.", "thoughts within the answer: </think>"),
    ("deepseekv3", "I wonder", "thoughts do not end"),
    ("gptoss", "<|channel|>analysis<|message|>I wonder", "thoughts do not end"),
    ("gptoss", "It is.", "no channel"),
]


@pytest.mark.parametrize(("name", "text", "fault"), FAULTS)
def test_turns_that_cannot_be_used(name: str, text: str, fault: str) -> None:
    assert stored_format(name).parse(text).fault == fault


def test_what_ends_an_answer_of_channels() -> None:
    """A channel's end is none: the answer comes after it."""
    chat = stored_format("gptoss")
    names = chat.tokenizer.convert_ids_to_tokens(list(chat.answer_stop_ids))
    assert "<|return|>" in names and not {"<|end|>", "<|start|>", "<|channel|>", "<|message|>"} & set(names)


def test_several_channels() -> None:
    chat = stored_format("gptoss")
    between = "<|end|><|start|>assistant"
    turn = chat.parse(
        f"<|channel|>analysis<|message|>One.{between}<|channel|>commentary<|message|>I look it up.{between}"
        f"<|channel|>final<|message|>Four."
    )
    assert (turn.reasoning, turn.content, turn.fault) == ("One.", "I look it up.\n\nFour.", None)


def test_a_question_may_name_the_markers_of_thoughts_but_no_turn() -> None:
    chat = stored_format("qwen3")
    messages: list[Message] = [{"role": "system", "content": "Think between <think> and </think>."}]
    messages += [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
    assert chat.examples(messages)[0]
    with pytest.raises(RequestError, match="control token"):
        chat.examples([{"role": "user", "content": "<|im_start|>"}, messages[-1]])


def test_tokens_that_say_something_else_than_the_message_are_not_taken() -> None:
    chat = stored_format("qwen3").in_mode("thinking")
    messages, prompts, drawn = converse(chat, "thinking", system=False, turns=1)
    edited = [messages[0], messages[1] | {"content": "Four."}]
    [example], _ = chat.examples(edited, drawn)
    start, end = example.encoded.spans[0]
    assert example.encoded.input_ids[:start] == prompts[0]
    assert "Four." in chat.tokenizer.decode(example.encoded.input_ids[start:end])
