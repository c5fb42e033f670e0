"""Steps on answers that the model draws while it is trained, by a trainer of TRL's.

Drawing and the loop are TRL's. Ours are the tokens of the prompts, the tokens that end an answer, and the batches. What
is drawn depends on torch's random state, which a checkpoint keeps: a run that is continued draws what it would have
drawn.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from synth.training.method_rows import TrainingPrompts
from synth.training.steps import PlannedSteps


class DrawnSteps(PlannedSteps):
    """Takes the planned steps on prompts.

    Attributes:
        rows: all prompts.
    """

    rows: TrainingPrompts
    _seen: int | None = None

    def plan(self, rows: TrainingPrompts, batches: Sequence[NDArray[np.int64]], model: Any, args: Any) -> None:
        """Take the batches, and say which tokens end an answer. Before TRL's `__init__`.

        Args:
            rows: all prompts.
            batches: the rows of each batch of this process; all have the same number.
            model: the model that is trained.
            args: settings of TRL's.
        """
        self.rows, self.names = rows, rows.names
        # TRL draws the answers of a whole step at once, and asks for its prompts once for each batch of it.
        each = args.gradient_accumulation_steps
        whole = [np.concatenate(batches[at : at + each]).tolist() for at in range(0, len(batches), each)]
        self.planned = [step for step in whole for _ in range(each)]
        args.per_device_train_batch_size = len(batches[0])
        model.generation_config.eos_token_id = sorted(rows.ends)

    def prompt(self, row: int) -> list[int]:
        """The tokens of a prompt."""
        ids: list[int] = self.rows.tokens[self.rows.starts[row] : self.rows.starts[row + 1]].tolist()
        return ids

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], None]:
        """The prompts of one step, once for each of its batches."""
        if self._seen is None:
            self._seen = self.state.num_input_tokens_seen
        self.step_rows = self.planned[self.state.global_step * num_batches]
        return [next(epoch_iterator) for _ in range(num_batches)], None

    def take_tokens(self) -> int:
        """Tokens of prompts and answers of all processes since the last call."""
        before, self._seen = self._seen or 0, self.state.num_input_tokens_seen
        return int(self._seen - before)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """The card is ours, and written at the end."""
