"""Finds out by which attention a model's rows can be packed, if at all.

It is not looked up but tried: recurrent layers, for one, carry a state across rows, and some models have an attention
of their own that nothing can be put in the place of. And of kernels it is tried what they can do, and do right.
"""

import copy
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from synth.engines.device import out_of_memory
from synth.training.attention import IMPLEMENTATIONS, Way, attended, lay_out, register
from synth.training.model import layers_of

_SHORT = (13, 11, 5)
_FIRST = 8
"""Layers that are tried at real lengths: local and global attention alternate within so many."""
NAMES: dict[Way, str] = {
    "flash": "FlashAttention",
    "flex": "FlexAttention",
    "grouped": "torch's attention, by rows of like length",
}
"""The ways for people."""


def choose_attention(
    model: Any, batches: Iterable[Sequence[int]] = (), place: torch.device | None = None, *, half: bool = False
) -> Way | None:
    """The fastest way to attend within packed rows that gives the model's own outputs; None where none does.

    The whole model is tried on three short rows of odd lengths, and its first layers on the device and on batches as
    they will come, for masks, windows and kernels show at their real lengths only. The model's attention is left as it
    was found.

    Args:
        model: of transformers.
        batches: the tokens of each row of a batch, longest row first.
        place: where it will train; the model's own device by default.
        half: whether it will compute in bfloat16 there.
    """
    from transformers.modeling_utils import PreTrainedModel

    if not isinstance(model, PreTrainedModel):
        return None
    register()
    batches, place = list(batches), place or model.device
    ways: list[Way] = ["flash", "flex", "grouped"] if place.type == "cuda" else ["grouped"]
    for way in ways:
        try:
            # FlashAttention has no kernels elsewhere; what torch's attention there cannot do, it cannot either.
            short: Way = "grouped" if way == "flash" and model.device.type != "cuda" else way
            if not _agrees(model, short, len(layers_of(model)), _SHORT):
                continue
            if not batches or _first_layers_agree(model, way, batches, place, half):
                return way
        except Exception as error:  # a model's own code, or a compiler, may raise anything
            if out_of_memory(error):  # raised once more in training, with advice
                return way
    return None


def _first_layers_agree(
    model: Any, way: Way, batches: Sequence[Sequence[int]], place: torch.device, half: bool
) -> bool:
    """Whether packing changes nothing that a model's first layers give out, on the device `place`."""
    layers = layers_of(model)
    count, rest = min(len(layers), _FIRST), list(layers[_FIRST:])
    del layers[_FIRST:]
    try:
        beginning = copy.deepcopy(model.base_model).to(place)
    finally:
        layers.extend(rest)
    with torch.autocast(place.type, torch.bfloat16, enabled=half and place.type == "cuda"):
        if not all(_agrees(beginning, way, count, sizes) for sizes in batches):
            return False
        return way == "grouped" or _trains(beginning, way, _SHORT)


def _agrees(model: Any, way: Way, layers: int, sizes: Sequence[int]) -> bool:
    """Whether the longest, the shortest and a middle row give the same among others as alone, in all `layers`."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            alone, among = _outputs(model, way, sizes)
    finally:
        model.train(training)
    if attended() < layers:
        return False  # a layer has an attention of its own, in which rows see each other
    return bool((among - alone).abs().max() <= _tolerance(model) * alone.abs().max())


def _trains(model: Any, way: Way, sizes: Sequence[int]) -> bool:
    """Whether a way can be trained with: as the model is in training, and with the gradients that rows give alone."""
    model.train()
    _outputs(model, way, sizes)  # raises where it drops attention weights and the way cannot
    model.eval()
    table = model.get_input_embeddings().weight.requires_grad_()
    alone, among = (torch.autograd.grad(part.square().mean(), table)[0] for part in _outputs(model, way, sizes))
    return bool((among - alone).norm() <= _tolerance(model) * alone.norm())


def _tolerance(model: Any) -> float:
    precise = model.dtype == torch.float32 and not torch.is_autocast_enabled(model.device.type)
    return 1e-3 if precise else 5e-2


def _outputs(model: Any, way: Way, sizes: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """What the longest, the shortest and a middle row give alone, and among others."""
    before, device = model.config._attn_implementation, model.device
    vocabulary = len(model.get_input_embeddings().weight)  # an adapter around them has no other measure
    ids = [torch.arange(7 * size, 8 * size, device=device)[None] * 31 % vocabulary for size in sizes]
    chosen = sorted({0, len(sizes) // 2, len(sizes) - 1})
    alone = torch.cat([model(input_ids=ids[row], use_cache=False)[0][0] for row in chosen])
    model.set_attn_implementation(IMPLEMENTATIONS[way])
    try:
        lay_out(list(sizes), device)
        positions = torch.cat([torch.arange(size, device=device) for size in sizes])[None]
        with _uncompiled():
            packed = model(input_ids=torch.cat(ids, 1), position_ids=positions, use_cache=False)[0][0]
    finally:
        model.set_attn_implementation(before)
    rows = packed.split(list(sizes))
    return alone.float(), torch.cat([rows[row] for row in chosen]).float()


@contextmanager
def _uncompiled() -> Iterator[None]:
    """FlexAttention warns that it is slow where it is not compiled, as in a trial on a CPU."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "flex_attention called without torch.compile")
        yield
