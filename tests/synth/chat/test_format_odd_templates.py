"""Chat formats of awkward templates, of refused conversations, and of models without a template."""

import pytest
from tokenizers import AddedToken

from synth.chat.derive import chat_format
from synth.errors import RequestError, UsageError
from tests.synth.tokenizers import (
    BY_NAME,
    CHATML,
    IM,
    conversation,
    im_format,
    real_template,
    small_tokenizer,
    texts,
    turns_of,
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
    assert kept == ["It is wide.<|im_end|>", "<think>\nThe sea\n</think>\n\nIt is wide.<|im_end|>"]
    # The empty block that the template adds is not the model's.
    assert turns_of(chat, conversation("Hi", "It is wide.")) == ["It is wide.<|im_end|>"]


def test_thinking_that_the_prompt_opens_is_no_end_of_an_answer() -> None:
    """As DeepSeek-R1: the prompt opens `<think>`, finished turns lose it, a turn ends where the next begins."""
    roles = ("<s>", "</s>", "<|user|>", "<|assistant|>")
    template = (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}"
        "{{ '<|assistant|>' + m.content.split('</think>')[-1] + eos_token }}"
        "{% else %}{{ '<|' + m.role + '|>' + m.content }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|><think>\n' }}{% endif %}"
    )
    tokenizer = small_tokenizer(template, roles)
    tokenizer.add_tokens(["<think>", "</think>"])
    chat = chat_format(tokenizer)
    assert texts(chat, chat.stop_ids) == ["<|assistant|>", "</s>", "<s>", "<|user|>"]
    assert texts(chat, chat.answer_stop_ids) == ["</s>", "<|assistant|>", "<|user|>"]
    assert tokenizer.decode(chat.answer_prompt(conversation("Hi"))) == "<s><|user|>Hi<|assistant|><think>\n"
    assert turns_of(chat, conversation("Hi", "Well.\n</think>\n\nHo")) == ["\n\nHo</s>"]


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
    with pytest.raises(UsageError, match=r"`prefix` TEXT `stop` TEXT"):
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


def test_base_model_needs_prefix_and_stop() -> None:
    for prefix, stop in [(None, None), ("Question: ", None), (None, "\nAnswer:"), ("", "\nAnswer:")]:
        with pytest.raises(UsageError, match=r"no chat template.*`prefix` TEXT `stop` TEXT"):
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
    with pytest.raises(UsageError, match=r"no prompt can be derived.*`prefix` TEXT `stop` TEXT"):
        chat_format(tokenizer)
    rescued = chat_format(tokenizer, prefix="Q: ", stop="\nA: ")
    assert rescued.encode(conversation("Why?", "So.")).text == "<s>Q: Why?\nA: So.</s>"


def test_prompt_that_the_tokenizer_joins_to_the_question() -> None:
    tokenizer = small_tokenizer(
        "{% for m in messages %}{{ 'se' + m.content + ' END ' }}{% endfor %}", kind="sentencepiece"
    )
    with pytest.raises(UsageError, match=r"joins the end of the prompt 'se'"):
        chat_format(tokenizer)
