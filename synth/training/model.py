"""Loads the model that is trained, and selects what is trained: all of it, some parts, or an adapter."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from synth.engines.base import EngineOptions
from synth.engines.hf.engine import load_model
from synth.engines.hf.forward import alike
from synth.engines.loading import load_causal_model, outline
from synth.errors import UsageError
from synth.quiet import quiet_libraries
from synth.training.fit import shape_of
from synth.training.memory import Shape
from synth.training.settings import UNMERGED, TrainedParts

_PARTS = {"attention": re.compile(r"attn|attention"), "mlp": re.compile(r"mlp|feed_?forward|ffn|experts|moe")}


def load_for_training(name: str, dtype: str, trained: TrainedParts, place: torch.device | None = None) -> Any:
    """Load a model and make the chosen parts of it trainable.

    Args:
        name: a directory or a Hub id.
        dtype: of the weights: "float32", or "bfloat16" where they are frozen and an adapter is trained.
        trained: what is trained.
        place: where it is quantised, if it is.

    Returns:
        A model of transformers, or one of peft around it; on the CPU, unless it is quantised.

    Raises:
        UsageError: it cannot be loaded, nothing of it would be trained, or peft refuses it.
    """
    if trained.quantise:
        model = load_causal_model(name, getattr(torch, dtype), in_4_bits_on=place)
        for module in model.modules():  # on a CPU, what has been packed for inference once has no gradient ever after
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = False
    else:
        model = load_model(name, EngineOptions(device="cpu", dtype=dtype))
    model.config.use_cache = False
    _hold_back(model, trained)
    if not trained.adapts:
        return model
    try:
        return _adapted(model, trained)
    except TypeError as error:
        raise _refused(error) from error


def _adapted(model: Any, trained: TrainedParts) -> Any:
    """The model with an adapter around it.

    Raises:
        UsageError: the configuration is none, or does not suit the model: modules that it names are not there, for one.
        TypeError: nor does it suit it, or the type of its weights.
    """
    import peft

    config = trained.adapter()
    try:
        adapted = peft.get_peft_model(model, config)
    except ValueError as error:
        raise _refused(error) from error
    if not hasattr(adapted.base_model, "merge_and_unload"):
        raise UsageError(UNMERGED.format(method=adapted.active_peft_config.peft_type.value))
    return adapted


def check_adapter_off(adapted: Any) -> None:
    """Test that a fresh adapter switched off leaves the model before training, with which a loss is to compare.

    Some ways to begin an adapter (PiSSA, OLoRA) take out of the weights below it what they put into the adapter.

    Raises:
        UsageError: it does not.
    """
    ids = torch.arange(1, 9)[None] * 31 % adapted.get_base_model().config.get_text_config().vocab_size
    training = adapted.training
    adapted.eval()
    with torch.no_grad():
        whole = adapted(input_ids=ids, use_cache=False).logits
        with adapted.disable_adapter():
            off = adapted(input_ids=ids, use_cache=False).logits
    adapted.train(training)
    if not alike(off, whole, off.dtype):
        raise UsageError(
            "`peft`: the adapter begins as a part of the model's own weights, so that without it there is no model "
            "before training, with which the loss is to compare: leave `init_lora_weights` out of the file"
        )


def _refused(error: Exception) -> UsageError:
    return UsageError(f"`peft` refuses this model or configuration: {' '.join(str(error).split())}")


@dataclass(frozen=True, slots=True)
class Size:
    """How large a model is, and the adapter that is trained.

    Attributes:
        shape: of the model.
        adapter: weights of the adapter; 0 where the model itself is trained.
        teacher: weights of another model that it is trained by; 0 where there is none.
    """

    shape: Shape
    adapter: int
    teacher: int = 0


@quiet_libraries()
def measure(name: str, trained: TrainedParts, teacher: str | None = None) -> Size:
    """Count the weights of a model and check that the chosen parts can be trained, before it is loaded.

    Raises:
        UsageError: as for `load_for_training`.
    """
    model = outline(name)
    _hold_back(model, trained)
    shape = shape_of(model)  # before an adapter is put into it
    adapter = _adapter_size(model, trained) if trained.adapts else 0
    return Size(shape, adapter, shape_of(outline(teacher)).weights if teacher else 0)


def _learnt(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _adapter_size(model: Any, trained: TrainedParts) -> int:
    """How many weights an adapter has, made around a model without any; 1 where peft needs them to make one.

    Raises:
        UsageError: as for `_adapted`.
    """
    try:
        with torch.device("meta"):
            return _learnt(_adapted(model, trained))
    except (TypeError, RuntimeError, NotImplementedError):  # as the weights are not there
        return 1


def _hold_back(model: Any, trained: TrainedParts) -> None:
    """Freeze parts of a model, and drop shares of its outputs in training, as is asked for."""
    for part in trained.freeze:
        _freeze(model, part)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UsageError(f"`freeze` {' `freeze` '.join(trained.freeze)} leaves nothing to train")
    if trained.dropout:
        _drop_residuals(model, trained.dropout)


def _freeze(model: Any, part: str) -> None:
    if part == "embeddings":
        tables = {id(table.weight) for table in (model.get_input_embeddings(), model.get_output_embeddings()) if table}
        chosen = [parameter for parameter in model.parameters() if id(parameter) in tables]
    elif part in _PARTS:
        chosen = [parameter for name, parameter in model.named_parameters() if _PARTS[part].search(name)]
    elif span := re.fullmatch(r"layers:(\d+)-(\d+)", part):
        layers = layers_of(model)
        first, last = int(span[1]), int(span[2])
        if not first <= last < len(layers):
            raise UsageError(f"`freeze` {part}: the model has the layers 0-{len(layers) - 1}")
        chosen = [parameter for layer in layers[first : last + 1] for parameter in layer.parameters()]
    else:
        raise UsageError(f"`freeze` {part} is unknown; take embeddings, attention, mlp or layers:FIRST-LAST")
    if not chosen:
        there = sorted({re.sub(r"\.\d+\.", ".N.", name) for name, _ in model.named_parameters()})
        raise UsageError(f"`freeze` {part}: {type(model).__name__} has no such part; it has {', '.join(there)}")
    for parameter in chosen:
        parameter.requires_grad_(False)


def layers_of(model: Any) -> Any:
    """The list of a model's layers.

    Raises:
        UsageError: none is found.
    """
    depth = model.config.get_text_config().num_hidden_layers
    lists = [part for part in model.modules() if isinstance(part, torch.nn.ModuleList) and len(part) == depth]
    if not lists:
        raise UsageError(f"no list of {depth} layers is found in {type(model).__name__}")
    return lists[0]


def _drop_residuals(model: Any, share: float) -> None:
    """Drop a share of what each attention and MLP block adds, while the model is in training mode."""

    def drop(module: torch.nn.Module, _: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (torch.nn.functional.dropout(output[0], share, module.training), *output[1:])
        return torch.nn.functional.dropout(output, share, module.training)

    blocks = list(_blocks(model))
    if not blocks:
        raise UsageError(f"`dropout`: no attention or MLP blocks are found in {type(model).__name__}")
    for block in blocks:
        block.register_forward_hook(drop)


def _blocks(model: Any) -> Iterator[torch.nn.Module]:
    """The direct children of the layers that are attention or MLP blocks."""
    for layer in layers_of(model):
        for name, child in layer.named_children():
            if any(part.search(name) for part in _PARTS.values()) and "norm" not in name:
                yield child
