"""The switch of a model that can think before it answers: is it obeyed, how long are thoughts, do they end.

That a model thinks where it is to, and does not where it is not to, is an ability as any other: it is kept or lost.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, get_args

from filters.verdict import RIGHT, UNSCORABLE, WRONG
from synth.chat.format import ChatFormat
from synth.chat.thinking import Mode, loose
from synth.chat.turn import Turn
from synth.errors import UsageError

MODES: tuple[Mode, ...] = get_args(Mode)
BOTH = "both"

ABILITIES: Mapping[str, str] = {"thinking": "thinks if asked to", "plain": "answers at once if asked to"}
"""What obeying the switch is called in tables, by mode."""


def modes_for(wanted: str | None, chats: Mapping[str, ChatFormat]) -> tuple[Mode, ...]:
    """The modes in which some models are asked.

    Args:
        wanted: one of `synth.values.Asked`; None is whatever the first model has.
        chats: how the models are talked to, by what they are called.

    Raises:
        UsageError: one of the models lacks a mode.
    """
    first = next(iter(chats.values()))
    modes = tuple(mode for mode in MODES if wanted in (mode, BOTH) or (wanted is None and mode in first.modes))
    for name, chat in chats.items():
        if missing := next((mode for mode in modes if mode not in chat.modes), None):
            has = ", ".join(chat.modes) or "none"
            raise UsageError(
                f"`mode` {wanted or BOTH}: the chat template of {name} has no mode {missing} (it has: {has}); take "
                "another `mode`, or evaluate models that differ in this apart"
            )
    return modes


def named(suite: str, mode: Mode | None, modes: Sequence[Mode]) -> str:
    """What a suite is called that is asked in a mode: as it is, where there is one mode only."""
    return f"{suite}, {mode}" if mode is not None and len(modes) > 1 else suite


def observed(text: str, turn: Turn, mode: Mode, chat: ChatFormat) -> dict[str, Any]:
    """What is seen of the switch in one answer: the columns of `synth.evaluation.run.MODE_COLUMNS`.

    Args:
        text: as it was drawn.
        turn: the same, taken apart.
        mode: in which was asked.
        chat: the format of that mode.
    """
    thoughts = len(chat.tokenizer.encode(turn.reasoning, add_special_tokens=False)) if turn.reasoning else 0
    reopened = chat.begun == "content" and re.search(loose(chat.thinking.opener), text) is not None
    return {
        "mode": mode,
        "obeyed": (bool(thoughts) or reopened) is (mode == "thinking"),
        "unended": turn.fault is not None and turn.reasoning is not None and not turn.content,
        "thought_tokens": thoughts,
    }


@dataclass(slots=True)
class Observed:
    """What was seen of the switch in some answers.

    Attributes:
        mode: in which was asked.
        verdicts: of each answer, in order: whether it obeyed. Of what could not be asked nothing can be said.
        unended: answers whose thoughts do not end.
        tokens: of the thoughts of each answer that has some.
    """

    mode: Mode
    verdicts: list[str] = field(default_factory=list)
    unended: int = 0
    tokens: list[int] = field(default_factory=list)

    def add(self, record: Mapping[str, Any]) -> None:
        """Count one answer."""
        obeyed = record.get("obeyed")
        self.verdicts.append(UNSCORABLE if obeyed is None else RIGHT if obeyed else WRONG)
        self.unended += bool(record.get("unended"))
        if thoughts := record.get("thought_tokens"):
            self.tokens.append(thoughts)

    @property
    def disobeyed(self) -> float:
        """Share of the answers that do not do as the mode says."""
        return self.verdicts.count(WRONG) / max(1, len(self.verdicts))

    def figures(self) -> dict[str, Any]:
        """As JSON values: share of answers whose thoughts do not end, median tokens of thoughts (0 without any)."""
        return {
            "mode": self.mode,
            "unended": self.unended / max(1, len(self.verdicts)),
            "thought_tokens": median(self.tokens) if self.tokens else 0,
        }


def by_mode(observed: Mapping[str, Observed], new: set[str]) -> dict[Mode, Observed]:
    """The answers of all suites of what the model could do before, by mode; of the new ones where there are no others.

    Args:
        observed: by suite.
        new: the suites of the new task.
    """
    found: dict[Mode, Observed] = {}
    for one in [one for suite, one in observed.items() if suite not in new] or observed.values():
        of_mode = found.setdefault(one.mode, Observed(one.mode))
        of_mode.verdicts += one.verdicts
        of_mode.unended += one.unended
        of_mode.tokens += one.tokens
    return found
