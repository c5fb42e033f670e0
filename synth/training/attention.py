"""Attention over rows laid end to end, each row for itself, in one of three ways.

flash     FlashAttention's kernels for rows of many lengths, which torch brings along: half precision on CUDA. Whatever
          `torch.nn.attention.activate_flash_attention_impl` puts in their place (FlashAttention 3 or 4) is used.
flex      FlexAttention, compiled, with a mask that ends at each row: what else there is on CUDA, float32 or capped
          scores.
grouped   torch's own attention, rows of like length together, a group at a time: on any device. The cost grows with the
          rows' own lengths, where a mask over the whole packed sequence would cost its square.

Which one a model can take is tried (`synth.training.packing`). Lengths are known on the host and stay there: nothing
here waits for the device. (transformers finds them again from positions, in every layer, and waits each time.)
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from typing import Any, Literal

import numpy as np
import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention

Way = Literal["flash", "flex", "grouped"]

IMPLEMENTATIONS: dict[Way, str] = {"flash": "synth_varlen", "flex": "synth_document", "grouped": "synth_grouped"}
"""Their names in transformers, none of which it knows; so it makes no masks for them."""

_UNKNOWN = ("s_aux", "position_bias", "cache")
"""Arguments that change what attention is, and that no way knows."""
_SAYS_GROUPED = "enable_gqa" in inspect.signature(varlen_attn).parameters  # torch 2.11 finds out by itself


@dataclass(slots=True)
class _Group:
    """Rows of like length.

    `padded` holds the position of each token of each row, all as long as the longest; `back` undoes it. None where all
    are equally long.
    """

    start: int
    end: int
    count: int
    longest: int
    padded: torch.Tensor | None
    back: torch.Tensor | None


@dataclass
class _Layout:
    """How the rows of a batch lie in the packed sequence, as each way needs it."""

    lengths: Sequence[int] = ()
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    attended: int = 0
    """Layers that have attended since the batch was laid out."""
    masks: dict[int | None, BlockMask] = field(default_factory=dict)

    def _there(self, values: torch.Tensor) -> torch.Tensor:
        return values.to(self.device, non_blocking=True)

    @cached_property
    def starts(self) -> torch.Tensor:
        """Where each row begins, and the last one ends; shape `[rows + 1]`, int32."""
        return self._there(torch.tensor([0, *self.lengths]).cumsum(0).int())

    def mask(self, window: int | None) -> BlockMask:
        """What each token sees: those before it in its row, or `window` of them, itself included."""
        if window not in self.masks:
            lengths = torch.tensor(self.lengths)
            row, total = self._there(torch.arange(len(lengths)).repeat_interleave(lengths)), sum(self.lengths)

            def sees(_batch: Any, _head: Any, at: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
                before = (row[at] == row[other]) & (at >= other)
                return before if window is None else before & (at - other < window)

            make = _compiled(create_block_mask) if self.device.type == "cuda" else create_block_mask
            self.masks[window] = make(sees, None, None, total, total, device=self.device)
        return self.masks[window]

    @cached_property
    def groups(self) -> list[_Group]:
        groups: list[_Group] = []
        at = first = 0
        while first < len(self.lengths):
            longest, last = self.lengths[first], first
            while last < len(self.lengths) and 4 * self.lengths[last] > 3 * longest:
                last += 1
            members = np.array(self.lengths[first:last])
            count, total = last - first, int(members.sum())
            padded = back = None
            if total != count * longest:
                starts = (np.cumsum(members) - members)[:, None]
                place = np.arange(longest)
                real = place < members[:, None]
                padded = self._there(torch.from_numpy(np.where(real, starts + place, starts).ravel()))
                back = self._there(torch.from_numpy(np.flatnonzero(real)))
            groups.append(_Group(at, at + total, count, longest, padded, back))
            at, first = at + total, last
        return groups


@dataclass(slots=True)
class _Batch:
    layout: _Layout = field(default_factory=_Layout)


_batch = _Batch()
"""The batch in the model. One model trains at a time in a process, and the layout must still be there when activations
are computed once more in the backward pass, which is another thread's."""


def lay_out(lengths: Sequence[int], device: torch.device) -> None:
    """Set the layout of the next packed batch: the tokens of each row, longest row first."""
    _batch.layout = _Layout(lengths, device)


def attended() -> int:
    """Layers that have attended in one of these ways since the batch was laid out."""
    return _batch.layout.attended


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a layer wants: dropout of weights, scale and cap of scores, and how many tokens one sees, itself too."""

    dropout: float
    scale: float | None
    window: int | None
    cap: float | None


States = tuple[torch.Tensor, ...]
"""Queries, keys and values, each of shape `[tokens, heads, size]`."""


def _flash(states: States, kind: _Kind) -> torch.Tensor:
    query, key, value = states
    if kind.dropout or kind.cap is not None:
        raise NotImplementedError("flash attention with dropout or capped scores")
    grouped = {"enable_gqa": True} if _SAYS_GROUPED and key.shape[1] != query.shape[1] else {}
    left = -1 if kind.window is None else kind.window - 1
    starts, longest = _batch.layout.starts, _batch.layout.lengths[0]
    found: torch.Tensor = varlen_attn(
        query, key, value, starts, starts, longest, longest, scale=kind.scale, window_size=(left, 0), **grouped
    )
    return found


def _flex(states: States, kind: _Kind) -> torch.Tensor:
    if kind.dropout:
        raise NotImplementedError("flex attention with dropout")
    query, key, value = (part.transpose(0, 1)[None] for part in states)
    attend = _compiled(flex_attention) if query.device.type == "cuda" else flex_attention
    found: torch.Tensor = attend(
        query,
        key,
        value,
        score_mod=None if kind.cap is None else _capped(kind.cap),
        block_mask=_batch.layout.mask(kind.window),
        scale=kind.scale,
        enable_gqa=key.shape[1] != query.shape[1],
    )
    return found[0].transpose(0, 1)


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled, once in a process; torch makes its kernels anew where sizes prove to vary."""
    compiled: Callable[..., Any] = torch.compile(function)
    return compiled


@cache
def _capped(cap: float) -> Callable[..., torch.Tensor]:
    def score(scores: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        return cap * torch.tanh(scores / cap)

    return score


def _grouped(states: States, kind: _Kind) -> torch.Tensor:
    if kind.cap is not None:
        raise NotImplementedError("torch's attention with capped scores")
    device, outputs = states[0].device, []
    shared = states[0].shape[1] != states[1].shape[1]
    for group in _batch.layout.groups:
        parts = [part[group.start : group.end] for part in states]
        if group.padded is not None:
            parts = [part.index_select(0, group.padded) for part in parts]
        # Padding stands after a row's last token: no token of the row sees it.
        query, key, value = (part.unflatten(0, (group.count, group.longest)).transpose(1, 2) for part in parts)
        mask = None
        if kind.window is not None and group.longest > kind.window:
            places = torch.arange(group.longest, device=device)
            distance = places[:, None] - places[None]
            mask = (distance >= 0) & (distance < kind.window)
        found = scaled_dot_product_attention(
            query, key, value, mask, kind.dropout, is_causal=mask is None, scale=kind.scale, enable_gqa=shared
        )
        found = found.transpose(1, 2).flatten(0, 1)
        outputs.append(found if group.back is None else found.index_select(0, group.back))
    return torch.cat(outputs)


_WAYS: dict[Way, Callable[[States, _Kind], torch.Tensor]] = {"flash": _flash, "flex": _flex, "grouped": _grouped}


def _attend(
    way: Way,
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each row; an attention function of transformers.

    Args:
        way: how.
        module: the attention layer.
        query: shape `[1, heads, tokens, size]`.
        key: shape `[1, key heads, tokens, size]`.
        value: like `key`.
        attention_mask: not used.
        dropout: of attention weights.
        scaling: of scores.
        sliding_window: tokens that a token sees, itself included.
        softcap: scores are kept below it.
        others: what the model passes besides.

    Returns:
        Outputs, shape `[1, tokens, heads, size]`, and no weights.

    Raises:
        NotImplementedError: the model's attention is of another kind.
    """
    if any(others.get(name) is not None for name in _UNKNOWN) or others.get("is_causal") is False:
        raise NotImplementedError("attention with sinks or a bias of its own")
    _batch.layout.attended += 1
    device, dtype = query.device.type, query.dtype
    if device == "cpu":  # there torch's attention takes six times as long backwards in bfloat16 as in float32
        dtype = torch.float32
    elif torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
    states = tuple(part[0].transpose(0, 1).to(dtype) for part in (query, key, value))
    with torch.autocast(device, enabled=False):
        found = _WAYS[way](states, _Kind(dropout, scaling, sliding_window, softcap))
    return found[None].to(value.dtype), None


def register() -> None:
    """Make the ways known to transformers."""
    from transformers import AttentionInterface

    for way, name in IMPLEMENTATIONS.items():
        AttentionInterface.register(name, partial(_attend, way))
