"""Weights of tokens in the loss that the model in training gives itself: what it holds possible, it learns faster.

They are numbers, not functions: no gradient goes through them.
"""

from dataclasses import dataclass

import torch

from synth.values import TokenLoss

LIKELIEST = 20
"""Tokens whose probabilities, divided by their sum, stand for the whole distribution: their entropy correlates with
that over the whole vocabulary at 0.999 (arXiv 2601.02151)."""
MOST_ENTROPY = 3.0
"""About the highest entropy of as many tokens, log 20 in nats, rounded as LLaMA-Factory does."""


@dataclass(frozen=True, slots=True)
class TokenWeights:
    """How much each token counts in the loss.

    Attributes:
        loss: "sft": every token alike. "dft": as the model's own probability of it (arXiv 2508.05629). "eaft": as the
            entropy of the model's 20 likeliest next tokens, divided by 3, to the power `alpha`, so that where it is
            sure of another token little is changed (arXiv 2601.02151).
        alpha: of "eaft": 0 is "sft".
    """

    loss: TokenLoss = "sft"
    alpha: float = 1.0

    def of(self, logits: torch.Tensor, losses: torch.Tensor) -> torch.Tensor:
        """The weight of each token; shape `[N]`, float32, without a gradient; a token counts so many times -log p.

        Args:
            logits: that predict the tokens, shape `[N, vocabulary]`, of any precision: no copy of them is made.
            losses: -log p of the tokens, shape `[N]`.
        """
        losses = losses.detach().float()
        if self.loss == "dft":
            return (-losses).exp()
        if self.loss == "eaft":
            return (_entropies(logits.detach()) / MOST_ENTROPY) ** self.alpha
        return torch.ones_like(losses)


def _entropies(logits: torch.Tensor) -> torch.Tensor:
    """Entropy (nats) of the likeliest tokens' probabilities, divided by their sum; `[N]`, float32."""
    logs = logits.topk(min(LIKELIEST, logits.shape[-1]), dim=-1).values.float().log_softmax(-1)
    return torch.special.entr(logs.exp()).sum(-1)
