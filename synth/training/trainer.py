"""The training loop: transformers' Trainer with losses over tokens (`synth.training.objectives`).

Trainer does what it does well: optimiser, schedule, precision, gradient accumulation, checkpoints, many processes.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import Trainer

from synth.errors import RunError
from synth.training.attention import IMPLEMENTATIONS, Way
from synth.training.batches import Batch, Collator
from synth.training.callbacks import Entry
from synth.training.head import base_of, return_from_head, summed, through
from synth.training.measures import Measures
from synth.training.objectives import Objectives
from synth.training.reference import Reference
from synth.training.steps import MEND, PlannedSteps


@dataclass(frozen=True, slots=True)
class _Step:
    """What the host knows of a step that was given out."""

    number: int
    learning_rate: float
    batches: list[Batch]
    """What the host keeps of them."""
    waited: float
    """Seconds for fresh replay."""

    @property
    def rows(self) -> list[int]:
        return [row for batch in self.batches for row in batch["rows"].tolist()]


class TokenTrainer(PlannedSteps, Trainer):  # type: ignore[misc] # transformers is not typed
    """Trains on planned batches.

    A step's losses and the norm of its gradients are read when the next step has been given out, or when asked for
    (`synth.training.measures`). A step that left no numbers stops the run then, before a checkpoint is made of it.

    Attributes:
        split: the model's body and head.
    """

    def __init__(
        self,
        *,
        batches: Sequence[Any],
        collator: Collator,
        objectives: Objectives,
        reference: Reference | None = None,
        **others: Any,
    ) -> None:
        """Take the arguments that `Trainer` does not have.

        Args:
            batches: the rows of each batch of this process.
            collator: turns them into tensors.
            objectives: their losses.
            reference: the model before training; None where no loss compares with it.
            others: arguments of `Trainer`.
        """
        self.planned, self.names, self._collator = batches, collator.rows.names, collator
        self._objectives, self._reference = objectives, reference
        others["args"].logging_strategy = "no"  # Trainer would wait for every loss; see `settled`
        super().__init__(data_collator=collator, train_dataset=range(len(collator.rows)), **others)
        # Losses are divided by the sums of a whole step. From transformers 5.19 on it reads the first name.
        self.loss_is_scaled_for_ga = self.model_accepts_loss_kwargs = True
        self.split = return_from_head(base_of(self.model))
        self._measures: Measures[_Step] = Measures()
        self._losses: list[torch.Tensor] = []
        self._norm: Any = None
        self._stops = False
        self._waited = 0.0  # seconds for fresh replay, up to the step before

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], torch.Tensor]:
        """The batches of one step, and the sums that its losses are divided by."""
        self._batches = [next(epoch_iterator) for _ in range(num_batches)]
        totals = torch.from_numpy(sum(batch["totals"] for batch in self._batches)).float()
        return self._batches, self.accelerator.reduce(totals.to(device, non_blocking=True), "sum")

    def _prepare_inputs(self, inputs: Batch) -> Batch:
        """What the model and the losses take, on the device: copied there while it works."""
        return {
            name: value.to(self.args.device, non_blocking=True) if isinstance(value, torch.Tensor) else value
            for name, value in inputs.items()
        }

    def end_step(self, learning_rate: float, *, stop: bool) -> None:
        """Begin to read what the step measured, in all processes, and whether one of them is asked to stop."""
        losses = torch.stack(self._losses).float()
        tokens = sum(int(batch["lengths"].sum()) for batch in self._batches)
        asked, seen = (torch.full_like(losses[:1], float(value)) for value in (stop, tokens))
        shared = self.accelerator.reduce(torch.cat([losses, asked, seen]), "sum")
        norm = self._norm.full_tensor() if hasattr(self._norm, "full_tensor") else torch.as_tensor(self._norm)
        values = torch.cat([shared, losses, norm.to(losses)[None]])
        kept = [{name: batch[name] for name in ("rows", "replay")} for batch in self._batches]
        waited = 0.0 if self._collator.fresh is None else self._collator.fresh.waited
        self._measures.put(_Step(self.state.global_step, learning_rate, kept, waited - self._waited), values)
        self._losses, self._waited = [], waited

    def settled(self, *, all_of_them: bool) -> Iterator[Entry]:
        """What the steps measured that were not told of yet: all, or all but the one that may still be under way.

        Raises:
            RunError: a loss or the gradients of one are not numbers.
        """
        for step, values in self._measures.take(all_of_them=all_of_them):
            count = len(step.batches)
            losses, own, norm = values[:count], values[count + 2 : -1], values[-1]
            self._stops |= values[count] > 0
            self._refuse_no_numbers(step, losses, own, norm)
            weights = [self._objectives.weight(batch) for batch in step.batches]
            entry: Entry = {
                "step": step.number,
                "loss": sum(weight * loss for weight, loss in zip(weights, losses, strict=True)),
                "learning_rate": step.learning_rate,
                "grad_norm": norm,
                "tokens": int(values[count + 1]),
            }
            if self._objectives.settings.replay is not None:
                for name, replay in (("task_loss", False), ("replay_loss", True)):
                    of_it = (batch["replay"] == replay for batch in step.batches)
                    entry[name] = sum(loss for loss, mine in zip(losses, of_it, strict=True) if mine)
            if self._collator.fresh is not None:
                entry["waited"] = round(step.waited, 4)
            yield entry

    def _refuse_no_numbers(self, step: _Step, losses: list[float], own: list[float], norm: float) -> None:
        """Stop at a step whose losses, in all processes and in this one, or whose gradients are not numbers."""
        if all(map(math.isfinite, (*losses, norm))):
            return
        bad = [batch for batch, loss in zip(step.batches, own, strict=True) if not math.isfinite(loss)]
        if bad:
            rows = [row for batch in bad for row in batch["rows"].tolist()]
            what = f"the loss of step {step.number} is {next(loss for loss in own if not math.isfinite(loss))}"
        elif all(map(math.isfinite, losses)):
            rows, what = step.rows, f"the gradients of step {step.number} are not numbers"
        else:
            rows, what = step.rows, f"another process's loss of step {step.number} is not a number; this one was"
        raise RunError(f"{what}, on the rows {self.named(rows)}: {MEND}")

    def any_process(self, said: bool) -> bool:
        """Whether any process is asked to stop: of many, as far as steps have settled, in which all say it at once."""
        return said if self.accelerator.num_processes == 1 else self._stops

    def _clip_grad_norm(self, model: Any) -> Any:
        """Clip gradients as Trainer does. Whether they are numbers is read with the losses."""
        self._norm = Trainer._clip_grad_norm(self, model)
        return self._norm

    def compute_loss(
        self, model: Any, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """This batch's part of the step's loss."""
        apart = None
        if self._objectives.compares(inputs):
            assert self._reference is not None
            # Before the model's own pass, so that shards are not gathered between it and its gradients.
            apart = self._reference.compare(inputs, model)

        def of_chunk(logits: torch.Tensor, part: slice) -> torch.Tensor:
            return self._objectives.loss(inputs, part, logits, apart, num_items_in_batch)

        loss = through(model, inputs, lambda states: summed(self.split, states, of_chunk))
        self._losses.append(loss.detach())
        # Processes' gradients are averaged; the sums that losses are divided by are over all of them.
        return self._objectives.weight(inputs) * loss * self.accelerator.num_processes


def use_packed_attention(way: Way, *models: Any) -> None:
    """Let models attend within the rows of a packed batch only."""
    for model in models:
        model.set_attn_implementation(IMPLEMENTATIONS[way])
