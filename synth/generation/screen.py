"""Built-in rejection of turns that no model should be trained on, from a single completion."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from synth.chat.format import ChatFormat
from synth.chat.turn import UNENDED, Turn
from synth.engines.base import Completion
from synth.errors import RequestError

MIN_QUESTION = 4
"""Characters; "2+2?" is a question."""

REPEATED = 0.4
"""A text with a smaller share of distinct token 4-grams is repetitive."""

_ANSWER_MARK = re.compile(
    r"^[#*\s]*(?:assistant|answer|response|solution|explanation|ai|bot|output)[*\s]*:", re.IGNORECASE | re.MULTILINE
)


def question_fault(completion: Completion, chat: ChatFormat) -> str | None:
    """Why a drawn user turn cannot be used, or None.

    A user turn that goes on into an answer, after a marker such as "Answer:" at the start of a line, is useless
    even where it ends cleanly: the model would answer itself (Magpie, repository, early stopping).
    """
    if fault := text_fault(completion, completion.text, chat):
        return fault
    if len(completion.text.strip()) < MIN_QUESTION:
        return "too short"
    if _ANSWER_MARK.search(completion.text):
        return "runs into an answer"
    return None


def answer_fault(completion: Completion, chat: ChatFormat, turn: Turn | None = None) -> str | None:
    """Why a drawn answer cannot be used, its thoughts and its calls of tools included, or None.

    `turn` is what it says, as the chat format parses it, if None.
    """
    turn = turn or chat.parse(completion.text)
    if completion.text.strip() and completion.finish == "stop" and turn.fault:
        return turn.fault
    if completion.finish == "length" and turn.fault == UNENDED:
        return UNENDED
    if completion.finish == "stop" and not (turn.content or turn.tool_calls):
        return "empty"
    if fault := calls_fault(turn.tool_calls, chat):
        return fault
    return text_fault(completion, "\n".join(part for part in (turn.reasoning, turn.content) if part), chat)


def calls_fault(calls: Sequence[Mapping[str, Any]], chat: ChatFormat) -> str | None:
    """Why calls of tools do not fit the functions on offer, or None."""
    try:
        functions = chat.functions if calls else None
    except RequestError as error:
        return str(error)
    for call in calls if functions else ():
        function = call["function"]
        if functions and (fault := functions.fault(function["name"], json.loads(function["arguments"]))):
            return f"a tool call does not fit: {fault}"
    return None


def text_fault(completion: Completion, text: str, chat: ChatFormat) -> str | None:
    """Why what was drawn cannot be used, or None.

    Args:
        completion: as drawn.
        text: what of it is to be used, without markers of parts.
        chat: of the model that drew it.
    """
    if not completion.text.strip():
        return "empty"
    if completion.finish == "length":
        return "cut off"
    if debris := chat.template_debris(text):
        return f"template debris: {debris}"
    if "\ufffd" in text:
        return "broken text"
    if repetitive(completion.token_ids):
        return "repetition"
    return None


def repetitive(token_ids: tuple[int, ...], least: int = 40) -> bool:
    """Whether most token 4-grams are repeated. Texts of under `least` tokens pass."""
    if len(token_ids) < least:
        return False
    grams = [token_ids[at : at + 4] for at in range(len(token_ids) - 3)]
    return len(set(grams)) < REPEATED * len(grams)
