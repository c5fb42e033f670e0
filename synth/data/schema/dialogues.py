r"""Conversations whose turns are no objects with a role: one text with the names of the speakers, or bare exchanges.

    HH-RLHF     "\n\nHuman: … \n\nAssistant: …" (arXiv 2204.05862), also as a prompt that ends in "Assistant:"
    Guanaco     "### Human: … ### Assistant: …"
    Glaive      "USER: … \n\n\nASSISTANT: … <|endoftext|> … FUNCTION RESPONSE: …"
    Capybara    [{"input": …, "output": …}, …], and other pairs of names in `EXCHANGES`
    UltraChat   [question, answer, question, answer, …]

A text is of one notation throughout. What stands within a turn, such as the text of a call, stays as it is.
"""

import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from synth.data.row import Message
from synth.data.schema.parts import Unreadable

_SPEAKERS = (
    re.compile(r"(?:\A|\n\n)(Human|Assistant):"),
    re.compile(r"\s*### (Human|Assistant):"),
    re.compile(r"(?:\A|\n\n)(SYSTEM|USER|ASSISTANT|FUNCTION RESPONSE):"),
)
"""How each notation begins a turn."""

_ROLES = {"human": "user", "user": "user", "assistant": "assistant", "system": "system", "function response": "tool"}
_END = "<|endoftext|>"

EXCHANGES = (("input", "output"), ("human", "assistant"), ("user", "assistant"), ("prompt", "response"))
"""What a question and its answer are called where they are one object."""


def is_dialogue(text: object) -> bool:
    """Whether a text begins as a dialogue and has an answer or the place for one."""
    return isinstance(text, str) and _notation(text.strip()) is not None


def is_cue(text: object) -> bool:
    """Whether a text is a dialogue up to the assistant's next turn: "Human: … Assistant:"."""
    return is_dialogue(text) and str(text).rstrip().lower().endswith("assistant:")


def spoken(text: str) -> list[Message]:
    """The turns of a text that `is_dialogue`; a closing "Assistant:" with nothing after it is none.

    Raises:
        Unreadable: nothing is said in another turn.
    """
    notation = _notation(text.strip())
    if notation is None:
        raise Unreadable("no conversation: a text without speakers")
    _, *parts = notation.split(text.strip())
    names = [name.lower() for name in parts[::2]]
    said = [part.strip().removesuffix(_END).rstrip() for part in parts[1::2]]
    if not said[-1] and names[-1] == "assistant":
        names, said = names[:-1], said[:-1]
    if not all(said):
        raise Unreadable(f"no conversation: turn {said.index('') + 1} is empty")
    return [{"role": _ROLES[name], "content": words} for name, words in zip(names, said, strict=True)]


def holds_exchanges(kind: pa.DataType) -> bool:
    """Whether a column holds lists of `EXCHANGES`."""
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return is_list and pa.types.is_struct(kind.value_type) and _names(kind.value_type.names) is not None


def with_roles(items: Sequence[Any]) -> list[Any]:
    """Exchanges and alternate texts as turns of the user and the assistant; any other items as they are."""
    if items and all(isinstance(item, str) for item in items):
        return [_turn(("user", "assistant")[place % 2], text) for place, text in enumerate(items)]
    found: list[Any] = []
    for item in items:
        names = _names(item) if isinstance(item, dict) else None
        found += [_turn("user", item[names[0]]), _turn("assistant", item[names[1]])] if names else [item]
    return found


def _notation(text: str) -> re.Pattern[str] | None:
    for pattern in _SPEAKERS:
        first = pattern.match(text)
        if first and first[1].lower() in ("human", "user", "system"):
            names = {name.lower() for name in pattern.findall(text)}
            if "assistant" in names and names & {"human", "user"}:
                return pattern
    return None


def _names(there: Any) -> tuple[str, str] | None:
    """The names of a question and its answer among those of an object, which is no turn."""
    if any(name in there for name in ("role", "from", "speaker")):
        return None
    return next((names for names in EXCHANGES if all(name in there for name in names)), None)


def _turn(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}
