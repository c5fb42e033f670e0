"""Callbacks of a training: how it measures the model, and whom it reports to."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from synth.chat.format import ChatFormat
from synth.stop import Stop

Evaluate = Callable[[Any], dict[str, Any]]
"""Measures a model; what it returns is logged as it is, and has `kept`, the share of the old abilities that is left,
once there is a first measurement to compare with."""

Entry = dict[str, Any]
"""A line of the log: a `step`, and what was measured in it."""


class Curve(Protocol):
    """The learning-forgetting curve: what is measured while a model is trained."""

    def settings(self) -> dict[str, Any]:
        """The settings that determine it (JSON values), for `run.json`."""
        ...

    def evaluator(
        self, chat: ChatFormat, log: Sequence[Entry], tell: Callable[[str], None]
    ) -> AbstractContextManager[Evaluate]:
        """What measures a model.

        Args:
            chat: how the model is talked to.
            log: of the run: with what was measured before.
            tell: is told how far an evaluation is.
        """
        ...


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What a training run calls.

    Attributes:
        evaluate: measures the model before the first step, every `eval_every` steps and at the end; given to the first
            process only.
        evaluates: whether any process has it.
        report: is told of every entry of the log, and of {"step", "evaluating"} before an evaluation, with the number
            of steps in all.
        say: takes a line for people.
        stop: asked to end early, a run saves a checkpoint and ends.
    """

    evaluate: Evaluate | None = None
    evaluates: bool = False
    report: Callable[[Entry, int], None] = lambda entry, steps: None
    say: Callable[[str], None] = lambda line: None
    stop: Stop = field(default_factory=Stop)
