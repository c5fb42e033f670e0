"""Draw one token for every row of a batch, each row with settings and random numbers of its own.

A row's random numbers are a pure function of its seed, its sample number and how many tokens it has drawn, so what it
draws does not depend on which rows happen to run beside it, nor on whether it was interrupted and taken up again.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from synth.engines.hf.forward import on_device

if TYPE_CHECKING:
    from torch import Tensor

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MASK = (1 << 64) - 1
_HEAD = 64
"""Tokens that are put in order before a distribution is inverted.

Rounding that differs from batch to batch moves the bounds between tokens. With the likely tokens first, most bounds
lie near the end, where little probability is left to move: on the sample model, noise in the logits changes a draw
2.7 times less often than in the vocabulary's own order.
"""


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64: every bit of the result depends on every bit of `z`."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def stream_key(seed: int, sample: int) -> int:
    """Where the stream of random numbers of sample `sample` of a request with `seed` starts: 64 bits."""
    key = _mix(np.array([seed & _MASK], np.uint64) + _GAMMA)
    key = _mix((key ^ np.uint64(sample)) + _GAMMA)
    return int(key[0])


def uniforms(keys: NDArray[np.uint64], steps: NDArray[np.int64]) -> NDArray[np.float64]:
    """Number `steps[i]` of the stream `keys[i]`, for all rows at once: shape `[rows]`, in [0, 1 - 2^-40].

    SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014), whose n-th number
    needs none of those before it. 40 bits, so that a product with a float64 sum stays below the sum.
    """
    bits = _mix(keys + (steps.astype(np.uint64) + np.uint64(1)) * _GAMMA)
    return (bits >> np.uint64(24)).astype(np.float64) * 2.0**-40


def draw(
    logits: "Tensor",
    temperature: NDArray[np.float32],
    top_p: NDArray[np.float32],
    uniform: NDArray[np.float64],
    top_k: NDArray[np.int64] | None = None,
) -> "Tensor":
    """Draw a token per row; shape `[rows]`, int64, -1 for a row whose logits are not numbers.

    A row of temperature 0 takes its likeliest token. Another inverts its cumulative distribution at its `uniform`,
    after cutting the distribution to its `top_k` likeliest tokens (Fan et al.: Hierarchical Neural Story Generation,
    ACL 2018), and what is left to its nucleus where `top_p` is below 1 (Holtzman et al.: The Curious Case
    of Neural Text Degeneration, ICLR 2020).

    Args:
        logits: float32, shape `[rows, vocabulary]`, on a device that has float64.
        temperature: shape `[rows]`.
        top_p: shape `[rows]`, in (0, 1].
        uniform: shape `[rows]`, in [0, 1).
        top_k: shape `[rows]`, 0 where any token may be drawn; None: so it is for all rows.
    """
    peak, token = logits.max(dim=-1)
    most = np.zeros(len(top_p), np.int64) if top_k is None else top_k
    any_token = (temperature > 0) & (most == 0)
    plain = np.flatnonzero(any_token & (top_p >= 1))
    nucleus = np.flatnonzero(any_token & (top_p < 1))
    likeliest = np.flatnonzero((temperature > 0) & (most > 0))
    for rows, invert in ((plain, _invert), (nucleus, _invert_nucleus), (likeliest, _invert_likeliest)):
        if rows.size == 0:
            continue
        index = slice(None) if rows.size == len(logits) else _to(rows, logits)
        heat = _to(temperature[rows], logits)[:, None]
        # Not yet divided by their sum: the inversion scales the uniform number instead of the vocabulary.
        weights = (logits[index] - peak[index][:, None]).div_(heat).exp_()
        settings = (_to(values[rows], logits)[:, None] for values in (uniform, top_p, most))
        token[index] = invert(weights, *settings)
    return torch.where(peak.isfinite(), token, -1)


def _invert(weights: "Tensor", uniform: "Tensor", _top_p: "Tensor", _top_k: "Tensor") -> "Tensor":
    """Invert the cumulative distribution of all tokens, the likeliest first, the many unlikely ones in any order."""
    target = uniform * weights.sum(dim=-1, keepdim=True, dtype=torch.float64)
    head, order = weights.topk(min(_HEAD, weights.shape[-1]))
    cumulative = head.cumsum(dim=-1, dtype=torch.float64)
    rank = torch.searchsorted(cumulative, target, right=True).clamp_(max=head.shape[-1] - 1)
    token = order.gather(-1, rank)[:, 0]
    beyond = (target >= cumulative[:, -1:])[:, 0].nonzero()[:, 0]
    if len(beyond):
        rest = weights[beyond].scatter(-1, order[beyond], 0.0).cumsum(dim=-1, dtype=torch.float64)
        token[beyond] = torch.searchsorted(rest, (target - cumulative[:, -1:])[beyond], right=True)[:, 0]
    return token


def _invert_nucleus(
    weights: "Tensor", uniform: "Tensor", top_p: "Tensor", top_k: "Tensor", head: int = _HEAD
) -> "Tensor":
    """Invert the cumulative distribution of the fewest, likeliest tokens that hold `top_p` of the probability."""
    wanted = top_p * weights.sum(dim=-1, keepdim=True, dtype=torch.float64)
    ordered, order = weights.topk(min(head, weights.shape[-1]))
    cumulative = ordered.cumsum(dim=-1, dtype=torch.float64)
    kept = (cumulative - ordered < wanted).sum(dim=-1, keepdim=True)
    rank = torch.searchsorted(cumulative, uniform * cumulative.gather(-1, kept - 1), right=True)
    token = order.gather(-1, rank)[:, 0]
    short = (cumulative[:, -1:] < wanted)[:, 0].nonzero()[:, 0]
    if len(short):
        token[short] = _invert_nucleus(weights[short], uniform[short], top_p[short], top_k[short], weights.shape[-1])
    return token


def _invert_likeliest(weights: "Tensor", uniform: "Tensor", top_p: "Tensor", top_k: "Tensor") -> "Tensor":
    """Invert the cumulative distribution of the nucleus of the `top_k` (shape `[rows, 1]`) likeliest tokens."""
    ordered, order = weights.topk(min(int(top_k.max()), weights.shape[-1]))
    ordered = ordered * (torch.arange(ordered.shape[-1], device=ordered.device) < top_k)
    cumulative = ordered.cumsum(dim=-1, dtype=torch.float64)
    kept = (cumulative - ordered < top_p * cumulative[:, -1:]).logical_and(ordered > 0).sum(dim=-1, keepdim=True)
    rank = torch.searchsorted(cumulative, uniform * cumulative.gather(-1, kept - 1), right=True)
    return order.gather(-1, rank)[:, 0]


def _to(values: NDArray[Any], like: "Tensor") -> "Tensor":
    return on_device(values, like.device)
