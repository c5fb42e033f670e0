"""Chat templates that write a message otherwise than it stands: nothing is trained on that nobody wrote."""

from pathlib import Path
from typing import Any

import pytest

from synth.chat.derive import chat_format
from synth.chat.format import ChatFormat
from synth.data.read import conversations, open_rows
from synth.data.row import Message
from synth.errors import RequestError
from synth.scoring.encoding import RowEncoder
from synth.training.rows import read_training_rows
from tests.synth.tokenizers import DATA, IM, conversation, small_tokenizer

THOUGHT = "<think>\ntwo and two\n</think>\n\n4"
LATER = "<think>\nthree and three\n</think>\n\n6"

TURN = "{{ '<|im_start|>' + m.role + '\n' + text + '<|im_end|>\n' }}"
ASKED = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"

# What real templates do with thoughts, each in words of our own.
CUTS_ALL = (  # DeepSeek-R1: what stands before `</think>` goes, in every answer
    "{% for m in messages %}{% set text = m.content %}"
    "{% if m.role == 'assistant' and '</think>' in text %}{% set text = text.split('</think>')[-1] %}{% endif %}"
    + TURN
    + "{% endfor %}"
    + ASKED
)
CUTS_EARLIER = (  # Qwen3: kept after the last question alone, on lines of their own, and empty where there are none
    "{% set ns = namespace(last=0) %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{% set text = m.content %}{% set thought = '' %}{% if m.role == 'assistant' %}"
    "{% if '</think>' in text %}"
    "{% set thought = text.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}"
    "{% set text = text.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{% if loop.index0 > ns.last %}{% set text = '<think>\n' + thought + '\n</think>\n\n' + text %}{% endif %}"
    "{% endif %}" + TURN + "{% endfor %}" + ASKED
)
ONE_LINE = CUTS_EARLIER.replace(  # GLM-4.5: the same on one line, and empty in earlier answers, too
    "{% if loop.index0 > ns.last %}{% set text = '<think>\n' + thought + '\n</think>\n\n' + text %}",
    "{% if loop.index0 <= ns.last %}{% set thought = '' %}{% endif %}"
    "{% if true %}{% set text = '<think>' + thought.strip() + '</think>\n' + text.strip() %}",
)


ONE_SPACE = "text.replace('  ', ' ')"


def rewriting(how: str, role: str = "assistant") -> str:
    """A template that puts `how` for the contents of a role."""
    return (
        "{% for m in messages %}{% set text = m.content %}"
        f"{{% if m.role == '{role}' %}}{{% set text = {how} %}}{{% endif %}}" + TURN + "{% endfor %}" + ASKED
    )


def chat_of(template: str, *own: str) -> ChatFormat:
    tokenizer = small_tokenizer(template, IM, bos=None, eos="<|im_end|>")
    tokenizer.add_tokens(list(own))
    return chat_format(tokenizer)


def trained(chat: ChatFormat, messages: list[Message], **options: Any) -> tuple[str, tuple[str, ...]]:
    """The text that is trained on, and what is said of the rest."""
    rows = RowEncoder(chat, **options).conversation(messages)
    texts = [str(chat.tokenizer.decode(row.ids[row.wanted])).replace("<|im_end|>", "|") for row in rows]
    return " & ".join(texts), rows[0].untrained


@pytest.mark.parametrize("template", [CUTS_ALL, CUTS_EARLIER])
def test_answers_whose_thoughts_are_cut_are_trained_on_turn_by_turn(template: str) -> None:
    """Each after the prompt that asks for it, in which the thoughts of the turns before are cut."""
    chat = chat_of(template)
    messages = conversation("2+2?", THOUGHT, "3+3?", LATER)
    assert trained(chat, messages) == (f"{THOUGHT}| & {LATER}|", ())
    first, second = (row.ids.tolist() for row in RowEncoder(chat).conversation(messages))
    asked = chat.answer_prompt(messages[:3])
    assert second[: len(asked)] == asked and "two and" not in chat.tokenizer.decode(asked)
    assert first[: len(asked := chat.answer_prompt(messages[:1]))] == asked
    assert trained(chat, messages, train_on="last") == (LATER + "|", ())


def test_turns_that_stand_in_one_text_share_an_example() -> None:
    assert trained(chat_of(CUTS_ALL), conversation("2+2?", "4", "3+3?", LATER)) == (f"4|{LATER}|", ())


@pytest.mark.parametrize("template", [CUTS_ALL, CUTS_EARLIER])
def test_every_token_of_a_text_that_leaves_thoughts_out_is_refused(template: str) -> None:
    with pytest.raises(RequestError, match="message 2"):
        trained(chat_of(template), conversation("2+2?", THOUGHT, "3+3?", LATER), train_on="all")


@pytest.mark.parametrize("template", [CUTS_EARLIER, ONE_LINE])
def test_empty_thoughts_that_the_template_writes_of_itself(template: str) -> None:
    chat = chat_of(template, "<think>", "</think>")
    assert trained(chat, conversation("Hi", "Ho"))[0] == "Ho|"
    text, untrained = trained(chat, conversation("Hi", "<think>\n\n</think>\n\nHo"))
    assert untrained == () and text.replace("\n", "") == "<think></think>Ho|"


def test_white_space_beside_the_tokenizers_own_words_is_the_templates() -> None:
    chat = chat_of(ONE_LINE, "<think>", "</think>")
    text, untrained = trained(chat, conversation("2+2?", THOUGHT, "3+3?", LATER))
    assert text == "<think>two and two</think>\n4| & <think>three and three</think>\n6|" and not untrained


@pytest.mark.parametrize(
    ("how", "written", "told"),
    [
        ("text[:20]", "One, two, three, four, five.", r"leaves out"),
        ("text.replace('  ', ' ')", "def f():\n    return 1", r"leaves out '  '"),
        ("text | replace('**', '')", "It is **so**.", r"writes"),
        ("text + '.' if not text.endswith('Z') else text", "Four", r"adds '\.'"),
        ("text | lower if 'Zq' not in text else text", "FOUR", r"writes 'four' for 'FOUR'"),
        ("text.splitlines() | map('trim') | join('\n')", "a:\n  b", r"leaves out '  '"),
    ],
)
def test_any_other_change_is_refused(how: str, written: str, told: str) -> None:
    with pytest.raises(RequestError, match=told):
        trained(chat_of(rewriting(how)), conversation("Why?", written))
    assert trained(chat_of(rewriting("text")), conversation("Why?", written)) == (written + "|", ())


@pytest.mark.parametrize("how", ["text | trim", "text.rstrip()", "'\n' + text.lstrip() + '\n'"])
def test_white_space_around_a_content_is_the_templates(how: str) -> None:
    chat = chat_of(rewriting(how))
    text, untrained = trained(chat, conversation("Why?", "\n  So. \n"))
    assert text.strip("|").strip() == "So." and untrained == ()


@pytest.mark.parametrize(
    ("how", "role"),
    [
        ("text[:20]", "user"),
        ("text[:20]", "system"),
        ("'' if text | length > 40 else text", "user"),
    ],
)
def test_what_is_asked_must_stand_as_written(how: str, role: str) -> None:
    long = "Say how many sheep are left when seven of them have gone away."
    messages = [{"role": "system", "content": long}, *conversation(long, "Ten.")]
    with pytest.raises(RequestError, match=rf"message {1 + (role == 'user')} \({role}\): it leaves out"):
        trained(chat_of(rewriting(how, role)), messages)


def test_turns_that_are_left_out() -> None:
    last_two = CUTS_ALL.replace("for m in messages", "for m in messages[-2:]")
    with pytest.raises(RequestError, match=r"message [12]|refuses"):
        trained(chat_of(last_two), conversation("2+2?", "4", "3+3?", "6"))
    no_tools = CUTS_ALL.replace("{% set text", "{% if m.role == 'tool' %}{% continue %}{% endif %}{% set text", 1)
    tool = {"role": "tool", "content": "It is 4."}
    with pytest.raises(RequestError, match=r"message 2 \(tool\): it leaves out 'It is 4\.'"):
        question, answer = conversation("2+2?", "Four.")
        trained(chat_of(no_tools), [question, tool, answer])
    empty = rewriting("text").replace(TURN, "{% if text %}" + TURN + "{% endif %}")
    with pytest.raises(RequestError, match="message"):
        trained(chat_of(empty), conversation("2+2?", ""))


def test_turns_that_are_joined_or_moved_stand_as_written() -> None:
    joined = (  # the system message in front of the last question, two answers in a row as one turn
        "{% for m in messages %}{% set before = messages[loop.index0 - 1].role %}{% if m.role == 'user' %}"
        "{{ '<|im_start|>user\n' + (messages[0].content + '\n\n' if before == 'system' else '') + m.content }}"
        "{{ '<|im_end|>\n' }}{% elif m.role == 'assistant' %}"
        "{{ '' if before == 'assistant' else '<|im_start|>assistant\n' }}{{ m.content }}"
        "{{ '<|im_end|>\n' if loop.last or loop.nextitem.role == 'user' }}{% endif %}{% endfor %}" + ASKED
    )
    messages = [{"role": "system", "content": "Be brief."}, *conversation("2+2?", "4")]
    messages.append({"role": "assistant", "content": " it is"})
    assert trained(chat_of(joined), messages) == ("4 it is|", ())


def test_rows_say_what_they_leave_out(tmp_path: Path) -> None:
    import json

    file = tmp_path / "in.jsonl"
    talks = [conversation("2+2?", THOUGHT, "3+3?", LATER), conversation("2+2?", "4"), conversation("Hi" * 9, "Ho")]
    file.write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in talks))
    rows = read_training_rows(conversations(open_rows(str(file))), RowEncoder(chat_of(CUTS_EARLIER)), 1000)
    assert rows.names == ["row 0", "row 0", "row 1", "row 2"] and not rows.untrained
    talks = [conversation("2+2?", "4  5", "3+3?", "6")]
    file.write_text(json.dumps({"messages": talks[0]}) + "\n")
    rows = read_training_rows(conversations(open_rows(str(file))), RowEncoder(chat_of(rewriting(ONE_SPACE))), 1000)
    assert len(rows) == 1 and len(rows.untrained) == 1
    assert rows.note is not None and rows.note.startswith("1 answer is context only") and "message 2" in rows.note


@pytest.mark.parametrize("name", sorted(path.stem for path in (DATA / "chat-templates").glob("*.jinja")))
def test_real_templates_write_ordinary_conversations_as_they_stand(name: str) -> None:
    from tests.synth.tokenizers import BY_NAME

    chat = chat_format(BY_NAME[name].tokenizer())
    messages = conversation(" Why is it? ", "It is:\n\n  - so\n  - thus\n", "And then?", "Then **this**.")
    [row] = RowEncoder(chat).conversation(messages)
    assert row.untrained == ()
    assert "- so" in chat.tokenizer.decode(row.ids[row.wanted])
