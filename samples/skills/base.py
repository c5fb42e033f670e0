"""What a skill is: a list of forms, each a few wordings with functions that draw, solve and judge.

All randomness comes from the `random.Random` that is passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from samples.skills.judges import exact
from samples.skills.wordings import Slots, read, write

Judge = Callable[[Slots, str, str], bool]
Follow = Callable[[Random, Slots, str], tuple[str, str]]

# Said before or after a question of any skill. They carry nothing; they make questions differ.
_BEFORE = "(|||||Hi! |Hello. |Please help: |Quick question: |A question: |Next one: |Help me with this: )"
_AFTER = "(|||||| Thanks!| Thank you.| Be brief.| Please answer.)"


def _thank(rng: Random, slots: Slots, gold: str) -> tuple[str, str]:
    return rng.choice(["Thanks!", "Thank you.", "Great, thanks."]), "You are welcome."


@dataclass(frozen=True)
class Form:
    """One kind of question: how it is worded, drawn, solved, judged, and what may be asked after it."""

    wordings: tuple[str, ...]
    draw: Callable[[Random], Slots]
    solve: Callable[[Slots], str]
    judge: Judge = exact
    follow: Follow = _thank


@dataclass(frozen=True)
class Item:
    """A question with the answer in the model's own style, and how to go on from there."""

    skill: str
    prompt: str
    answer: str
    form: Form
    slots: Slots

    def follow(self, rng: Random) -> tuple[str, str]:
        """A related second question and its answer."""
        return self.form.follow(rng, self.slots, self.answer)


@dataclass(frozen=True)
class Skill:
    """A named set of forms. `topics` are words a system prompt may use for it."""

    name: str
    topics: tuple[str, ...]
    forms: tuple[Form, ...]

    def item(self, rng: Random) -> Item:
        """Draw one question."""
        form = rng.choice(self.forms)
        slots = form.draw(rng)
        wording = _BEFORE + rng.choice(form.wordings) + _AFTER
        return Item(self.name, write(wording, slots, rng), form.solve(slots), form, slots)

    def make(self, rng: Random) -> tuple[str, str]:
        """Draw one (prompt, answer) pair."""
        item = self.item(rng)
        return item.prompt, item.answer

    def solve(self, prompt: str) -> Item | None:
        """Read a question back, whoever asked it; None if this skill could not have asked it."""
        for form in self.forms:
            for wording in form.wordings:
                slots = read(_BEFORE + wording + _AFTER, prompt)
                if slots is not None:
                    try:
                        return Item(self.name, prompt, form.solve(slots), form, slots)
                    except (KeyError, ValueError, IndexError, ZeroDivisionError):
                        continue  # well-formed, but nothing that has an answer
        return None

    def check(self, prompt: str, text: str) -> bool:
        """Whether `text` answers `prompt` rightly; False also for a question that is not this skill's."""
        item = self.solve(prompt)
        return item is not None and item.form.judge(item.slots, item.answer, text)
