"""Which tokens of a conversation the assistant wrote, for any chat template.

Templates seldom carry `{% generation %}` marks, so an assistant turn is found by rendering the conversation with a
mark in place of its content: what is rendered alike before and after the mark is the template's, and what stands
between is the turn. The conversation is tokenised once, whole, and characters are mapped to tokens.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from synth.chat_template import Template, Turns, common_start
from synth.errors import RequestError
from synth.row import Message


@dataclass(frozen=True, slots=True)
class Encoded:
    """A conversation as text and tokens.

    `offsets` are the (start, end) characters of `text` that each token stands for. `spans` are the (start, end)
    tokens of each assistant turn: its content and the token that ends the turn, in the order of the turns.
    """

    text: str
    input_ids: list[int]
    offsets: list[tuple[int, int]]
    spans: list[tuple[int, int]]

    @property
    def trained(self) -> list[bool]:
        """For each token whether an assistant turn covers it; shape `[len(input_ids)]`."""
        flags = [False] * len(self.input_ids)
        for start, end in self.spans:
            flags[start:end] = [True] * (end - start)
        return flags


def encode(
    template: Template, turns: Turns, messages: Sequence[Message], end_ids: Collection[int], lead: str
) -> Encoded:
    """Tokenise a whole conversation and find its assistant turns.

    A turn is its content, a token of `end_ids` after it, and before it `lead`: the white space that the template
    writes there and an answer's prompt does not hold.

    Raises:
        RequestError: the template refuses the conversation, or rewrites it beyond recognition.
    """
    text = template.render(messages)
    tokens = template.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids: list[int] = tokens["input_ids"]
    offsets: list[tuple[int, int]] = tokens["offset_mapping"]
    spans: list[tuple[int, int]] = []
    for index, message in enumerate(messages):
        if message["role"] == "assistant":
            start, end = _find_content(template, turns, messages, index, text)
            start -= len(lead) if text[:start].endswith(lead) else 0
            first = spans[-1][1] if spans else 0
            spans.append(_token_span(text, ids, offsets, first, (start, end), end_ids))
    return Encoded(text, ids, offsets, spans)


def _find_content(
    template: Template, turns: Turns, messages: Sequence[Message], index: int, text: str
) -> tuple[int, int]:
    """The (start, end) characters of message `index` in `text`, the rendered conversation.

    A template may rewrite a content (set its `<think>` block on lines of its own). Then the turn is what follows
    the answer's prompt; failing that, what differs from the marked rendering, if this is after the message before.
    """
    before, after = template.around(messages, index)
    if text.startswith(before) and text.endswith(after) and len(before) + len(after) <= len(text):
        return len(before), len(text) - len(after)
    start = len(common_start(before, text))
    end = len(text) - len(common_start(after[::-1], text[::-1]))
    prompt = template.render(messages[:index], generation=True) if turns.prompts and index else None
    if prompt is not None and text.startswith(prompt) and len(prompt) <= start:
        return len(prompt), end
    earliest = _find_content(template, turns, messages, index - 1, text)[1] if index else 0
    if not earliest <= start <= end:
        raise RequestError(
            f"the chat template writes the rest of the conversation differently because of message {index + 1}, so "
            "its tokens cannot be told from the others"
        )
    return start, end


def _token_span(
    text: str,
    ids: Sequence[int],
    offsets: Sequence[tuple[int, int]],
    first: int,
    content: tuple[int, int],
    end_ids: Collection[int],
) -> tuple[int, int]:
    r"""The (start, end) tokens of a content given in characters, with the end-of-turn token after it.

    A token that reaches over the edge of the content (` word`, `.\n`) belongs to it. `first` is the token to look
    from.
    """
    start = first
    while start < len(ids) and offsets[start][0] < content[0] and offsets[start][1] <= content[0]:
        start += 1
    end = start
    while end < len(ids) and offsets[end][0] < content[1]:
        end += 1
    closing = end
    while closing < len(ids) and ids[closing] not in end_ids and not text[slice(*offsets[closing])].strip():
        closing += 1
    if closing < len(ids) and ids[closing] in end_ids:
        end = closing + 1
    return start, end
