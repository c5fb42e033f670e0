"""On-policy distillation on planned batches, by TRL's trainer.

At each step the model answers prompts; at every token of its answers it learns the teacher's distribution.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from trl import DistillationConfig, DistillationTrainer

from synth.training.drawn import DrawnSteps
from synth.training.method import MethodSettings
from synth.training.method_rows import TrainingPrompts
from synth.training.settings import TrainingSettings


class PlannedDistillation(DrawnSteps, DistillationTrainer):  # type: ignore[misc] # TRL is not typed
    """Distillation on planned batches."""

    logged = ("completions/mean_length", "completions/clipped_ratio", "entropy")

    @staticmethod
    def arguments(
        method: MethodSettings, rows: TrainingPrompts, settings: TrainingSettings
    ) -> tuple[type[DistillationConfig], dict[str, Any]]:
        """TRL's settings."""
        return DistillationConfig, {
            "beta": method.beta,
            "temperature": method.temperature,
            "max_completion_length": method.max_tokens,
        }

    def __init__(
        self,
        *,
        rows: TrainingPrompts,
        batches: Sequence[NDArray[np.int64]],
        model: Any,
        args: DistillationConfig,
        **others: Any,
    ) -> None:
        """Take the prompts.

        Args:
            rows: all prompts.
            batches: the rows of each batch of this process; all have the same number.
            model: the model that is trained.
            args: settings of TRL's.
            others: arguments of `DistillationTrainer`.
        """
        self.plan(rows, batches, model, args)
        prompts = [{"prompt": self.prompt(row)} for row in range(len(rows))]
        super().__init__(model=model, args=args, train_dataset=prompts, **others)

    def _tokenize_prompts(self, prompts: list[list[int]]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """The tokens are there already."""
        return prompts, None, {}
