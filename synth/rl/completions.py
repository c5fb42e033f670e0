"""What a completion says: a text, or the messages of a conversation, as trainers give them to reward functions."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from filters.response.calls import with_calls
from filters.response.thoughts import begun_in
from synth.chat.format import ChatFormat
from synth.chat.turn import UNENDED
from synth.data.schema.parts import THOUGHTS, Unreadable
from synth.data.schema.turns import CONTENT_NAMES, ROLE_NAMES, conversation, normal_role


@dataclass(frozen=True, slots=True)
class Completion:
    """The last turn that a policy wrote.

    Attributes:
        text: all of it, thoughts included, with what the prompt had begun of it.
        response: what verifiers are given: what is said after the thoughts, or the calls of tools. Empty where the
            completion ends before an answer; thoughts alone are left in it, so that they are seen to be cut off.
    """

    text: str
    response: str


def read_completion(prompt: Any, completion: Any) -> Completion:
    """Read one completion.

    Args:
        prompt: a text, or a list of messages.
        completion: a text, a list of messages or one message; None is nothing said. Or what has been read already.
    """
    if isinstance(completion, Completion):
        return completion
    begun = _begun(prompt)
    if isinstance(completion, Mapping):
        completion = [completion]
    if not isinstance(completion, list | tuple):
        text = begun + _text_of(completion)
        return Completion(text, text)
    last = completion[-1] if completion else None
    if isinstance(last, Mapping) and _role_of(last) in ("assistant", ""):
        return _of_message({**last, "role": "assistant"}, begun if len(completion) == 1 else "")
    return Completion("", "")  # it ends with a tool's result, or in nothing


def read_drawn(chat: ChatFormat, ids: Sequence[int]) -> Completion:
    """Read a completion by the tokens that a model drew, as where `synth` has it answer.

    Args:
        chat: the model's format, which tells where thoughts end that the prompt has opened.
        ids: the tokens, with or without what ended them.
    """
    drawn = list(ids)
    while drawn and drawn[-1] in (*chat.answer_stop_ids, chat.tokenizer.pad_token_id):
        drawn.pop()
    text = chat.tokenizer.decode(drawn, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    turn = chat.parse(text)
    if chat.begun == "thoughts":
        text = chat.thinking.opener + text
    if turn.fault == UNENDED:
        return Completion(text, f"<think>\n{turn.reasoning}")
    return Completion(text, with_calls(turn.content, turn.tool_calls))


def prompt_text(prompt: Any) -> str:
    """What the user asked last."""
    if not isinstance(prompt, list | tuple):
        return _text_of(prompt)
    asked = (turn for turn in reversed(prompt) if isinstance(turn, Mapping) and _role_of(turn) == "user")
    return _content_of(next(asked, {}))


def _begun(prompt: Any) -> str:
    """What the prompt has begun of the answer: opened thoughts, or the beginning of the assistant's turn."""
    if isinstance(prompt, str):
        marker = begun_in(prompt)
        return f"{marker}\n" if marker else ""
    last = prompt[-1] if isinstance(prompt, Sequence) and prompt else None
    return _content_of(last) if isinstance(last, Mapping) and _role_of(last) == "assistant" else ""


def _of_message(message: dict[str, Any], begun: str) -> Completion:
    content = begun + _content_of(message)
    thoughts = next((message[name] for name in THOUGHTS if message.get(name) and isinstance(message[name], str)), None)
    text = content if thoughts is None else f"<think>\n{thoughts}\n</think>\n\n{content}"
    try:
        [turn] = conversation([{**message, "content": content} if begun else message])
        return Completion(text, with_calls(turn["content"], turn.get("tool_calls", ())))
    except (Unreadable, RecursionError):  # thoughts that do not end, calls that are none or too deep, a picture
        if thoughts is not None and not content.strip():  # cut off
            return Completion(f"<think>\n{thoughts}", f"<think>\n{thoughts}")
        return Completion(text, content)


def _role_of(message: Mapping[str, Any]) -> str:
    return normal_role(str(next((message[name] for name in ROLE_NAMES if message.get(name)), "")))


def _content_of(message: Mapping[str, Any]) -> str:
    """The text of a message; of one in parts, those that are texts, each on a line of its own."""
    content = next((message[name] for name in CONTENT_NAMES if message.get(name) is not None), None)
    if isinstance(content, list | tuple):
        return "\n".join(_texts_in(content))
    return _text_of(content)


def _texts_in(parts: Sequence[Any]) -> Iterator[str]:
    for part in parts:
        text = part.get("text") if isinstance(part, Mapping) else part
        if isinstance(text, str):
            yield text


def _text_of(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False, default=str)
