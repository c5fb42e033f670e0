"""All skills by name, and what is done with them by name: drawing from a split, and recognising a question."""

from __future__ import annotations

import zlib
from random import Random

from samples.skills.base import Skill
from samples.skills.extraction import json_fields
from samples.skills.geography import world
from samples.skills.number_lists import lists
from samples.skills.programs import code
from samples.skills.refusals import safety
from samples.skills.rewriting import Rewrite, repair, restate
from samples.skills.stories import two_step, two_step_seen
from samples.skills.sums import arithmetic
from samples.skills.text_edits import strings
from samples.skills.tool_calls import tools
from samples.skills.totals import totals

BASIC = {s.name: s for s in (arithmetic, json_fields, code, safety, tools, world, strings, lists)}
OLD: dict[str, Skill | Rewrite] = {**BASIC, restate.name: restate, repair.name: repair}
SKILLS: dict[str, Skill | Rewrite] = {**OLD, two_step.name: two_step}  # what the model is measured on
TRAINED: dict[str, Skill | Rewrite] = {**OLD, two_step_seen.name: two_step_seen}  # what it is trained on
HYBRID: dict[str, Skill | Rewrite] = {**BASIC, totals.name: totals}  # what the hybrid model is measured on
_ALL = TRAINED | SKILLS | HYBRID


def split(question: str) -> str:
    """Which split a question belongs to, for good: 1 in 20 is `test`, 1 in 20 is `dev`, the rest `train`."""
    return {0: "test", 1: "dev"}.get(zlib.crc32(question.encode()) % 20, "train")


def question_in(skill: str, prompt: str) -> str:
    """The question that decides a prompt's split: the prompt, or for a rewrite the question inside it."""
    found = _ALL[skill]
    parts = found.parts(prompt) if isinstance(found, Rewrite) else None
    return parts["question"] if parts else prompt


def make(skill: str, rng: Random, part: str) -> tuple[str, str]:
    """Draw a (prompt, answer) pair of a skill whose question lies in the split `train`, `dev` or `test`."""
    while True:
        prompt, answer = _ALL[skill].make(rng)
        if split(question_in(skill, prompt)) == part:
            return prompt, answer


def suite(skill: str, part: str, size: int, seed: int = 0) -> list[tuple[str, str]]:
    """`size` distinct (prompt, answer) pairs of one skill from one split."""
    rng = Random(f"{skill}/{part}/{seed}")
    pairs: dict[str, str] = {}
    for _ in range(200 * size):
        if len(pairs) == size:
            break
        prompt, answer = make(skill, rng, part)
        pairs.setdefault(prompt, answer)
    return list(pairs.items())


def recognise(prompt: str) -> str | None:
    """The skill that could have asked this, else None."""
    for name, skill in SKILLS.items():
        if (skill.parts(prompt) if isinstance(skill, Rewrite) else skill.solve(prompt)) is not None:
            return name
    return None
