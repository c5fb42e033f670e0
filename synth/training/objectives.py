"""What a step minimises: the task's objective, and beside it that of replay, where it has one of its own.

    L  =  Σ f·w·nll / Σ w  over the task's tokens with labels: learn it, and replay that is mixed into it
        + λ · Σ nll / N    over all its tokens, questions too: LAMOL's language-model loss (arXiv 1909.03329)
        + β · Σ KL / N     over its trained tokens, or those of some sources: stay near the reference (2501.14315)
        + c · Σ w·R / Σ w  over replay's own tokens, R being their NLL, or a divergence from the reference (2605.26097)

Each sum is over all tokens of a step, whatever batch and process they are in, so that a token weighs the same wherever
it lies. A batch is the task's or replay's; a divergence on replay comes without any NLL.

f is 1, or what the model in training thinks of a token (`synth.scoring.token_weights`). The sum that is divided by is
without it, so that a step of which the model is sure counts less. The losses of λ, β and c are as ever.
"""

from dataclasses import dataclass

import torch

from synth.scoring.losses import divergences, token_losses
from synth.scoring.token_weights import TokenWeights
from synth.training.batches import Batch
from synth.training.settings import TrainingSettings


@dataclass(frozen=True, slots=True)
class Objectives:
    """The losses of a batch, by what it is.

    Attributes:
        settings: with the weights λ, β and c.
    """

    settings: TrainingSettings

    def compares(self, batch: Batch) -> bool:
        """Whether the loss of a batch needs the reference model's logits."""
        replay = self.settings.replay
        return self.settings.kl_coef > 0 if replay is None or not batch["replay"] else replay.loss != "nll"

    def weight(self, batch: Batch) -> float:
        """What the loss of a batch is multiplied by."""
        return self.settings.replay.weight if self.settings.replay is not None and batch["replay"] else 1.0

    def loss(
        self, batch: Batch, logits: torch.Tensor, reference: torch.Tensor | None, totals: torch.Tensor
    ) -> torch.Tensor:
        """A batch's part of the step's mean loss of its own objective, in nats a token.

        Args:
            batch: as the collator makes it.
            logits: of the batch's targets; shape `[N, vocabulary]`.
            reference: those of the reference model, where the loss compares with it.
            totals: sums over the step of `batch["totals"]`.
        """
        weights, predicted, in_kl, replayed = totals.clamp(min=1e-9)
        replay = self.settings.replay
        if replay is not None and batch["replay"]:
            if replay.loss == "nll":
                losses = token_losses(logits, batch["targets"])
            else:
                assert reference is not None
                losses = divergences(reference, logits, replay.loss)
            return (losses * batch["weights"]).sum() / replayed
        losses = token_losses(logits, batch["targets"])
        own = TokenWeights(self.settings.loss, self.settings.eaft_alpha).of(logits, losses)
        loss = (losses * (own * batch["weights"] / weights + self.settings.lm_loss_coef / predicted)).sum()
        if reference is not None:
            chosen = batch["kl_at"]
            loss = loss + self.settings.kl_coef * divergences(reference[chosen], logits[chosen]).sum() / in_kl
        return loss
