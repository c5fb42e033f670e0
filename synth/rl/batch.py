"""What is rewarded together: the completions of one call, and what is known of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from filters.verdict import Task
from synth.rl.completions import Completion

Values = list[float | None]
"""A number for each completion, in their order; None where nothing can be said of one."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The completions of one call, which may be of any number of prompts.

    Attributes:
        prompts: of each, a text or a list of messages.
        completions: what each says.
        completion_ids: the tokens of each as they were drawn, where the trainer gives them.
        tasks: what each is checked against.
    """

    prompts: Sequence[Any]
    completions: Sequence[Completion]
    completion_ids: Sequence[Sequence[int]] | None
    tasks: Sequence[Task]
