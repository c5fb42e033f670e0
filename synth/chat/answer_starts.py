"""Prompts from within an answer: what a model is given to go on from there."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from synth.chat.format import ChatFormat
from synth.data.row import Message


@dataclass(frozen=True, slots=True)
class AnswerStart:
    """An answer's prompt with the start of the answer: `text` is what `ids` hold of the answer."""

    ids: list[int]
    text: str


def answer_starts(chat: ChatFormat, messages: Sequence[Message], drawn: str, ends: Sequence[int]) -> list[AnswerStart]:
    """Prompts that let the model go on from places within an answer.

    The prompt and the answer are tokenised in one piece and cut between two tokens, so that each prompt is the
    start of the tokens of the whole. A token that reaches over a place into the words after it is left out: the
    model draws it.

    Args:
        chat: how the model is talked to.
        messages: what is answered.
        drawn: the answer as it follows `ChatFormat.asked_text`, with the white space that was drawn before it.
        ends: the places, as characters of `drawn`.

    Raises:
        RequestError: as for `ChatFormat.answer_prompt`.
    """
    prompt = chat.asked_text(messages)
    text = prompt + drawn
    tokens = chat.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids: list[int] = tokens["input_ids"]
    offsets: list[tuple[int, int]] = tokens["offset_mapping"]
    begins = [begin for begin, _ in offsets]
    starts = []
    for end in ends:
        edge = len(prompt) + end
        count = bisect_left(begins, edge)
        while count and text[edge : offsets[count - 1][1]].strip():
            count -= 1
        starts.append(AnswerStart(ids[:count], text[len(prompt) : offsets[count - 1][1]] if count else ""))
    return starts
