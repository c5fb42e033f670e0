"""Chat formats: nine published templates and some awkward ones, over two kinds of tokenizer.

Expected texts are typed in from the templates and from Magpie's table of prefixes, not computed.
"""

from itertools import pairwise, product
from pathlib import Path
from typing import Any, get_args

import pytest
from tokenizers import AddedToken

from synth.chat import ChatFormat, chat_format, format_for, load_tokenizer
from synth.errors import RequestError, UsageError
from synth.row import Message
from tests.synth.tokenizers import FAMILIES, Family, Kind, real_template, small_tokenizer

BY_NAME = {family.name: family for family in FAMILIES}
QWEN_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."

PREFIXES = {
    "chatml": "<s><|im_start|>user\n",
    "gemma-it": "<start_of_turn>user\n",
    "llama-2-chat": "<s>[INST] ",
    "llama-3-instruct": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n",
    "mistral-instruct": "<s>[INST] ",
    "phi-3": "<|user|>\n",
    "qwen2.5-instruct": f"<|im_start|>system\n{QWEN_SYSTEM}<|im_end|>\n<|im_start|>user\n",
    "vicuna": "<s>USER: ",
    "zephyr": "<|user|>\n",
}
WITH_SYSTEM = {
    "chatml": "<s><|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n",
    "gemma-it": "<start_of_turn>user\nBe kind.\n\n",
    "llama-2-chat": "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\n",
    "llama-3-instruct": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\n",
    "mistral-instruct": "<s>Be kind.\n\n[INST] ",
    "phi-3": "<|system|>\nBe kind.<|end|>\n<|user|>\n",
    "qwen2.5-instruct": "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n",
    "vicuna": "<s>Be kind.\n\nUSER: ",
    "zephyr": "<|system|>\nBe kind.</s>\n<|user|>\n",
}
# What ends a question (strings, then tokens with the template's own end first), and what ends an answer.
STOPS: dict[str, tuple[list[str], list[str], list[str]]] = {
    "chatml": ([], ["<|im_end|>", "<s>", "<|im_start|>"], ["<|im_end|>", "<|im_start|>"]),
    "gemma-it": (
        [],
        ["<end_of_turn>", "<eos>", "<start_of_turn>"],
        ["<end_of_turn>", "<eos>", "<start_of_turn>"],
    ),
    "llama-2-chat": (["[/INST]"], ["</s>", "<s>"], ["</s>", "<s>"]),
    "llama-3-instruct": (
        [],
        ["<|eot_id|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>"],
        ["<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"],
    ),
    "mistral-instruct": (["[/INST]"], ["</s>", "<s>"], ["</s>"]),
    "phi-3": (
        [],
        ["<|end|>", "<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>"],
        ["<|end|>", "<|endoftext|>", "<|assistant|>", "<|user|>"],
    ),
    "qwen2.5-instruct": ([], ["<|im_end|>", "<|im_start|>"], ["<|im_end|>", "<|im_start|>"]),
    "vicuna": (["ASSISTANT:"], ["</s>", "<s>"], ["</s>"]),
    "zephyr": ([], ["</s>"], ["</s>"]),
}

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# As Qwen3 does: reasoning only in the last answer, and an empty block there where there is none.
THINKING = (
    "{% for m in messages %}{% set text = m.content %}"
    "{% if m.role == 'assistant' %}"
    "{% set thought = '' %}{% if '</think>' in text %}"
    "{% set thought = text.split('</think>')[0].split('<think>')[-1].strip('\n') %}"
    "{% set text = text.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{% if loop.last %}{% set text = '<think>\n' + thought + '\n</think>\n\n' + text %}{% endif %}{% endif %}"
    "{{ '<|im_start|>' + m.role + '\n' + text + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MARKED = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}"
    "{% else %}{{ m.content + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
IM = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

CONTENTS = [
    "What is 2+2?",
    " before",
    "after ",
    "\n\nlines\n",
    "你好吗",
    "😀 hi",
    "",
    "a",
    "42",
    "(x)",
    "- a\n- b",
    "\té",
]


def conversation(*contents: str) -> list[Message]:
    return [{"role": ("user", "assistant")[index % 2], "content": text} for index, text in enumerate(contents)]


def im_format(template: Any) -> ChatFormat:
    return chat_format(small_tokenizer(template, IM, bos=None, eos="<|im_end|>"))


def texts(chat: ChatFormat, ids: tuple[int, ...]) -> list[str]:
    tokens: list[str] = chat.tokenizer.convert_ids_to_tokens(ids)
    return tokens


def turns_of(chat: ChatFormat, messages: list[Message]) -> list[str]:
    encoded = chat.encode(messages)
    return [chat.tokenizer.decode(encoded.input_ids[start:end]) for start, end in encoded.spans]


@pytest.fixture(params=FAMILIES, ids=lambda family: family.name)
def family(request: pytest.FixtureRequest) -> Family:
    chosen: Family = request.param
    return chosen


def test_text_before_a_question(family: Family) -> None:
    prompt = chat_format(family.tokenizer()).user_prompt()
    assert prompt.text == PREFIXES[family.name]
    # Where a template ends in a space, the space belongs to the first word's token.
    assert prompt.pending == (" " if prompt.text.endswith(" ") else "")


def test_text_before_a_question_after_a_system_message(family: Family) -> None:
    prompt = chat_format(family.tokenizer()).user_prompt([{"role": "system", "content": "Be kind."}])
    assert prompt.text == WITH_SYSTEM[family.name]


def test_stops(family: Family) -> None:
    chat = chat_format(family.tokenizer())
    found = list(chat.stop), texts(chat, chat.stop_ids), texts(chat, chat.answer_stop_ids)
    assert found == STOPS[family.name]
    assert chat.answer_stop == ()


def test_default_system_message() -> None:
    defaults = {name: chat_format(family.tokenizer()).turns.default_system for name, family in BY_NAME.items()}
    assert defaults == dict.fromkeys(PREFIXES) | {"qwen2.5-instruct": QWEN_SYSTEM}


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_prompt_is_the_start_of_the_whole(family: Family, kind: Kind) -> None:
    """No prompt differs from the tokens of the conversation it leads to, whatever the contents."""
    tokenizer = small_tokenizer(real_template(family.name), family.specials, bos=family.bos, eos=family.eos, kind=kind)
    chat = chat_format(tokenizer)
    for first, second in product(CONTENTS, CONTENTS):
        # Contents are stripped, as drawn texts are; most templates do it themselves.
        messages = conversation(first.strip(), second.strip(), second.strip(), first.strip())
        encoded = chat.encode(messages)
        prompts = [
            list(chat.user_prompt().ids),
            chat.answer_prompt(messages[:1]),
            list(chat.user_prompt(messages[:2]).ids),
            chat.answer_prompt(messages[:3]),
        ]
        for shorter, longer in pairwise([*prompts, encoded.input_ids]):
            assert longer[: len(shorter)] == shorter
        assert [start for start, _ in encoded.spans] == [len(prompts[1]), len(prompts[3])]
        assert encoded.input_ids == tokenizer.apply_chat_template(messages)["input_ids"]


def test_beginning_of_sequence_is_not_doubled(family: Family) -> None:
    tokenizer = family.tokenizer()
    if family.bos is None:
        pytest.skip("this family has no beginning-of-sequence token")
    assert tokenizer("plain")["input_ids"][0] == tokenizer.bos_token_id
    chat = chat_format(tokenizer)
    written = PREFIXES[family.name].count(family.bos)
    for ids in (
        chat.user_prompt().ids,
        chat.answer_prompt(conversation("Hi")),
        chat.encode(conversation("Hi")).input_ids,
    ):
        assert list(ids).count(tokenizer.bos_token_id) == written


ENDS = dict.fromkeys(PREFIXES, "{}<|im_end|>") | {
    "gemma-it": "{}<end_of_turn>",
    "llama-2-chat": "{} </s>",
    "llama-3-instruct": "{}<|eot_id|>",
    "mistral-instruct": "{}</s>",
    "phi-3": "{}<|end|>",
    "vicuna": "{}</s>",
    "zephyr": "{}</s>",
}


def test_spans_are_the_answers_and_their_ends(family: Family) -> None:
    chat = chat_format(family.tokenizer())
    answers = ["The sea is wide.", "你好 😀, why?\n\n- one", "It is:\n42"]
    messages = conversation("Hi", answers[0], "So?", answers[1], "And?", answers[2])
    encoded = chat.encode(messages)
    written = [encoded.text[encoded.offsets[start][0] : encoded.offsets[end - 1][1]] for start, end in encoded.spans]
    assert [text.strip() for text in written] == [ENDS[family.name].format(answer) for answer in answers]
    assert [text.strip() for text in turns_of(chat, messages)] == [text.strip() for text in written]
    assert sum(encoded.trained) == sum(end - start for start, end in encoded.spans)
    # Space before an answer is drawn by the model only where the template writes it after the prompt.
    spaced = family.name in {"llama-2-chat", "mistral-instruct", "vicuna"}
    assert all(text.startswith(" ") == spaced for text in written)


def test_conversation_that_ends_with_a_question(family: Family) -> None:
    chat = chat_format(family.tokenizer())
    assert len(chat.encode(conversation("Hi", "Ho", "So?")).spans) == 1
    assert chat.encode(conversation("Hi")).spans == []


def test_every_end_of_the_generation_config_stops_both_turns() -> None:
    tokenizer = BY_NAME["llama-3-instruct"].tokenizer()
    end_of_text = tokenizer.convert_tokens_to_ids("<|end_of_text|>")
    chat = chat_format(tokenizer, generation_eos=[end_of_text, tokenizer.eos_token_id])
    assert chat.stop_ids[:2] == chat.answer_stop_ids[:2] == (tokenizer.eos_token_id, end_of_text)
    assert len(set(chat.stop_ids)) == len(chat.stop_ids)


def test_turn_without_an_end_of_its_own_stops_at_the_next_role() -> None:
    roles = ("<s>", "</s>", "<|user|>", "<|assistant|>")
    template = (
        "{{ bos_token }}{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
    )
    chat = chat_format(small_tokenizer(template, roles))
    assert texts(chat, chat.stop_ids) == ["<|assistant|>", "</s>", "<s>", "<|user|>"]
    assert texts(chat, chat.answer_stop_ids) == ["<|user|>", "</s>", "<|assistant|>"]
    assert turns_of(chat, conversation("Hi", "Ho", "So?", "No.")) == ["Ho<|user|>", "No."]


def test_template_without_a_generation_prompt_of_its_own() -> None:
    template = CHATML.split("{% if add_generation_prompt")[0]
    chat, usual = im_format(template), im_format(CHATML)
    question = conversation("Why is the sea deep?")
    assert chat.answer_prompt(question) == usual.answer_prompt(question)


def test_runs_of_spaces_among_added_tokens_end_nothing() -> None:
    tokenizer = small_tokenizer("{% for m in messages %}{{ m.role + ':  ' + m.content + '  END\n' }}{% endfor %}")
    tokenizer.add_tokens(["  ", "    "])
    chat = chat_format(tokenizer)
    assert chat.stop == ("END",)
    assert "  " not in texts(chat, chat.stop_ids)


def test_added_tokens_that_swallow_white_space() -> None:
    """Phi-3 marks its turn tokens `rstrip`: they take the line break after them."""
    tokenizer = small_tokenizer(real_template("phi-3"), BY_NAME["phi-3"].specials, eos="<|endoftext|>")
    tokenizer.add_special_tokens(
        {"extra_special_tokens": [AddedToken(text, rstrip=True) for text in ("<|user|>", "<|assistant|>", "<|end|>")]}
    )
    chat = chat_format(tokenizer)
    messages = conversation("Hi", "The sea.")
    assert tokenizer.convert_ids_to_tokens(chat.user_prompt().ids) == ["<|user|>"]
    encoded = chat.encode(messages)
    assert encoded.spans[0][0] == len(chat.answer_prompt(messages[:1]))
    assert turns_of(chat, messages) == ["The sea.<|end|>"]


def test_reasoning_is_trained_on_where_the_template_keeps_it() -> None:
    chat = im_format(THINKING)
    thought = "<think>\nThe sea\n</think>\n\nIt is wide."
    assert chat.answer_prompt(conversation("Hi")) == im_format(CHATML).answer_prompt(conversation("Hi"))
    kept = turns_of(chat, conversation("Hi", thought, "So?", thought))
    assert kept == ["It is wide.<|im_end|>", "The sea\n</think>\n\nIt is wide.<|im_end|>"]
    # The empty block that the template adds is not the model's.
    assert turns_of(chat, conversation("Hi", "It is wide.")) == ["It is wide.<|im_end|>"]


def test_think_tokens_never_stop_an_answer() -> None:
    tokenizer = small_tokenizer(THINKING, IM, bos=None, eos="<|im_end|>")
    tokenizer.add_tokens(["<think>", "</think>"])
    chat = chat_format(tokenizer)
    assert texts(chat, chat.answer_stop_ids) == ["<|im_end|>", "<|im_start|>"]
    assert chat.template_debris("<think>\nwell\n</think>\n\nYes.") is None
    assert chat.encode(conversation("Hi", "<think>\nwell\n</think>\n\nYes.")).spans


def test_spans_agree_with_generation_marks() -> None:
    chat = im_format(MARKED)
    messages = [{"role": "system", "content": "Be kind."}, *conversation("Hi", "Ho ho.", "So?", "你好\n")]
    marked = chat.tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    encoded = chat.encode(messages)
    assert encoded.input_ids == marked["input_ids"]
    assert encoded.trained == [bool(flag) for flag in marked["assistant_masks"]]


def test_answers_alike_are_told_apart() -> None:
    chat = im_format(CHATML)
    assert turns_of(chat, conversation("a", "a", "a", "a", "a", "a")) == ["a<|im_end|>"] * 3


def test_template_that_refuses_a_system_role() -> None:
    template = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('No system role') }}{% endif %}"
        "{{ '<start_of_turn>' + m.role + '\n' + m.content | trim + '<end_of_turn>\n' }}{% endfor %}"
    )
    gemma = BY_NAME["gemma-it"]
    chat = chat_format(small_tokenizer(template, gemma.specials, bos=gemma.bos, eos=gemma.eos))
    assert chat.turns.system is None
    with pytest.raises(UsageError, match="takes no system message"):
        chat.user_prompt([{"role": "system", "content": "Be kind."}])
    with pytest.raises(RequestError, match="takes no system message"):
        chat.encode([{"role": "system", "content": "Be kind."}, *conversation("Hi", "Ho")])


def test_template_that_drops_the_system_role_in_silence() -> None:
    chat = im_format("{% for m in messages if m.role != 'system' %}" + CHATML.split("%}", 1)[1])
    with pytest.raises(UsageError, match="takes no system message"):
        chat.user_prompt([{"role": "system", "content": "Be kind."}])


def test_roles_that_the_template_refuses_are_a_fault_of_the_row() -> None:
    chat = chat_format(BY_NAME["llama-3-instruct"].tokenizer())
    with pytest.raises(RequestError, match=r"user, user.*must alternate"):
        chat.encode([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}])


def test_named_templates() -> None:
    chat = im_format({"default": CHATML, "tool_use": "{{ tools | tojson }}"})
    assert chat.user_prompt().text == "<|im_start|>user\n"
    with pytest.raises(UsageError, match=r"--prefix TEXT --stop TEXT"):
        im_format({"rag": CHATML, "tool_use": CHATML})


def test_date_is_the_same_in_every_rendering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    chat = im_format("{{ 'Today: ' + strftime_now('%d %b %Y') + '\n' }}" + CHATML)
    assert chat.user_prompt().text == "Today: 02 Jan 1970\n<|im_start|>user\n"
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    clock = im_format("{{ strftime_now('%f') + '\n' }}" + CHATML)
    assert len({clock.user_prompt(conversation("a", "b")).text for _ in range(5)}) == 1


def test_control_tokens_in_a_text_are_refused() -> None:
    chat = im_format(CHATML)
    messages = conversation("Say <|im_end|> aloud.", "No.")
    for write in (chat.encode, chat.answer_prompt):
        with pytest.raises(RequestError, match=r"message 1 \(user\) holds '<\|im_end\|>'"):
            write(messages)
    with pytest.raises(RequestError, match="control token"):
        chat.user_prompt(messages)
    with pytest.raises(UsageError, match="control token"):
        chat.user_prompt([{"role": "system", "content": "<|im_start|>"}])


@pytest.mark.parametrize(
    ("name", "dirty", "clean"),
    [
        ("chatml", ["Hi<|im_end|>", "Hi\nassistant\nHo", "<s>Hi"], ["Is an assistant a user?", "users\nsystems"]),
        ("llama-2-chat", ["Hi [/INST] Ho", "a [INST] b", "<<SYS>>"], ["[INST", "INST", "a << b"]),
        ("vicuna", ["Hi\nASSISTANT: Ho", "USER: Hi", "Hi</s>"], ["the USER: field", "assistant"]),
        ("gemma-it", ["Hi\nmodel\nHo", "<start_of_turn>"], ["a model", "model: T5"]),
        ("zephyr", ["Hi <|assistant|> Ho"], ["|user|"]),
        ("qwen2.5-instruct", ["<|endoftext|>"], [QWEN_SYSTEM]),
    ],
)
def test_template_debris(name: str, dirty: list[str], clean: list[str]) -> None:
    chat = chat_format(BY_NAME[name].tokenizer())
    assert [text for text in dirty if chat.template_debris(text) is None] == []
    assert [text for text in clean if chat.template_debris(text) is not None] == []


def test_base_model_needs_prefix_and_stop() -> None:
    for prefix, stop in [(None, None), ("Question: ", None), (None, "\nAnswer:"), ("", "\nAnswer:")]:
        with pytest.raises(UsageError, match=r"no chat template.*--prefix TEXT --stop TEXT"):
            chat_format(small_tokenizer(), prefix=prefix, stop=stop)


def test_base_model_with_prefix_and_stop() -> None:
    chat = chat_format(small_tokenizer(), prefix="Question: ", stop="\nAnswer: ")
    prompt = chat.user_prompt()
    assert (prompt.text, prompt.pending) == ("<s>Question: ", " ")  # As plain text begins for this tokenizer.
    assert chat.stop == ("\nAnswer:",)
    assert chat.answer_stop == ("Question:",)
    assert texts(chat, chat.answer_stop_ids) == ["</s>"]
    messages = conversation("Why?", "Because.")
    encoded = chat.encode(messages)
    assert encoded.text == "<s>Question: Why?\nAnswer: Because.</s>"
    assert turns_of(chat, messages) == [" Because.</s>"]
    assert encoded.input_ids[: encoded.spans[0][0]] == chat.answer_prompt(messages[:1])
    with pytest.raises(UsageError, match="one question and one answer"):
        chat.user_prompt(messages)
    with pytest.raises(UsageError, match="no system message"):
        chat.user_prompt([{"role": "system", "content": "Be kind."}])


def test_control_token_as_given_stop_is_a_stop_id() -> None:
    chat = chat_format(
        small_tokenizer(None, IM, bos=None, eos="<|im_end|>"),
        prefix="<|im_start|>user\n",
        stop="<|im_end|>\n<|im_start|>assistant\n",
    )
    usual = im_format(CHATML)
    assert chat.stop == ()
    assert texts(chat, chat.stop_ids) == ["<|im_end|>", "<|im_start|>"]
    assert chat.answer_prompt(conversation("Hi")) == usual.answer_prompt(conversation("Hi"))


def test_prefix_and_stop_replace_only_the_users_side_of_a_template() -> None:
    tokenizer = BY_NAME["qwen2.5-instruct"].tokenizer()
    usual = chat_format(tokenizer)
    chat = chat_format(tokenizer, prefix="<|im_start|>user\nPlease", stop="\n\n")
    assert chat.user_prompt().text == "<|im_start|>user\nPlease"
    assert chat.stop == ("\n\n",)
    assert set(chat.stop_ids) == set(usual.stop_ids)
    messages = conversation("Hi", "Ho", "So?")
    assert chat.answer_prompt(messages) == usual.answer_prompt(messages)
    assert chat.user_prompt(messages[:2]) == usual.user_prompt(messages[:2])


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'no place for anything' }}",
        "{{ messages[0].content + messages[0].content }}",
        "{{ raise_exception('never') }}",
        "{{ messages | length + 'x' }}",
        "{% for m in messages %}{{ m.content }}{% endfor %}",
    ],
)
def test_template_that_nothing_can_be_derived_from(template: str) -> None:
    tokenizer = small_tokenizer(template)
    with pytest.raises(UsageError, match=r"no prompt can be derived.*--prefix TEXT --stop TEXT"):
        chat_format(tokenizer)
    rescued = chat_format(tokenizer, prefix="Q: ", stop="\nA: ")
    assert rescued.encode(conversation("Why?", "So.")).text == "<s>Q: Why?\nA: So.</s>"


def test_prompt_that_the_tokenizer_joins_to_the_question() -> None:
    tokenizer = small_tokenizer(
        "{% for m in messages %}{{ 'se' + m.content + ' END ' }}{% endfor %}", kind="sentencepiece"
    )
    with pytest.raises(UsageError, match=r"joins the end of the prompt 'se'"):
        chat_format(tokenizer)


def test_load_tokenizer_faults(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "empty").mkdir()
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    for place, fault in [
        (tmp_path / "gone", "no such directory"),
        (file, "this is a file"),
        (tmp_path / "empty", "no tokenizer.json"),
        (tmp_path / "broken", "no tokenizer.json"),
    ]:
        with pytest.raises(UsageError, match=fault) as caught:
            load_tokenizer(str(place))
        assert "\n" not in str(caught.value)
    (tmp_path / "broken" / "tokenizer.json").write_text("{nope")
    with pytest.raises(UsageError, match="no tokenizer can be read"):
        load_tokenizer(str(tmp_path / "broken"))


def test_format_of_a_saved_model(tmp_path: Path) -> None:
    family = BY_NAME["llama-3-instruct"]
    family.tokenizer().save_pretrained(tmp_path)
    chat = format_for(str(tmp_path))
    assert chat.user_prompt().text == PREFIXES[family.name]
    config = tmp_path / "generation_config.json"
    config.write_text('{"eos_token_id": [7, 8]}')
    assert {7, 8} <= set(format_for(str(tmp_path)).end_ids)
    config.write_text('{"eos_token_id": 7}')
    assert 7 in format_for(str(tmp_path)).stop_ids
    config.write_text("{nope")
    with pytest.raises(UsageError, match=r"generation_config\.json cannot be read"):
        format_for(str(tmp_path))


def test_sample_model() -> None:
    model = Path(__file__).parents[2] / "samples/model"
    if not (model / "tokenizer.json").exists():
        pytest.skip("samples/model is not built")
    chat = format_for(str(model))
    messages = conversation("What is 2 + 2?", "4")
    encoded = chat.encode(messages)
    assert encoded.input_ids[: encoded.spans[0][0]] == chat.answer_prompt(messages[:1])
    assert tuple(encoded.input_ids[: len(chat.user_prompt().ids)]) == chat.user_prompt().ids
    assert encoded.input_ids[encoded.spans[0][1] - 1] in chat.answer_stop_ids
