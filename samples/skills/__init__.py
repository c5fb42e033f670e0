"""What the sample model is taught: question generators, their solvers and their checkers.

A skill is a list of forms (`base`). A form is a few *wordings* (`wordings`) plus one function that draws the values
to put into them and one that solves the question from those values. Each skill, or pair of closely related skills,
has a module of its own; `registry` knows them all by name.

Pure Python, no dependencies. All randomness comes from the `random.Random` that is passed in.
"""

from samples.skills.base import Item, Skill
from samples.skills.human_answers import human_answer
from samples.skills.programs import code, run_function
from samples.skills.registry import BASIC, HYBRID, OLD, SKILLS, TRAINED, make, question_in, recognise, split, suite
from samples.skills.rewriting import Rewrite
from samples.skills.stories import two_step
from samples.skills.thoughts import later_thoughts, thoughts_for
from samples.skills.working import steps_of

__all__ = [
    "BASIC",
    "HYBRID",
    "OLD",
    "SKILLS",
    "TRAINED",
    "Item",
    "Rewrite",
    "Skill",
    "code",
    "human_answer",
    "later_thoughts",
    "make",
    "question_in",
    "recognise",
    "run_function",
    "split",
    "steps_of",
    "suite",
    "thoughts_for",
    "two_step",
]
