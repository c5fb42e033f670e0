"""The training loop: transformers' Trainer with a loss over tokens.

    L  =  Σ w·nll / Σ w    over the tokens with labels: learn the task, and replay with it
        + λ · Σ nll / N    over all tokens, questions too: LAMOL's language-model loss (arXiv 1909.03329)
        + β · Σ KL / N     over trained tokens, or those of replay: stay near the reference model (2501.14315)

Each sum is over all tokens of a step, whatever batch and process they are in, so that a token weighs the same wherever
it lies. Trainer does what it does well: optimiser, schedule, precision, gradient accumulation, checkpoints, many
processes.
"""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from transformers import Trainer

from synth.errors import RunError
from synth.scoring.losses import divergences, token_losses
from synth.training.attention import IMPLEMENTATIONS, Way, lay_out
from synth.training.batches import Batch, Collator
from synth.training.steps import MEND, PlannedSteps


class TokenTrainer(PlannedSteps, Trainer):  # type: ignore[misc] # transformers is not typed
    """Trains on planned batches."""

    def __init__(
        self,
        *,
        batches: Sequence[Any],
        collator: Collator,
        lm_loss_coef: float = 0.0,
        kl_coef: float = 0.0,
        reference: Any = None,
        **others: Any,
    ) -> None:
        """Take the arguments that `Trainer` does not have.

        Args:
            batches: the rows of each batch of this process.
            collator: turns them into tensors.
            lm_loss_coef: λ, the weight of the language-model loss.
            kl_coef: β, the weight of the divergence from the reference model.
            reference: that model; None where the model in training is an adapter, which is then switched off.
            others: arguments of `Trainer`.
        """
        self.planned, self.names, self._collator = batches, collator.rows.names, collator
        self._lm_loss_coef, self._kl_coef, self._reference = lm_loss_coef, kl_coef, reference
        super().__init__(data_collator=collator, train_dataset=range(len(collator.rows)), **others)
        # Losses are divided by the sums of a whole step. From transformers 5.19 on it reads the first name.
        self.loss_is_scaled_for_ga = self.model_accepts_loss_kwargs = True
        base = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        self._keeps = "logits_to_keep" in inspect.signature(base.forward).parameters

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], torch.Tensor]:
        """The batches of one step, and the sums that its losses are divided by."""
        batches = [next(epoch_iterator) for _ in range(num_batches)]
        totals = torch.stack([batch["totals"] for batch in batches]).sum(0).float().to(device)
        self._tokens += sum(int(batch["lengths"].sum()) for batch in batches)
        self.step_rows = [row for batch in batches for row in batch["rows"].tolist()]
        return batches, self.accelerator.reduce(totals, "sum")

    def compute_loss(
        self, model: Any, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """This batch's part of the step's loss.

        Raises:
            RunError: it is not a number; the step was not taken.
        """
        if self._kl_coef:  # before the model's own pass, so that shards are not gathered between it and its gradients
            with torch.no_grad(), self._as_reference(model) as reference:
                before = self._logits(reference, inputs)
        logits = self._logits(model, inputs)
        weights, predicted, in_kl = num_items_in_batch.clamp(min=1e-9)
        losses = token_losses(logits, inputs["targets"])
        loss = (losses * (inputs["weights"] / weights + self._lm_loss_coef / predicted)).sum()
        if self._kl_coef:
            chosen = inputs["kl_mask"]
            loss = loss + self._kl_coef * divergences(before[chosen], logits[chosen]).sum() / in_kl
        if not torch.isfinite(loss):
            rows = inputs["rows"].tolist()
            raise RunError(
                f"the loss of step {self.state.global_step + 1} is {loss.item()}, on the rows {self.named(rows)}: "
                f"{MEND}"
            )
        # Processes' gradients are averaged; the sums above are over all of them.
        return loss * self.accelerator.num_processes

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
