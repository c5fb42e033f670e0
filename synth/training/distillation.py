"""On-policy distillation on planned batches, by TRL's trainer.

At each step the model answers prompts; at every token of its answers it learns the teacher's distribution. Drawing, the
divergence and the loop are TRL's. Ours are the tokens of the prompts, the tokens that end an answer, and the batches.
What is drawn depends on torch's random state, which a checkpoint keeps: a run that is continued draws what it would
have drawn.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from trl import DistillationConfig, DistillationTrainer

from synth.training.method import MethodSettings
from synth.training.method_rows import TrainingPrompts
from synth.training.settings import TrainingSettings
from synth.training.steps import PlannedSteps


class PlannedDistillation(PlannedSteps, DistillationTrainer):  # type: ignore[misc] # TRL is not typed
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
        """Say which tokens end an answer.

        Args:
            rows: all prompts.
            batches: the rows of each batch of this process; all have the same number.
            model: the model that is trained.
            args: settings of TRL's.
            others: arguments of `DistillationTrainer`.
        """
        self.names = rows.names
        self._seen: int | None = None
        # TRL draws the answers of a whole step at once, and asks for its prompts once for each batch of it.
        each = args.gradient_accumulation_steps
        whole = [np.concatenate(batches[at : at + each]).tolist() for at in range(0, len(batches), each)]
        self.planned = [step for step in whole for _ in range(each)]
        args.per_device_train_batch_size = len(batches[0])
        model.generation_config.eos_token_id = sorted(rows.ends)
        parts = zip(rows.starts[:-1], rows.starts[1:], strict=True)
        prompts = [{"row": row, "prompt": rows.tokens[start:end].tolist()} for row, (start, end) in enumerate(parts)]
        super().__init__(model=model, args=args, train_dataset=prompts, **others)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], None]:
        """The prompts of one step, once for each of its batches."""
        if self._seen is None:
            self._seen = self.state.num_input_tokens_seen
        batches = [next(epoch_iterator) for _ in range(num_batches)]
        self.step_rows = [prompt["row"] for prompt in batches[0]]
        return batches, None

    def take_tokens(self) -> int:
        """Tokens of prompts and answers of all processes since the last call."""
        before, self._seen = self._seen or 0, self.state.num_input_tokens_seen
        return int(self._seen - before)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """The card is ours, and written at the end."""

    def _tokenize_prompts(self, prompts: list[list[int]]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """The tokens are there already."""
        return prompts, None, {}
