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

import numpy as np
import torch
from numpy.typing import NDArray

from synth.scoring.losses import token_losses
from synth.scoring.token_weights import TokenWeights
from synth.training.batches import Batch
from synth.training.reference import Compare
from synth.training.rows import TrainingRows
from synth.training.settings import TrainingSettings


@dataclass(frozen=True, slots=True)
class Objectives:
    """The losses of a batch, by what it is.

    Attributes:
        settings: with the weights λ, β and c.
    """

    settings: TrainingSettings

    def compares(self, batch: Batch) -> bool:
        """Whether the loss of a batch compares with the reference model."""
        replay = self.settings.replay
        return self.settings.kl_coef > 0 if replay is None or not batch["replay"] else replay.loss != "nll"

    def weight(self, batch: Batch) -> float:
        """What the loss of a batch is multiplied by."""
        return self.settings.replay.weight if self.settings.replay is not None and batch["replay"] else 1.0

    def loss(
        self, batch: Batch, part: slice, logits: torch.Tensor, apart: Compare | None, totals: torch.Tensor
    ) -> torch.Tensor:
        """What some tokens of a batch add to the step's mean loss of its own objective, in nats a token.

        Args:
            batch: as the collator makes it.
            part: which of its N tokens.
            logits: that predict them; shape `[n, vocabulary]`.
            apart: compares with the reference model, where the loss does.
            totals: sums over the step of `batch["totals"]`.
        """
        weights, predicted, in_kl, replayed = totals.clamp(min=1e-9)
        settings, replay = self.settings, self.settings.replay
        if replay is not None and batch["replay"]:
            if replay.loss == "nll":
                losses = token_losses(logits, batch["targets"][part])
            else:
                assert apart is not None
                losses = apart(logits, part, replay.loss)
            return (losses * batch["weights"][part]).sum() / replayed
        losses = token_losses(logits, batch["targets"][part])
        own = TokenWeights(settings.loss, settings.eaft_alpha).of(logits, losses)
        loss = (losses * (own * batch["weights"][part] / weights + settings.lm_loss_coef / predicted)).sum()
        compared = min(batch["compared"] - part.start, len(logits))
        if apart is not None and compared > 0:
            near = apart(logits[:compared], slice(part.start, part.start + compared), "kl")
            loss = loss + settings.kl_coef * near.sum() / in_kl
        return loss


def compared_tokens(rows: TrainingRows, settings: TrainingSettings) -> NDArray[np.bool_] | None:
    """At which tokens a divergence from the reference model counts; shape `[tokens]`; None is nowhere."""
    if not settings.needs_reference:
        return None
    found = np.zeros(len(rows.tokens), bool)
    trained, border, replay = rows.weights > 0, int(rows.starts[rows.tasks]), settings.replay
    if settings.kl_coef:
        named = [not settings.kl_sources or source in settings.kl_sources for source in rows.sources[: rows.tasks]]
        found[:border] = trained[:border] & np.repeat(named, rows.sizes[: rows.tasks])
    if replay is not None and replay.loss != "nll" and replay.length is None:  # fresh rows are not there yet
        found[border:] = True if replay.every else trained[border:]
        found[rows.starts[rows.tasks : -1]] = False  # nothing predicts a row's first token
    return found
