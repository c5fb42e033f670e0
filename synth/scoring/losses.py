"""Losses of single tokens, in nats."""

from collections.abc import Callable

import torch
from torch.nn.functional import cross_entropy, log_softmax
from torch.utils.checkpoint import checkpoint

_AT_ONCE = 2**26
"""Logits that are brought to float32 at once (256 MiB); what is computed from them is computed again in the backward
pass, so that with a vocabulary of 150,000 no float32 copy of all logits is held."""


def token_losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """-log p of each target; shape `[N]`, float32.

    Args:
        logits: shape `[N, vocabulary]`.
        targets: token ids, shape `[N]`.
    """
    return _in_chunks(_negative_logprobs, logits, targets)


def divergences(reference: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Forward divergence KL(reference ‖ model) of the next token's distribution; shape `[N]`, float32.

    It is what forgetting goes with, taken over the whole vocabulary at each token (arXiv 2509.04259).

    Args:
        reference: logits of the model before training, shape `[N, vocabulary]`.
        logits: those of the model in training, the same shape.
    """
    return _in_chunks(_divergences, logits, reference)


def _negative_logprobs(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return cross_entropy(logits.float(), targets, reduction="none")


def _divergences(logits: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    before, now = log_softmax(reference.float(), -1), log_softmax(logits.float(), -1)
    return (before.exp() * (before - now)).sum(-1)


def _in_chunks(
    function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], logits: torch.Tensor, other: torch.Tensor
) -> torch.Tensor:
    rows = max(1, _AT_ONCE // logits.shape[-1])
    if len(logits) <= rows:
        return function(logits, other)
    parts = zip(logits.split(rows), other.split(rows), strict=True)
    return torch.cat([checkpoint(function, part, beside, use_reentrant=False) for part, beside in parts])
