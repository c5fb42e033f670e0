"""An assistant's turn as its parts, taken from what a model drew and put together again.

What a model draws is one stretch of tokens: thoughts between markers, or messages on several channels, then the content
and calls of tools. `take_apart` is the inverse of what the chat template does when it writes a turn.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from synth.chat.thinking import Thinking, loose
from synth.data.row import Message

UNENDED = "thoughts do not end"
"""The fault of a turn that was still in its thoughts at its end."""

Begun = Literal["thoughts", "content"] | None
Calls = Callable[[str], tuple[str, list[dict[str, Any]], str | None]]
"""Takes calls of tools out of a text: the text before them, the calls, and what is wrong with them."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What an assistant's turn says, without the template's own words.

    Attributes:
        content: what is said to the user.
        reasoning: what was thought before it, perhaps nothing; None where no thoughts were begun.
        tool_calls: calls of tools, as in a message.
        fault: why the turn cannot be used, or None.
    """

    content: str
    reasoning: str | None = None
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    fault: str | None = None

    def message(self) -> Message:
        """The turn as a message, with the parts that it has."""
        message: Message = {"role": "assistant", "content": self.content}
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        if self.tool_calls:
            message["tool_calls"] = self.tool_calls
        return message


def take_apart(text: str, thinking: Thinking, begun: Begun, calls: Calls | None = None) -> Turn:
    """The parts of a turn.

    Args:
        text: what was drawn, without the token that ended it.
        thinking: how the template writes thoughts.
        begun: what the prompt had begun of the turn.
        calls: takes calls of tools out of a text, where the template has them.
    """
    if thinking.between:
        return _of_channels(text, thinking, calls)
    if not thinking.own and not re.match(rf"\s*{loose(thinking.opener)}", text):
        return _with_calls(None, text, calls)
    opener, closer = loose(thinking.opener), loose(thinking.closer)
    reasoning = None
    if begun == "thoughts" or (begun is None and re.match(rf"\s*{opener}", text)):
        # Where the prompt has opened the thoughts, some models do it once more.
        before, closed, text = _partition(re.sub(rf"\A\s*{opener}", "", text, count=1), closer)
        reasoning = before.strip()
        if not closed:
            return Turn("", reasoning, fault=UNENDED)
    elif begun is None and thinking.plain.strip():
        text = re.sub(rf"\A\s*{loose(thinking.plain)}", "", text, count=1)
    if again := re.search(rf"{opener}|{closer}", text) if thinking.own else None:
        told = "thoughts are opened or closed twice" if reasoning is not None else "thoughts within the answer"
        return Turn(text.strip(), reasoning, fault=f"{told}: {again.group().strip()}")
    return _with_calls(reasoning, text, calls)


def put_together(message: Message, thinking: Thinking, begun: Begun) -> str:
    """What a model that draws this turn would draw after its prompt, without what ends it; calls of tools left out."""
    content: str = message["content"]
    thoughts = message.get("reasoning_content")
    if thoughts is None:
        return content if begun == "content" else f"{thinking.plain}{content}"
    opener = "" if begun == "thoughts" else thinking.opener
    return f"{opener}{thoughts}{thinking.closer}{content}"


def _of_channels(text: str, thinking: Thinking, calls: Calls | None) -> Turn:
    """The parts of a turn whose thoughts and content are messages of their own, each with a header."""
    opener, plain = loose(thinking.opener), loose(thinking.plain)
    start = re.escape(_common_end(thinking.opener.strip(), thinking.plain.strip()))
    thoughts: list[str] = []
    said: list[str] = []
    called: list[dict[str, Any]] = []
    for piece in re.split(loose(thinking.between), text):
        if match := re.match(rf"\s*{opener}", piece):
            if said or called:
                return Turn("\n\n".join(said), _joined(thoughts), fault="thoughts after the answer")
            thoughts.append(piece[match.end() :].strip())
        elif match := re.match(rf"\s*{plain}", piece):
            said.append(piece[match.end() :].strip())
        elif calls is not None and (found := calls(piece))[1:] != ([], None):
            called += found[1]
            if found[2]:
                return Turn("\n\n".join(said), _joined(thoughts), called, found[2])
        elif start and (match := re.search(start, piece)):  # a message on another channel: said before a call
            said.append(piece[match.end() :].strip())
        else:
            return Turn(piece.strip(), _joined(thoughts), fault="no channel")
    if thoughts and not said and not called:
        return Turn("", _joined(thoughts), fault=UNENDED)
    return Turn("\n\n".join(said), _joined(thoughts), called)


def _with_calls(reasoning: str | None, text: str, calls: Calls | None) -> Turn:
    content, called, fault = calls(text) if calls is not None else (text, [], None)
    return Turn(content.strip(), reasoning, called, fault)


def _partition(text: str, pattern: str) -> tuple[str, bool, str]:
    match = re.search(pattern, text)
    return (text[: match.start()], True, text[match.end() :]) if match else (text, False, "")


def _common_end(one: str, other: str) -> str:
    length = 0
    while length < min(len(one), len(other)) and one[-1 - length] == other[-1 - length]:
        length += 1
    return one[len(one) - length :]


def _joined(thoughts: list[str]) -> str | None:
    return "\n\n".join(thoughts) or None


def plain_turns(messages: Sequence[Message]) -> bool:
    """Whether all that messages say is their content."""
    return not any("reasoning_content" in message or "tool_calls" in message for message in messages)
