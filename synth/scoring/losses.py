"""Losses of single tokens, in nats. Logits are as wide as the vocabulary: give them for some tokens at a time."""

import math

import torch
from torch.nn.functional import cross_entropy, log_softmax

from synth.values import Divergence


def token_losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """-log p of each target; shape `[N]`, float32.

    Args:
        logits: shape `[N, vocabulary]`.
        targets: token ids, shape `[N]`.
    """
    return cross_entropy(logits.float(), targets, reduction="none")


def divergences(reference: torch.Tensor, logits: torch.Tensor, kind: Divergence = "kl") -> torch.Tensor:
    """How far the next token's distribution is from the reference's, over the whole vocabulary; shape `[N]`, float32.

    Args:
        reference: logits of the model before training, shape `[N, vocabulary]`.
        logits: those of the model in training, the same shape.
        kind: "kl", the forward divergence KL(reference ‖ model), which forgetting goes with (arXiv 2509.04259);
            "reverse-kl", KL(model ‖ reference); "js", Jensen-Shannon's: the mean of both divergences from the mean
            of the two distributions, log 2 at most.
    """
    return _divergences(log_softmax(reference.float(), -1), log_softmax(logits.float(), -1), kind)


def coarse_divergences(
    tokens: torch.Tensor, reference_logs: torch.Tensor, logits: torch.Tensor, kind: Divergence = "kl"
) -> torch.Tensor:
    """As `divergences`, of distributions over some tokens and all others together: never more than those, `[N]`.

    Args:
        tokens: ids, shape `[N, K]`, fewer than all.
        reference_logs: log-probabilities of them before training, and of all others together; shape `[N, K + 1]`.
        logits: of the model in training, shape `[N, vocabulary]`.
        kind: as for `divergences`.
    """
    now = log_softmax(logits.float(), -1)
    others = now.scatter(-1, tokens, -torch.inf).logsumexp(-1, keepdim=True)
    # Stored in half precision, they do not quite sum up to 1.
    before = log_softmax(reference_logs, -1)
    return _divergences(before, torch.cat([now.gather(-1, tokens), others], -1), kind)


def _divergences(before: torch.Tensor, now: torch.Tensor, kind: Divergence) -> torch.Tensor:
    if kind == "kl":
        return _kl(before, now)
    if kind == "reverse-kl":
        return _kl(now, before)
    mean = torch.logaddexp(before, now) - math.log(2)
    return (_kl(before, mean) + _kl(now, mean)) / 2


def _kl(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """KL(left ‖ right) of log-probabilities."""
    return (left.exp() * (left - right)).sum(-1)
