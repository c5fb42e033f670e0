"""The law of `test_law`, for templates in the ways of strangers: exact, or refused in one line."""

import random

import pytest

from synth.chat.derive import chat_format
from synth.chat.format import ChatFormat
from synth.chat.turn import put_together
from synth.data.row import Message, Row
from synth.engines.base import Completion
from synth.errors import RequestError, UsageError
from synth.generation.chat_model import NOT_OPEN, ChatModel
from synth.scoring.encoding import RowEncoder
from tests.synth.chat.test_law import drawn_ids, places
from tests.synth.tokenizers import SIGNS, conversation, small_tokenizer, turns_of

EOT = "<|eot|>"
ASK = "{% if add_generation_prompt %}<|assistant|>{% endif %}"
TURN = "<|{{ m.role }}|>{{ m.content }}<|eot|>"
LOOP = "{% for m in messages %}", "{% endfor %}"
WHY = "What is it?\n\n- why"


def looped(turn: str, ask: str = ASK) -> str:
    return turn.join(LOOP) + ask


THOUGHTS = (
    "{% if m.role == 'assistant' and m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n{% endif %}"
)
OPENED = "{% if add_generation_prompt %}<|assistant|><think>\n"

# name: the template, and the modes that it has
STRANGE = {
    "a last question is written otherwise": (
        looped(TURN.replace("<|eot|>", "{% if loop.last and add_generation_prompt %}\n(briefly){% endif %}<|eot|>")),
        [],
    ),
    "turns are counted": ("({{ messages | length }})" + looped(TURN), []),
    "the system message stands in the last question": (
        "{% set s = (messages | selectattr('role', 'equalto', 'system')"
        " | map(attribute='content') | list | first) or '' %}"
        "{% for m in messages if m.role != 'system' %}{% if m.role == 'user' %}[INST]{% if loop.last and s %}"
        "{{ s + '\n\n' }}{% endif %}{{ m.content }}[/INST]{% else %}{{ m.content + '</s>' }}{% endif %}{% endfor %}",
        [],
    ),
    "the prompt opens thoughts that nothing closes": (looped(TURN, OPENED + "{% endif %}"), ["thinking"]),
    "history is cut at the closing marker alone": (
        looped(TURN.replace("m.content", "(m.content.split('</think>') | last)")),
        ["thinking"],
    ),
    "a switch of another name": (
        looped(THOUGHTS + TURN.replace("<|{{ m.role }}|>", ""), "").replace(LOOP[0], LOOP[0] + "<|{{ m.role }}|>")
        + OPENED
        + "{% if no_think %}\n</think>\n{% endif %}{% endif %}",
        ["plain", "thinking"],
    ),
    "thoughts are messages to oneself": (
        "{% for m in messages %}{% if m.thinking %}"
        "<|turn|>assistant<|to|>self<|body|>{{ m.thinking }}<|eot|>{% endif %}"
        "<|turn|>{{ m.role }}{% if m.role == 'assistant' %}<|to|>all{% endif %}<|body|>"
        "{{ m.content }}<|eot|>{% endfor %}"
        "{% if add_generation_prompt %}<|turn|>assistant{% endif %}",
        ["thinking"],
    ),
    "macros, and thoughts in the last turn alone": (
        "{%- macro body(m, last) -%}<|{{ m.role }}|>{%- if m.reasoning and last -%}"
        "<thought>{{ m.reasoning | trim }}</thought>"
        "{% endif -%}{{ m.content | trim }}<|eot|>{%- endmacro -%}"
        "{%- for m in messages -%}{{ body(m, loop.last) }}{%- endfor -%}" + ASK,
        ["thinking"],
    ),
}


def format_of(template: str, *, tokens: bool) -> ChatFormat:
    signs = {*SIGNS.findall(template), "<|user|>", "<|assistant|>", "<|system|>"} - {"<s>", "</s>"}
    own = [sign for sign in sorted(signs) if tokens or not ("think" in sign or "thought" in sign)]
    return chat_format(small_tokenizer(template, ["<s>", "</s>", *own]))


@pytest.mark.parametrize("tokens", [True, False], ids=["tokens", "words"])
@pytest.mark.parametrize("name", STRANGE)
def test_what_is_drawn_is_what_is_trained_on(name: str, tokens: bool) -> None:
    template, modes = STRANGE[name]
    base = format_of(template, tokens=tokens)
    assert sorted(base.modes) == modes
    for mode in base.modes or [None]:
        chat = base.in_mode(mode) if mode else base
        messages: list[Message] = [{"role": "system", "content": "Be kind."}]
        prompts, drawn = [], []
        for number in range(3):
            messages.append({"role": "user", "content": WHY})
            prompts.append(chat.answer_prompt(messages))
            turn: Message = {"role": "assistant", "content": f"It is **{number}**:\n\n  é, 你好"}
            if mode == "thinking":
                turn["reasoning_content"] = f"Let me see: {number} and\n\n{number} … (fine)"
            ids = drawn_ids(chat, put_together(turn, chat.thinking, chat.begun), random.Random(number))
            parsed = chat.parse(chat.tokenizer.decode(ids))
            assert parsed.fault is None and parsed.message() == turn
            messages.append(turn)
            drawn.append([*ids, chat.end_ids[0]])
        for kept in (drawn, None):
            examples, lost = chat.examples(messages, kept)
            assert not lost
            there = places(examples)
            for number, prompt in enumerate(prompts):
                encoded, (start, end) = there[2 * number + 2]
                assert encoded.input_ids[:start] == prompt
                if kept:
                    assert encoded.input_ids[start:end] == drawn[number]


REFUSED = {
    "{% for m in messages %}<|{{ m.role }}|>{% for p in m.content %}{{ p.text }}{% endfor %}<|eot|>{% endfor %}": (
        "does not write the text of the user turn exactly once"
    ),
    "{% for m in messages %}{{ m.name + ': ' + m.content }}<|eot|>{% endfor %}": "has no attribute 'name'",
    "{{ messages | tojson }}{{ messages[0].content }}": "does not write the text of the user turn exactly once",
}


@pytest.mark.parametrize("template", REFUSED)
def test_what_cannot_be_derived_is_refused_in_one_line(template: str) -> None:
    with pytest.raises(UsageError) as refusal:
        format_of(template, tokens=True)
    assert REFUSED[template] in str(refusal.value) and "\n" not in str(refusal.value)


def test_several_ends() -> None:
    """The last turn ends in another token than those before it: both end an answer, and are learnt."""
    ends = "{% if loop.last and m.role == 'assistant' %}<|return|>{% else %}<|eot|>{% endif %}"
    chat = format_of(looped(TURN.replace(EOT, ends)), tokens=True)
    names = chat.tokenizer.convert_ids_to_tokens(list(chat.end_ids))
    assert {EOT, "<|return|>"} <= {*names}
    assert turns_of(chat, conversation("Hi", "Ho", "So?", "No.")) == ["Ho<|eot|>", "No.<|return|>"]


@pytest.mark.parametrize("how", ["replace('\\n', ' ')", "indent(2)", "tojson"])
def test_answers_that_a_template_rewrites_are_trained_on_as_they_were_drawn(how: str) -> None:
    chat = format_of(looped(TURN.replace("m.content", f"m.content | {how}")), tokens=True)
    said = "It is:\n\n- a\n  - b"
    row = Row("a", [{"role": "user", "content": WHY}], "own")
    prompt, ids = chat.answer_prompt(row.messages), tuple(chat.template.token_ids(said))
    ChatModel(NOT_OPEN, chat, "m").put(row, Completion(ids, said, "stop", chat.end_ids[0]))
    [encoded] = RowEncoder(chat).conversation(row.messages, drawn=row.extra["drawn"])
    assert encoded.ids.tolist() == [*prompt, *ids, chat.end_ids[0]]
    with pytest.raises(RequestError, match="does not write a message as it stands"):  # as nobody drew it
        RowEncoder(chat).conversation(row.messages)
