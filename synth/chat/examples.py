"""Conversations with thoughts as training examples: every assistant turn in the context that it was drawn in.

Templates cut the thoughts of earlier turns, end a last turn otherwise than the others, or open thoughts in the prompt
alone. The text of the whole conversation is then no text that a model ever drew. So each turn is put after the prompt
that asks for it, as the template writes it, and turns that do stand in one text share an example.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synth.chat.call_form import same_calls
from synth.chat.spans import Encoded, encode, token_span
from synth.chat.template import common_start
from synth.chat.thinking import QUESTION
from synth.chat.turn import put_together
from synth.data.row import Message
from synth.errors import RequestError

if TYPE_CHECKING:
    from synth.chat.format import ChatFormat


@dataclass(frozen=True, slots=True)
class Example:
    """A text that is trained on.

    Attributes:
        encoded: its tokens, and the spans of the assistant turns that are trained on.
        turns: for each span the index of its message in the conversation.
    """

    encoded: Encoded
    turns: list[int]


def prompts_stand(chat: "ChatFormat") -> bool:
    """Whether the prompts for the answers of a conversation without thoughts are the beginnings of its text.

    They are not where a template writes a question otherwise when it is the last turn, or counts turns.
    """
    talk: list[Message] = [{"role": "system", "content": "Be brief."}] if chat.turns.system else []
    talk += [QUESTION, {"role": "assistant", "content": "Because."}] * (1 if chat.turns.second is None else 2)
    try:
        text = chat.template.render(talk)
        asked = [talk[:end] for end, turn in enumerate(talk) if turn["role"] == "assistant"]
        return all(text.startswith(chat.asked_text(before)) for before in asked)
    except RequestError:
        return True


def verbatim(chat: "ChatFormat") -> bool:
    """Whether the template writes an answer as it stands, line breaks and runs of spaces included."""
    answer: Message = {"role": "assistant", "content": "One  two:\n\n  - three\n\tfour"}
    try:
        return not chat.encode([QUESTION, answer]).rewritten
    except RequestError:
        return False


def by_turn(
    chat: "ChatFormat", messages: Sequence[Message], drawn: Sequence[Sequence[int] | None] | None
) -> tuple[list[Example], dict[int, str]]:
    """A conversation's examples, and why a turn is in none of them (`ChatFormat.examples`).

    Raises:
        RequestError: the template refuses the conversation, or leaves out a question.
    """
    examples: list[Example] = []
    lost: dict[int, str] = {}
    turns = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
    if not turns:
        return [Example(chat.encode(messages), [])], {}
    for number, index in enumerate(turns):
        ids = drawn[number] if drawn and number < len(drawn) else None
        try:
            encoded = last_turn(chat.for_turn(messages[index]), messages[: index + 1], ids)
        except RewrittenError as error:
            lost[index] = str(error)
            continue
        before = examples[-1] if examples else None
        if before and encoded.input_ids[: len(before.encoded.input_ids)] == before.encoded.input_ids:
            encoded.spans[:0] = before.encoded.spans
            examples[-1] = Example(encoded, [*before.turns, index])
        else:
            examples.append(Example(encoded, [index]))
    if not examples:
        whole = chat.encode(messages)
        return [Example(whole, turns)], whole.rewritten | lost
    return examples, lost


class RewrittenError(Exception):
    """A turn cannot be written as it stands; the message says what becomes of it."""


def last_turn(chat: "ChatFormat", messages: Sequence[Message], drawn: Sequence[int] | None = None) -> Encoded:
    """The prompt for a conversation's last turn and the turn, up to the token that ends it.

    Raises:
        RequestError: the template refuses the conversation, or leaves out a question.
        RewrittenError: the turn cannot be written so that it says what it says.
    """
    *before, turn = messages
    try:
        prompt = chat.asked_text(before)
    except RequestError:
        if before and before[-1]["role"] != "assistant":
            raise
        prompt = None  # two answers running, or one before any question: nothing asks for it
    if prompt is None or ("reasoning_content" not in turn and chat.begun == "thoughts" and not drawn):
        return as_rendered(chat, messages)
    _check_written(before, prompt)
    if drawn and (encoded := _as_drawn(chat, prompt, turn, drawn)):
        return encoded
    for body, end in _written(chat, messages, prompt):
        if _says(chat, body, turn):
            empty = _empty_thoughts(chat, turn, body)
            return _tokenised(chat, prompt + empty, body.removeprefix(empty), end)
    encoded = encode(chat.template, chat.turns, messages, chat.end_ids, "")
    if how := encoded.rewritten.get(len(messages) - 1):
        raise RewrittenError(how)
    raise RewrittenError("it cannot be told apart again from what the template writes")


def as_rendered(chat: "ChatFormat", messages: Sequence[Message]) -> Encoded:
    """The conversation as the template writes it: for a last turn that no prompt asks for."""
    encoded = chat.encode(messages)
    if how := encoded.rewritten.get(len(messages) - 1):
        raise RewrittenError(how)
    return Encoded(encoded.text, encoded.input_ids, encoded.offsets, encoded.spans[-1:])


def _as_drawn(chat: "ChatFormat", prompt: str, turn: Message, drawn: Sequence[int]) -> Encoded | None:
    """The prompt's tokens and the drawn ones; None where these say something else than the turn."""
    ids = list(drawn)
    body = ids[:-1] if ids[-1] in chat.end_ids else ids
    if not _says(chat, _decoded(chat, body), turn):
        return None
    tokens = chat.template.tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    before: list[int] = tokens["input_ids"]
    offsets: list[tuple[int, int]] = list(tokens["offset_mapping"])
    text = _decoded(chat, ids)
    places = [*offsets, *_offsets(chat, ids, len(prompt))]
    return Encoded(prompt + text, [*before, *ids], places, [(len(before), len(before) + len(ids))])


def _written(chat: "ChatFormat", messages: Sequence[Message], prompt: str) -> list[tuple[str, str]]:
    """What follows the prompt, and what ends it: as the template writes it, and as a model draws it."""
    found = []
    text = chat.template.render(messages)
    if text.startswith(prompt):
        found.append(_ending(chat, text[len(prompt) :]))
    turn = messages[-1]
    lead = chat.turns.opened[len(chat.turns.opened.rstrip()) :] if not prompt.endswith(chat.turns.opened) else ""
    body = (lead if lead.isspace() else "") + put_together(turn, chat.thinking, chat.begun)
    if "tool_calls" not in turn:
        found.append((body, _first_end(chat, chat.turns.last) or chat.turns.last.strip()))
        return found
    asked = chat.template.render(messages[:-1])
    if (calls := _calls_written(chat, turn, text, len(common_start(text, asked)))) is not None:
        found.append(_ending(chat, body + calls))
    return found


def _calls_written(chat: "ChatFormat", turn: Message, text: str, start: int) -> str | None:
    """What the template writes of a last turn after its content: calls of tools, and what ends the turn."""
    begin = chat.template.tool_calls.begins.search(text, start)
    if begin is None:
        return None
    content = turn["content"].strip()
    at = text.rfind(content, start, begin.start()) if content else begin.start()
    return text[at + len(content) :] if at >= 0 else None


def _empty_thoughts(chat: "ChatFormat", turn: Message, body: str) -> str:
    """The empty thoughts that the template writes of itself before a content that has none: nobody wrote them."""
    plain = chat.thinking.plain
    written = "reasoning_content" not in turn and chat.thinking.closer.strip() in plain and body.startswith(plain)
    return plain if written else ""


def _ending(chat: "ChatFormat", text: str) -> tuple[str, str]:
    """A turn's text without what ends it, and that: the last end token, white space after it aside."""
    for token in _end_texts(chat):
        stripped = text.rstrip()
        if stripped.endswith(token):
            return stripped.removesuffix(token), token
    return text.removesuffix(chat.turns.last), ""


def _first_end(chat: "ChatFormat", text: str) -> str | None:
    """The first end token in what the template writes after a last turn, else the end of sequence."""
    texts = _end_texts(chat)
    there = [token.group() for token in chat.template.find_added(text) if token.group() in texts]
    return there[0] if there else next(iter(texts), None)


def _end_texts(chat: "ChatFormat") -> list[str]:
    names = {number: text for text, number in chat.template.added.items()}
    return [names[number] for number in chat.end_ids if number in names]


def _tokenised(chat: "ChatFormat", prompt: str, body: str, end: str) -> Encoded:
    """The text in one piece, with the span of what follows the prompt."""
    text = f"{prompt}{body}{end}"
    tokens = chat.template.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids: list[int] = tokens["input_ids"]
    offsets: list[tuple[int, int]] = tokens["offset_mapping"]
    span = token_span(text, ids, offsets, 0, (len(prompt), len(prompt) + len(body)), chat.end_ids)
    return Encoded(text, ids, offsets, [span])


def _check_written(messages: Sequence[Message], prompt: str) -> None:
    """Refuse a prompt that does not hold what was asked.

    Raises:
        RequestError: a system message or a question is not there as it stands.
    """
    for number, message in enumerate(messages, 1):
        content = message["content"].strip()
        if message["role"] == "assistant" or content in prompt or json.dumps(content, ensure_ascii=False) in prompt:
            continue
        if _words(content) not in _words(prompt):
            raise RequestError(
                f"the chat template does not write a message as it stands: message {number} ({message['role']}): "
                f"it leaves out {content[:60]!r}"
            )


def _words(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _says(chat: "ChatFormat", body: str, turn: Message) -> bool:
    """Whether a text is read as a turn, the white space around its parts aside, which is the template's."""
    calls = turn.get("tool_calls", [])
    found = chat.parse(body, calls=bool(calls)).message()
    parts = ("content", "reasoning_content")
    same = all(found.get(part, "") == turn.get(part, "").strip() for part in parts)
    return same and same_calls(found.get("tool_calls", []), calls)


def _decoded(chat: "ChatFormat", ids: Sequence[int]) -> str:
    text: str = chat.template.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text


def _offsets(chat: "ChatFormat", ids: Sequence[int], start: int) -> list[tuple[int, int]]:
    """The (start, end) characters that drawn tokens stand for, as they are decoded one after another."""
    from tokenizers.decoders import DecodeStream

    stream, backend, places = DecodeStream(skip_special_tokens=False), chat.template.tokenizer.backend_tokenizer, []
    for number in ids:
        piece = stream.step(backend, number) or ""
        places.append((start, start + len(piece)))
        start += len(piece)
    return places
