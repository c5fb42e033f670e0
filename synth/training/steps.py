"""What all trainers here have in common, whosever the loss is: planned batches, and errors that name rows.

`PlannedSteps` stands before a trainer of transformers or of TRL among the bases of a class. The batches are planned
before the first step (`synth.training.batches`), so that a run is the same however often it is stopped and continued.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from torch.utils.data import DataLoader

from synth.errors import RunError
from synth.training.callbacks import Entry

MEND = "look at these rows, lower `learning_rate`, or train in float32"


class PlannedSteps:
    """Takes the planned steps.

    Attributes:
        logged: what the trainer measures beside its loss, by the names in its log.
        planned: the rows of each batch of this process.
        names: of the rows.
        step_rows: those of the step that is taken.
    """

    logged: tuple[str, ...] = ()
    planned: Sequence[Any]
    names: Sequence[str]
    step_rows: Sequence[int] = ()
    accelerator: Any
    args: Any
    data_collator: Any
    model: Any
    state: Any
    train_dataset: Any
    _tokens = 0

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The planned batches; each process has its own."""
        return DataLoader(
            self.train_dataset,
            batch_sampler=self.planned,
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def take_tokens(self) -> int:
        """Tokens that went through the model in all processes since the last call."""
        tokens, self._tokens = self._tokens, 0
        return tokens

    def measured(self, logs: dict[str, float]) -> dict[str, float]:
        """What there is of `logged`, in what a trainer of TRL logs of a step."""
        return {name: logs[name] for name in self.logged if name in logs}

    def end_step(self, learning_rate: float, *, stop: bool) -> None:
        """Begin to read what a step measured, where the trainer does not log by itself, as those of TRL do."""

    def settled(self, *, all_of_them: bool) -> Iterator[Entry]:
        """Entries of the log of steps that were given out, where the trainer does not log by itself."""
        return iter(())

    def any_process(self, said: bool) -> bool:
        """Whether any process says so; all processes must call it."""
        if self.accelerator.num_processes == 1:
            return said
        return bool(self.accelerator.reduce(torch.tensor(float(said), device=self.args.device), "sum") > 0)

    def from_first(self, result: dict[str, Any]) -> dict[str, Any]:
        """Broadcast a value of the first process to all of them."""
        if self.accelerator.num_processes > 1:
            [result] = broadcast_object_list([result])
        return result

    def whole_weights(self) -> dict[str, torch.Tensor]:
        """The weights of a model that is shared among the processes, by name, on the CPU of the first of them.

        All processes must call it. (`Trainer.save_model` writes nothing for sharded checkpoints, FSDP's default.)
        """
        weights: dict[str, torch.Tensor] = self.accelerator.get_state_dict(self.model)
        return weights

    def named(self, rows: Sequence[int]) -> str:
        """The ids of rows, the first twenty of them."""
        names = [self.names[row] for row in rows]
        return ", ".join(names[:20]) + (f" and {len(names) - 20:,} more" if len(names) > 20 else "")

    def _clip_grad_norm(self, model: Any) -> Any:
        """Clip gradients as Trainer does.

        Raises:
            RunError: they are not numbers; the weights are as they were before the step.
        """
        norm = super()._clip_grad_norm(model)  # type: ignore[misc] # Trainer's
        if norm is not None and not torch.isfinite(torch.as_tensor(float(norm))):
            raise RunError(
                f"the gradients of step {self.state.global_step + 1} are not numbers, on the rows "
                f"{self.named(self.step_rows)}: {MEND}"
            )
        return norm
