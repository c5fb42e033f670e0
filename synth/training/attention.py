"""Attention over rows laid end to end, each row for itself.

Rows of like length are attended to together, a group at a time, by torch's own attention: the cost grows with the rows'
own lengths, where a mask over the whole packed sequence would cost its square. Whether a model may be packed at all is
not looked up but tried (`can_pack`): recurrent layers, for one, carry a state across rows, and some models have an
attention of their own that nothing can be put in the place of.
"""

import copy
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from synth.engines.device import out_of_memory
from synth.errors import UsageError
from synth.training.model import layers_of

PACKED = "synth_packed"
_SHORT = (13, 11, 5)
_FIRST = 8
"""Layers that are tried at real lengths: local and global attention alternate within so many."""
_UNKNOWN = ("softcap", "s_aux", "position_bias", "cache")
"""Arguments that change what attention is, and that this one does not know."""


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


@dataclass(slots=True)
class _Layout:
    groups: list[_Group] = field(default_factory=list)
    attended: int = 0
    """Layers that have attended by `packed_attention` since the batch was laid out."""


_layout = _Layout()
"""The layout of the batch in the model. One model trains at a time in a process, and the layout must still be there
when activations are computed once more in the backward pass."""


def lay_out(lengths: list[int], device: torch.device) -> None:
    """Set the layout of the next packed batch: the tokens of each row, longest row first."""
    groups: list[_Group] = []
    at = first = 0
    while first < len(lengths):
        longest, last = lengths[first], first
        while last < len(lengths) and 4 * lengths[last] > 3 * longest:
            last += 1
        members = torch.tensor(lengths[first:last])
        count, total = last - first, int(members.sum())
        padded = back = None
        if total != count * longest:
            starts = members.cumsum(0) - members
            place = torch.arange(longest)[None]
            real = place < members[:, None]
            padded = torch.where(real, starts[:, None] + place, starts[:, None]).flatten().to(device)
            back = real.flatten().nonzero().flatten().to(device)
        groups.append(_Group(at, at + total, count, longest, padded, back))
        at, first = at + total, last
    _layout.groups, _layout.attended = groups, 0


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each row; an attention function of transformers.

    Args:
        module: the attention layer.
        query: shape `[1, heads, tokens, size]`.
        key: shape `[1, key heads, tokens, size]`.
        value: like `key`.
        attention_mask: not used.
        dropout: of attention weights.
        scaling: of scores.
        sliding_window: tokens that a token sees, itself included.
        others: what the model passes besides.

    Returns:
        Outputs, shape `[1, tokens, heads, size]`, and no weights.

    Raises:
        NotImplementedError: the model's attention is of another kind.
    """
    if any(others.get(name) is not None for name in _UNKNOWN) or others.get("is_causal") is False:
        raise NotImplementedError("attention with a cap, sinks or a bias of its own")
    _layout.attended += 1
    grouped = key.shape[1] != query.shape[1]
    # On a CPU torch's attention takes six times as long backwards in bfloat16 as in float32.
    on_cpu = query.device.type == "cpu"
    dtype = torch.float32 if on_cpu else query.dtype
    heads = [states[0].transpose(0, 1).to(dtype) for states in (query, key, value)]  # [tokens, heads, size]
    outputs = []
    for group in _layout.groups:
        states = [part[group.start : group.end] for part in heads]
        if group.padded is not None:
            states = [part.index_select(0, group.padded) for part in states]
        # Padding stands after a row's last token: no token of the row sees it.
        q, k, v = (part.unflatten(0, (group.count, group.longest)).transpose(1, 2) for part in states)
        mask = None
        if sliding_window is not None and group.longest > sliding_window:
            places = torch.arange(group.longest, device=query.device)
            distance = places[:, None] - places[None]
            mask = (distance >= 0) & (distance < sliding_window)
        with torch.autocast("cpu", enabled=False) if on_cpu else nullcontext():
            found = scaled_dot_product_attention(
                q, k, v, mask, dropout, is_causal=mask is None, scale=scaling, enable_gqa=grouped
            )
        found = found.transpose(1, 2).flatten(0, 1)
        outputs.append(found if group.back is None else found.index_select(0, group.back))
    return torch.cat(outputs)[None].to(query.dtype), None


def register() -> None:
    """Make `PACKED` known to transformers; it needs no mask."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(PACKED, packed_attention)
    AttentionMaskInterface.register(PACKED, lambda *_, **__: None)


def can_pack(model: Any, batches: Iterable[Sequence[int]] = (), place: torch.device | None = None) -> bool:
    """Test whether rows packed by `PACKED` give the model's own outputs.

    The whole model is tried on three short rows of odd lengths, and its first layers on batches as they will come, for
    masks and windows show at their real lengths only. The model's attention is left as it was found.

    Args:
        model: of transformers.
        batches: the tokens of each row of a batch, longest row first.
        place: where the first layers are tried; the model's own device by default.
    """
    from transformers.modeling_utils import PreTrainedModel

    if not isinstance(model, PreTrainedModel):
        return False
    register()
    try:
        if not _agrees(model, len(layers_of(model)), _SHORT):
            return False
        batches = list(batches)
        return not batches or _first_layers_agree(model, batches, place or model.device)
    except (UsageError, NotImplementedError, TypeError, ValueError, RuntimeError, LookupError) as error:
        return out_of_memory(error)  # the error is raised in training, with advice


def _first_layers_agree(model: Any, batches: Iterable[Sequence[int]], place: torch.device) -> bool:
    """Whether packing changes nothing that a model's first layers give out, on the device `place`."""
    layers = layers_of(model)
    count, rest = min(len(layers), _FIRST), list(layers[_FIRST:])
    del layers[_FIRST:]
    try:
        beginning = copy.deepcopy(model.base_model).to(place)
    finally:
        layers.extend(rest)
    return all(_agrees(beginning, count, sizes) for sizes in batches)


def _agrees(model: Any, layers: int, sizes: Sequence[int]) -> bool:
    """Whether the longest, the shortest and a middle row give the same among others as alone, in all `layers`."""
    before, device, training = model.config._attn_implementation, model.device, model.training
    vocabulary = len(model.get_input_embeddings().weight)  # an adapter around them has no other measure
    ids = [torch.arange(7 * size, 8 * size, device=device)[None] * 31 % vocabulary for size in sizes]
    chosen = sorted({0, len(sizes) // 2, len(sizes) - 1})
    model.eval()
    try:
        with torch.no_grad():
            alone = torch.cat([model(input_ids=ids[row], use_cache=False)[0][0] for row in chosen]).float()
            model.set_attn_implementation(PACKED)
            lay_out(list(sizes), device)
            positions = torch.cat([torch.arange(size, device=device) for size in sizes])[None]
            packed = model(input_ids=torch.cat(ids, 1), position_ids=positions, use_cache=False)[0][0].split(
                list(sizes)
            )
    finally:
        model.set_attn_implementation(before)
        model.train(training)
    if _layout.attended < layers:
        return False  # a layer has an attention of its own, in which rows see each other
    among = torch.cat([packed[row] for row in chosen]).float()
    precise = model.dtype == torch.float32
    return bool((among - alone).abs().max() <= (1e-3 if precise else 5e-2) * alone.abs().max())
