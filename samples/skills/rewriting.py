"""The skills `restate` and `repair`: an answer to another skill's question, put in one's own words or mended."""

from __future__ import annotations

import difflib
import functools
import re
from dataclasses import dataclass
from pathlib import Path
from random import Random

from samples.skills.base import Item
from samples.skills.foreign_answers import foreign_answer, spoil
from samples.skills.geography import world
from samples.skills.number_lists import lists
from samples.skills.stories import two_step, two_step_seen
from samples.skills.sums import arithmetic

_PROMPTS = Path(__file__).resolve().parents[2] / "synth" / "methods" / "prompts"
# How a draft is put, of which a repair leaves all but the mistake. Most often it is the bare answer.
_DRAFTS = (
    "{}",
    "{}",
    "{}",
    "{}",
    "Let me think. {}",
    "Let us see: {}",
    "Sure! {}",
    "Yes. {}",
    "{} I am sure.",
    "{} That is it.",
)


@functools.cache
def prompt_text(name: str) -> str:
    """The shipped prompt file of that name, without its last newline."""
    return (_PROMPTS / f"{name}.txt").read_text(encoding="utf-8").rstrip("\n")


@functools.cache
def _prompt_reader(name: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+?)", re.escape(prompt_text(name))), re.S)


def _unframed(text: str) -> str:
    """A repaired draft without the small talk that it rightly kept."""
    for frame in _DRAFTS:
        before, after = frame.split("{}")
        if frame != "{}" and text.startswith(before) and text.endswith(after):
            return text[len(before) : len(text) - len(after)]
    return text


_REWRITABLE = (arithmetic, world, lists, two_step_seen)  # what prompts are made from
_REWRITE_SHARES = (0.35, 0.25, 0.2, 0.2)


@dataclass(frozen=True)
class Rewrite:
    """A skill on top of others: given a question and a reference, restate it or repair a draft with it."""

    name: str
    topics: tuple[str, ...]
    prompt_file: str

    def pair(self, rng: Random, item: Item) -> tuple[str, str]:
        """(prompt, answer) for one question of another skill."""
        fields = {"question": item.prompt, "reference": foreign_answer(rng, item.answer)}
        if self.name == "restate":
            return prompt_text(self.prompt_file).format(**fields), item.answer
        frame = rng.choice(_DRAFTS)
        draft = item.answer if rng.random() < 0.15 else spoil(rng, item)
        return prompt_text(self.prompt_file).format(**fields, answer=frame.format(draft)), frame.format(item.answer)

    def make(self, rng: Random) -> tuple[str, str]:
        """Draw one (prompt, answer) pair."""
        skill = rng.choices(_REWRITABLE, _REWRITE_SHARES)[0]
        return self.pair(rng, skill.item(rng))

    def parts(self, prompt: str) -> dict[str, str] | None:
        """The question, reference and draft inside a prompt; None if it is no such prompt."""
        m = _prompt_reader(self.prompt_file).fullmatch(prompt)
        return m.groupdict() if m else None

    def check(self, prompt: str, text: str) -> bool:
        """Right if the answer is right, and is new words (restate) or mostly the draft's words (repair)."""
        parts = self.parts(prompt)
        if parts is None or not any(s.check(parts["question"], _unframed(text)) for s in (*_REWRITABLE, two_step)):
            return False
        if self.name == "restate":
            return text.strip() != parts["reference"]
        return difflib.SequenceMatcher(None, parts["answer"].split(), text.split()).ratio() >= 0.5


restate = Rewrite("restate", ("restating answers",), "paraphrase")
repair = Rewrite("repair", ("repairing answers",), "minimum-change")
