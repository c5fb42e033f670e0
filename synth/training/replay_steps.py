"""Replay as an objective of its own beside a trainer whose loss is another's: its batches, and what they add."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from synth.training.batches import Batch, Collator
from synth.training.head import base_of, return_from_head, summed, through
from synth.training.objectives import Objectives, compared_tokens
from synth.training.reference import Reference
from synth.training.rows import TrainingRows
from synth.training.settings import TrainingSettings


class ReplaySteps:
    """The batches of replay of one process, step by step.

    Attributes:
        weight: of their loss.
    """

    def __init__(
        self,
        rows: TrainingRows,
        batches: Sequence[NDArray[np.int64]],
        settings: TrainingSettings,
        model: Any,
        reference: Reference | None,
        padding: int,
    ) -> None:
        """Take the batches.

        Args:
            rows: all rows, those of replay last.
            batches: the rows of each batch of replay.
            settings: how they are trained on; `replay` is given.
            model: the model that is trained, without wrappers around it.
            reference: the model before training, where the loss compares with it.
            padding: the token id to pad with.
        """
        assert settings.replay is not None
        self.weight = settings.replay.weight
        self._collator = Collator(
            rows,
            packed=False,
            compared=compared_tokens(rows, settings),
            every_replayed=settings.replay.every,
            padding=padding,
        )
        self._batches, self._objectives, self._reference = batches, Objectives(settings), reference
        self._split = return_from_head(base_of(model))
        self._step: list[Batch] = []
        self._totals = torch.zeros(4)

    def begin(
        self, step: int, each: int, device: torch.device, summed_up: Callable[[torch.Tensor], torch.Tensor]
    ) -> None:
        """Lay out the batches of a step.

        Args:
            step: the number of steps before it.
            each: batches a step.
            device: where they go.
            summed_up: sums over all processes.
        """
        self._step = [self._collator(rows.tolist()) for rows in self._batches[step * each : (step + 1) * each]]
        totals = torch.from_numpy(np.sum([batch["totals"] for batch in self._step], axis=0)).float()
        self._totals = summed_up(totals.to(device))

    @property
    def at_end(self) -> bool:
        """Whether the step has had all of its batches."""
        return not self._step

    def next_loss(self, model: Any) -> torch.Tensor:
        """What the next batch adds to the loss of the step in all processes, without its weight.

        Args:
            model: the model that is trained, or wrappers around it.
        """
        device = self._totals.device
        batch = {
            name: value.to(device) if isinstance(value, torch.Tensor) else value
            for name, value in self._step.pop(0).items()
        }
        apart = None
        if self._objectives.compares(batch):
            assert self._reference is not None
            apart = self._reference.compare(batch, model)

        def of_chunk(logits: torch.Tensor, part: slice) -> torch.Tensor:
            return self._objectives.loss(batch, part, logits, apart, self._totals)

        return through(model, batch, lambda states: summed(self._split, states, of_chunk))
