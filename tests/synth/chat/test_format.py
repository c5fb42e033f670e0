"""Chat formats of nine published templates, over two kinds of tokenizer, and of models on disk.

Expected texts are typed in from the templates and from Magpie's table of prefixes, not computed.
"""

from itertools import pairwise, product
from pathlib import Path
from typing import get_args

import pytest

from synth.chat.derive import chat_format, format_for
from synth.engines.loading import load_tokenizer
from synth.errors import UsageError
from tests.synth.tokenizers import (
    BY_NAME,
    FAMILIES,
    Family,
    Kind,
    conversation,
    real_template,
    small_tokenizer,
    texts,
    turns_of,
)

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
    model = Path(__file__).parents[3] / "samples/model"
    if not (model / "tokenizer.json").exists():
        pytest.skip("samples/model is not built")
    chat = format_for(str(model))
    messages = conversation("What is 2 + 2?", "4")
    encoded = chat.encode(messages)
    assert encoded.input_ids[: encoded.spans[0][0]] == chat.answer_prompt(messages[:1])
    assert tuple(encoded.input_ids[: len(chat.user_prompt().ids)]) == chat.user_prompt().ids
    assert encoded.input_ids[encoded.spans[0][1] - 1] in chat.answer_stop_ids
