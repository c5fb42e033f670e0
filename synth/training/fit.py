"""Whether a training fits into the memory of the device that is there, and what would make it fit."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from synth.engines.device import pick_device, pick_dtype
from synth.engines.loading import attention_of, load_config
from synth.engines.open import choose_engine, engine_entry
from synth.errors import UsageError
from synth.methods.drawing import Drawing
from synth.training.memory import Memory, Setup, Shape, memory, ways_to_fit
from synth.training.method import MethodSettings
from synth.training.settings import TrainedParts, TrainingSettings

_SPARE = 0.05
"""Share of a GPU's memory that is left to CUDA itself, and lost between blocks."""
_SLACK = 1.25
"""Of the cache that rows are drawn with, which grows by a quarter at once."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What a training takes, and what there is.

    Attributes:
        taken: on each device.
        device: what it is called.
        there: bytes that it has.
        fits: whether it is enough.
        ways: settings that would make it fit, where it does not and they do.
        then: what it would take with these.
    """

    taken: Memory
    device: str
    there: int
    fits: bool
    ways: tuple[str, ...] = ()
    then: Memory | None = None

    @property
    def advice(self) -> str:
        """What would make it fit, in a sentence; empty where it fits, or nothing would."""
        return f"It fits with {' and '.join(self.ways)}: {gib(self.then.total)}" if self.then else ""

    def __str__(self) -> str:
        """What it takes, in a line."""
        beside = ", and for the model beside it" if self.taken.reference else ""
        beside += f", {gib(self.taken.drawing)} of them for drawing replay" if self.taken.drawing else ""
        rest = gib(self.taken.logits + self.taken.activations)
        return (
            f"{gib(self.taken.states)} for weights, gradients and optimiser{beside}, up to {rest} for activations and "
            f"logits; {self.device} has {gib(self.there)}"
        )


def fit(shape: Shape, setup: Setup, device: str) -> Fit:
    """Whether a training fits on a device.

    Args:
        shape: of the model.
        setup: of the training.
        device: as for `pick_device`.
    """
    place = pick_device(device)
    there = _memory_of(place)
    room = (1 - _SPARE) * there if place.type == "cuda" else there
    taken = memory(shape, setup)
    if taken.total <= room:
        return Fit(taken, str(place), there, True)
    ways = ways_to_fit(shape, setup, room)
    return Fit(taken, str(place), there, False, *((tuple(ways[0]), ways[1]) if ways else ()))


def _memory_of(place: torch.device) -> int:
    """Bytes that a device has, or the machine where it has none of its own."""
    if place.type == "cuda":
        return int(torch.cuda.get_device_properties(place).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def memory_to_draw(drawing: Drawing | None, shape: Shape, device: str) -> float:
    """Bytes that the process takes that draws fresh replay: the model before training, and a cache for its rows.

    vLLM takes its whole share of a GPU. Nothing is taken where none draws, or a server does.

    Args:
        drawing: what is drawn, if anything is.
        shape: of the model.
        device: as for `pick_device`.

    Raises:
        UsageError: the model alone is larger than that share.
    """
    entry = engine_entry(choose_engine(drawing.engine)[0]) if drawing else None
    if drawing is None or entry is None or not entry.here:
        return 0.0
    place = pick_device(device)
    dtype = pick_dtype(drawing.options.dtype, place)
    own = load_config(drawing.model).dtype or torch.float32
    wide = (own if isinstance(dtype, str) else dtype).itemsize
    cached = drawing.options.concurrency * drawing.settings.length * shape.layers * 2 * shape.keys
    if place.type != "cuda" or not drawing.options.gpu_memory:
        return float(wide * (shape.weights + _SLACK * cached))
    share = drawing.options.gpu_memory * _memory_of(place)
    if wide * shape.weights >= share:
        raise UsageError(
            f"`replay` fresh: what draws may take {gib(share)} of {place}, and the model alone takes "
            f"{gib(wide * shape.weights)}: have a server draw (`replay_engine` its address), or give rows that "
            "`synth sample` has drawn as `replay`"
        )
    return share if entry.reserves_memory else min(share, wide * (shape.weights + _SLACK * cached))


def check_states(name: str, fitted: Fit) -> None:
    """Refuse a model whose weights, gradients and optimiser alone cannot fit, before it is loaded.

    Raises:
        UsageError: they cannot.
    """
    if fitted.taken.states > fitted.there:
        raise UsageError(f"{name} does not fit: {fitted}. {fitted.advice}".rstrip(". "))


def advice_after_failure(shape: Shape, setup: Setup) -> str:
    """What to change once memory ran out, whatever the sum had said: settings by which a fifth less is taken."""
    ways = ways_to_fit(shape, setup, 0.8 * memory(shape, setup).total)
    if ways is None:
        return "lower `tokens_per_batch`, or take a larger device"
    return f"a fifth less is taken with {' and '.join(ways[0])}"


def setup_of(
    settings: TrainingSettings,
    trained: TrainedParts,
    method: MethodSettings | None = None,
    *,
    adapter: int,
    longest: int,
    device: str,
    shards: int = 1,
    replicas: int = 1,
    teacher: int = 0,
    drawing: float = 0.0,
    evaluates: bool = False,
) -> Setup:
    """What the memory of a training depends on.

    Args:
        settings: how it is trained.
        trained: what of it.
        method: how, where it is none of the losses over tokens.
        adapter: weights of the adapter, where one is trained.
        longest: tokens of the longest row.
        device: as for `pick_device`.
        shards: processes that share the model.
        replicas: processes that each hold all of it.
        teacher: weights of a teacher, where there is one.
        drawing: bytes of the process that draws fresh replay.
        evaluates: whether the model is measured meanwhile.
    """
    return Setup(
        tokens=max(settings.tokens_per_batch, longest, settings.replay.tokens_per_batch if settings.replay else 0),
        longest=longest,
        half=in_bfloat16(settings, pick_device(device)),
        weights=settings.weights,
        optimizer=settings.optimizer,
        adapter=adapter,
        quantised=trained.quantise is not None,
        checkpointing=settings.gradient_checkpointing,
        # Of a method that learns from pairs it is computed before the first step.
        reference=settings.holds_reference or (method is not None and method.holds_reference),
        teacher=teacher,
        drawing=drawing,
        shards=shards,
        replicas=replicas,
        losses=(*settings.divergences, "nll and kl" if settings.kl_coef else "nll"),
        whole_logits=method is not None and method.method == "simpo",
        fixed=frozenset(_fixed(settings, trained, method, shards > 1, evaluates=evaluates)),
    )


def _fixed(
    settings: TrainingSettings, trained: TrainedParts, method: MethodSettings | None, shared: bool, *, evaluates: bool
) -> Iterator[str]:
    """Settings that are refused beside these (`MethodSettings.check`, `TrainingJob.refuse_early`)."""
    if method is not None:
        yield from ("reference_top_k", "weights", "optimizer", "quantise", "shards")
    if settings.dtype == "float32":
        yield "weights"
    if shared:
        yield from ("optimizer", "quantise")
    if evaluates or trained.quantise or settings.optimizer == "adamw-8bit":
        yield "shards"
    if replay := settings.replay:
        if replay.length is not None:
            yield "reference_top_k"
        if replay.length is not None or 4 * replay.tokens_per_batch > settings.tokens_per_batch:
            yield "tokens_per_batch"  # rows of replay might not fit into its batches any more


def in_bfloat16(settings: TrainingSettings, place: torch.device) -> bool:
    """Whether a training computes in bfloat16: where that is asked for, or left open and the GPU can."""
    if "bfloat16" in (settings.dtype, settings.weights):
        return True
    return settings.dtype == "auto" and place.type == "cuda" and torch.cuda.is_bf16_supported()


def shape_of(model: Any) -> Shape:
    """What of a model its memory depends on; weights are not looked at, and may be on torch's `meta` device."""
    config = model.config.get_text_config()

    def number(*names: str) -> int:
        """The first of these settings that there is; of one for each layer, the largest."""
        for name in names:
            if value := getattr(config, name, None):
                return int(max(value) if isinstance(value, list | tuple) else value)
        return 0

    tables = {id(table.weight) for table in (model.get_input_embeddings(), model.get_output_embeddings()) if table}
    parameters = list(model.parameters())
    hidden = number("hidden_size")
    heads = number("num_attention_heads") or 1
    size = number("head_dim") or hidden // heads
    experts = number("num_experts_per_tok")
    return Shape(
        weights=sum(parameter.numel() for parameter in parameters),
        linear=sum(one.numel() for one in parameters if one.ndim == 2 and id(one) not in tables),
        learnt=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        layers=number("num_hidden_layers"),
        hidden=hidden,
        queries=heads * size,
        keys=(number("num_key_value_heads") or heads) * size,
        heads=heads,
        mlp=max(experts, 1) * number(*["moe_intermediate_size"] * bool(experts), "intermediate_size", "n_inner")
        or 4 * hidden,
        vocabulary=number("vocab_size"),
        attends_whole=attention_of(model.config) == "eager",
    )


def gib(count: float) -> str:
    """A number of bytes in MiB or GiB."""
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 else f"{count / 2**20:,.0f} MiB"
