"""Losses of single tokens, in nats."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch.nn.functional import cross_entropy, log_softmax
from torch.utils.checkpoint import checkpoint

from synth.values import Divergence

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


def divergences(reference: torch.Tensor, logits: torch.Tensor, kind: Divergence = "kl") -> torch.Tensor:
    """How far the next token's distribution is from the reference's, over the whole vocabulary; shape `[N]`, float32.

    Args:
        reference: logits of the model before training, shape `[N, vocabulary]`.
        logits: those of the model in training, the same shape.
        kind: "kl", the forward divergence KL(reference ‖ model), which forgetting goes with (arXiv 2509.04259);
            "reverse-kl", KL(model ‖ reference); "js", Jensen-Shannon's: the mean of both divergences from the mean
            of the two distributions, log 2 at most.
    """
    return _in_chunks(partial(_divergences, kind=kind), logits, reference)


def _negative_logprobs(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return cross_entropy(logits.float(), targets, reduction="none")


def _divergences(logits: torch.Tensor, reference: torch.Tensor, kind: Divergence) -> torch.Tensor:
    before, now = log_softmax(reference.float(), -1), log_softmax(logits.float(), -1)
    if kind == "kl":
        return _kl(before, now)
    if kind == "reverse-kl":
        return _kl(now, before)
    mean = torch.logaddexp(before, now) - math.log(2)
    return (_kl(before, mean) + _kl(now, mean)) / 2


def _kl(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """KL(left ‖ right) of log-probabilities."""
    return (left.exp() * (left - right)).sum(-1)


def _in_chunks(
    function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], logits: torch.Tensor, other: torch.Tensor
) -> torch.Tensor:
    rows = max(1, _AT_ONCE // logits.shape[-1])
    if len(logits) <= rows:
        return function(logits, other)
    parts = zip(logits.split(rows), other.split(rows), strict=True)
    return torch.cat([checkpoint(function, part, beside, use_reentrant=False) for part, beside in parts])
