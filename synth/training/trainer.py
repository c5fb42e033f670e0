"""The training loop: transformers' Trainer with losses over tokens (`synth.training.objectives`).

Trainer does what it does well: optimiser, schedule, precision, gradient accumulation, checkpoints, many processes.
"""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from transformers import Trainer

from synth.errors import RunError
from synth.training.attention import IMPLEMENTATIONS, Way, lay_out
from synth.training.batches import Batch, Collator
from synth.training.objectives import Objectives
from synth.training.steps import MEND, PlannedSteps


class TokenTrainer(PlannedSteps, Trainer):  # type: ignore[misc] # transformers is not typed
    """Trains on planned batches."""

    logged = ("task_loss", "replay_loss")

    def __init__(
        self,
        *,
        batches: Sequence[Any],
        collator: Collator,
        objectives: Objectives,
        reference: Any = None,
        **others: Any,
    ) -> None:
        """Take the arguments that `Trainer` does not have.

        Args:
            batches: the rows of each batch of this process.
            collator: turns them into tensors.
            objectives: their losses.
            reference: the model before training; None where the one in training is an adapter, which is then switched
                off, or where no loss compares with it.
            others: arguments of `Trainer`.
        """
        self.planned, self.names, self._collator = batches, collator.rows.names, collator
        self._objectives, self._reference = objectives, reference
        super().__init__(data_collator=collator, train_dataset=range(len(collator.rows)), **others)
        # Losses are divided by the sums of a whole step. From transformers 5.19 on it reads the first name.
        self.loss_is_scaled_for_ga = self.model_accepts_loss_kwargs = True
        base = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        self._keeps = "logits_to_keep" in inspect.signature(base.forward).parameters
        self._losses: dict[bool, Any] = {False: 0.0, True: 0.0}  # of the task, and of replay

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], torch.Tensor]:
        """The batches of one step, and the sums that its losses are divided by."""
        batches = [next(epoch_iterator) for _ in range(num_batches)]
        totals = torch.stack([batch["totals"] for batch in batches]).sum(0).float().to(device)
        self._tokens += sum(int(batch["lengths"].sum()) for batch in batches)
        self.step_rows = [row for batch in batches for row in batch["rows"].tolist()]
        return batches, self.accelerator.reduce(totals, "sum")

    def log(self, logs: dict[str, float], *more: Any) -> None:
        """Log, beside the loss of all that there is, that of each objective, a mean over its own tokens."""
        if "loss" in logs and self._objectives.settings.replay is not None:
            sums = [torch.as_tensor(self._losses[replay], device=self.args.device) for replay in (False, True)]
            task, replay = self.accelerator.reduce(torch.stack(sums), "sum").tolist()
            logs |= {"task_loss": task, "replay_loss": replay}
        self._losses = {False: 0.0, True: 0.0}
        super().log(logs, *more)

    def compute_loss(
        self, model: Any, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """This batch's part of the step's loss.

        Raises:
            RunError: it is not a number; the step was not taken.
        """
        before = None
        if self._objectives.compares(inputs):
            # Before the model's own pass, so that shards are not gathered between it and its gradients.
            with torch.no_grad(), self._as_reference(model) as reference:
                before = self._logits(reference, inputs)
        logits = self._logits(model, inputs)
        loss = self._objectives.loss(inputs, logits, before, num_items_in_batch)
        if not torch.isfinite(loss):
            rows = inputs["rows"].tolist()
            raise RunError(
                f"the loss of step {self.state.global_step + 1} is {loss.item()}, on the rows {self.named(rows)}: "
                f"{MEND}"
            )
        self._losses[inputs["replay"]] += loss.detach()
        # Processes' gradients are averaged; the sums that losses are divided by are over all of them.
        return self._objectives.weight(inputs) * loss * self.accelerator.num_processes

    def _logits(self, model: Any, batch: Batch) -> torch.Tensor:
        """The logits that predict the targets; shape `[N, vocabulary]`."""
        given = {name: batch[name] for name in ("input_ids", "position_ids", "attention_mask") if name in batch}
        if self._collator.packed:
            lay_out(batch["lengths"].tolist(), batch["input_ids"].device)
        keep = batch["keep"]
        if self._keeps:
            logits = model(**given, use_cache=False, logits_to_keep=keep).logits
        else:
            logits = model(**given, use_cache=False).logits[:, keep]
        flat = logits.flatten(0, 1)
        # Packed, and no row's first token predicted: the logits are the targets' already.
        return flat if len(flat) == len(batch["at"]) else flat[batch["at"]]

    def _as_reference(self, model: Any) -> AbstractContextManager[Any]:
        if self._reference is not None:
            return nullcontext(self._reference)
        return _without_adapter(self.accelerator.unwrap_model(model), model)


class _without_adapter(AbstractContextManager[Any]):
    """The model with its adapter switched off and dropout off."""

    def __init__(self, adapted: Any, model: Any) -> None:
        self._off = adapted.disable_adapter()
        self._model = model

    def __enter__(self) -> Any:
        self._model.eval()
        self._off.__enter__()
        return self._model

    def __exit__(self, *what: Any) -> None:
        self._off.__exit__(*what)
        self._model.train()


def use_packed_attention(way: Way, *models: Any) -> None:
    """Let models attend within the rows of a packed batch only."""
    for model in models:
        model.set_attn_implementation(IMPLEMENTATIONS[way])
