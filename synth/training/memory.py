"""How much memory a training takes: a sum over the model's shapes and the settings, before anything is loaded.

What is held between the forward and the backward pass was counted in transformers' own layers, tensor by tensor; a test
counts again. Of one layer, in bytes a token, with h the hidden size, q and k the widths of queries and of keys, m that
of the MLP (of the experts that a token goes through):

                                              hidden states     attention    MLP
    float32                                        24 h         8 q + 8 k    16 m
    float32 weights, computed in bfloat16          26 h         4 q + 4 k     8 m
    bfloat16 weights                               16 h         4 q + 4 k     8 m
    an adapter in float32                          16 h         8 q + 8 k    16 m
    an adapter, the rest in bfloat16               18 h         6 q + 4 k     8 m

With activation checkpointing only a layer's input is held, and what one layer takes, while it is computed once more.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Literal

from synth.training.head import CHUNK_LOGITS

_MOMENTS = {"float32": 8.0, "bfloat16": 4.0}
_MOMENTS_IN_8_BITS = 2 * (1 + 4 / 256)
"""Bytes a weight: a code each, and a scale for 256."""
_IN_4_BITS = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes a weight: a code, a scale of a byte for 64 (double quantisation), and one of float32 for 256 of these."""
_HELD = {  # (whole or an adapter, computed in bfloat16, weights in bfloat16): bytes of h, q, k, m
    (False, False, False): (24, 8, 8, 16),
    (False, True, False): (26, 4, 4, 8),
    (False, True, True): (16, 4, 4, 8),
    (True, False, False): (16, 8, 8, 16),
    (True, True, True): (18, 6, 4, 8),
}

_A_LOGIT = {  # computed in float32, in bfloat16
    "nll": (16, 14),
    "kl": (28, 24),
    "reverse-kl": (28, 24),
    "js": (36, 34),
    "nll and kl": (32, 28),
}
"""Bytes that a loss takes of each logit, with its gradient and the logits of a reference; a test counts again."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a model its memory depends on.

    Attributes:
        weights: how many there are.
        linear: those of them in the layers' matrices, which can be quantised.
        learnt: those that are trained, where no adapter is.
        layers: how many.
        hidden: width of hidden states.
        queries: width of the queries of all heads.
        keys: width of the keys of all their heads.
        heads: of queries.
        mlp: width of the MLP; of mixtures, of the experts that a token goes through.
        vocabulary: tokens that it knows.
        attends_whole: whether attention holds its weights, rows × rows, as it must be eager.
    """

    weights: int
    linear: int
    learnt: int
    layers: int
    hidden: int
    queries: int
    keys: int
    heads: int
    mlp: int
    vocabulary: int
    attends_whole: bool = False

    def adapter(self, rank: int) -> int:
        """Weights of low-rank adapters on all matrices of the layers."""
        inner = 2 * (self.hidden + self.queries) + 2 * (self.hidden + self.keys) + 3 * (self.hidden + self.mlp)
        return self.layers * rank * inner


@dataclass(frozen=True, slots=True)
class Setup:
    """What of a training its memory depends on.

    Attributes:
        tokens: of a batch.
        longest: tokens of the longest row.
        half: whether it computes in bfloat16.
        weights: the format of weights that are trained.
        optimizer: AdamW, or with moments in 8 bits.
        adapter: weights of the adapter; 0 where the model itself is trained.
        quantised: whether the rest is held in 4 bits.
        checkpointing: whether activations are computed again in the backward pass.
        reference: whether the model before training is held, too.
        teacher: weights of another model that is held beside it, whole on every device.
        drawing: bytes of the process that draws fresh replay on the same device.
        shards: processes that share the model (FSDP).
        replicas: processes that each hold all of it (DDP).
        losses: on tokens, by their names in `_A_LOGIT`.
        whole_logits: whether a batch has all of its logits at once.
        fixed: settings (`Change.setting`) that are refused beside others that were given.
    """

    tokens: int
    longest: int
    half: bool
    weights: Literal["float32", "bfloat16"] = "float32"
    optimizer: Literal["adamw", "adamw-8bit"] = "adamw"
    adapter: int = 0
    quantised: bool = False
    checkpointing: bool = False
    reference: bool = False
    teacher: int = 0
    drawing: float = 0.0
    shards: int = 1
    replicas: int = 1
    losses: tuple[str, ...] = ("nll",)
    whole_logits: bool = False
    fixed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that a training takes on one device, at most.

    Attributes:
        weights: of the model and the adapter, with the copies that they are computed in.
        gradients: of what is trained.
        optimiser: AdamW's two moments.
        reference: the model before training, and a teacher; each whole on every device.
        drawing: what the process takes that draws fresh replay beside.
        logits: of as many tokens as have theirs at once, what a loss makes of them, and gradients of the head that are
            not yet added to the others.
        activations: what the backward pass needs.
    """

    weights: float
    gradients: float
    optimiser: float
    reference: float
    drawing: float
    logits: float
    activations: float

    @property
    def states(self) -> float:
        """What does not depend on the batch."""
        return self.weights + self.gradients + self.optimiser + self.reference + self.drawing

    @property
    def total(self) -> float:
        """All of it."""
        return self.states + self.logits + self.activations


def memory(shape: Shape, setup: Setup) -> Memory:
    """How much memory a training takes."""
    learnt = setup.adapter or shape.learnt
    wide = 2 if setup.weights == "bfloat16" else 4
    moments = _MOMENTS_IN_8_BITS if setup.optimizer == "adamw-8bit" else _MOMENTS[setup.weights]
    computed = 2 if setup.half else 4
    return Memory(
        weights=_weights(shape, setup),
        gradients=wide * learnt / setup.shards * (2 if setup.replicas > 1 else 1),  # DDP's buckets are a second copy
        optimiser=moments * learnt / setup.shards,
        reference=computed * ((shape.weights if setup.reference and not setup.adapter else 0) + setup.teacher),
        drawing=setup.drawing,
        logits=_logits(shape, setup),
        activations=_activations(shape, setup),
    )


def _logits(shape: Shape, setup: Setup) -> float:
    """Bytes of the logits that exist at once, of a loss on them, and of its gradients."""
    there = setup.tokens * shape.vocabulary
    used = there if setup.whole_logits else min(CHUNK_LOGITS["accelerator"], there)
    taken = used * max(_A_LOGIT[loss][setup.half] for loss in setup.losses)
    if setup.adapter:
        return taken
    # The head's gradient of a chunk, and in float32 the sum of those before, of which there are none where all is one.
    wide = 2 if setup.weights == "bfloat16" else 4
    return taken + shape.vocabulary * shape.hidden * (wide + (4 if used < there else 0))


def _weights(shape: Shape, setup: Setup) -> float:
    """Bytes of the weights, and of what is made of them to compute with."""
    computed, copies = 2 if setup.half else 4, 0.0
    table = shape.vocabulary * shape.hidden
    if setup.adapter:
        held = computed * (shape.weights - shape.linear) + (_IN_4_BITS if setup.quantised else computed) * shape.linear
        held += 4 * setup.adapter
        if setup.quantised:  # a matrix is brought back from its 4 bits while it is used
            copies = computed * shape.hidden * shape.mlp
    else:
        held = (2 if setup.weights == "bfloat16" else 4) * shape.weights
        if setup.half and setup.weights == "float32":  # autocast keeps its copies until the forward pass ends
            copies = 2 * (shape.linear + table)
    if setup.shards > 1:  # the tables and two layers are whole while they are used
        copies = computed * (shape.weights - shape.linear + 2 * shape.linear / shape.layers)
    return held / setup.shards + copies


def _activations(shape: Shape, setup: Setup) -> float:
    """Bytes that are held for the backward pass, and what passes through one MLP in it."""
    in_bfloat16 = setup.weights == "bfloat16" or (bool(setup.adapter) and setup.half)
    of_hidden, of_queries, of_keys, of_mlp = _HELD[bool(setup.adapter), setup.half, in_bfloat16]
    layer = of_hidden * shape.hidden + of_queries * shape.queries + of_keys * shape.keys + of_mlp * shape.mlp
    computed = 2 if setup.half else 4
    if shape.attends_whole:  # scores, their softmax in float32 and as it is used
        layer += shape.heads * setup.longest * (2 * computed + 4)
    between = (2 if in_bfloat16 else 4) * shape.hidden
    held = shape.layers * between + layer if setup.checkpointing else shape.layers * layer
    passing = computed * (2 * shape.mlp + 2 * shape.hidden)
    if setup.adapter and setup.half:
        passing += 4 * shape.mlp  # peft brings what goes into an adapter to float32
    return setup.tokens * (held + passing)


@dataclass(frozen=True, slots=True)
class Change:
    """A setting that takes less memory.

    Attributes:
        setting: which it is; "shards" are more devices.
        name: what to do, for a person.
        made: a training with it.
        instead_of: settings that are refused beside it, or are none of its training any more.
    """

    setting: str
    name: str
    made: Callable[[Setup], Setup]
    instead_of: tuple[str, ...] = ()


def ways_to_fit(shape: Shape, setup: Setup, room: float) -> tuple[list[str], Memory] | None:
    """Settings that would make a training fit into `room` bytes, and what it would take then; None where none do.

    They are added in the order of what they lose, until it fits; then those that it fits without are left out again.
    """

    def taken(chosen: list[Change]) -> Memory:
        return memory(shape, reduce(lambda made, change: change.made(made), chosen, setup))

    chosen: list[Change] = []
    for change in _changes(shape, setup):
        if change.setting in setup.fixed:
            continue
        with_it = [*(one for one in chosen if one.setting not in change.instead_of), change]
        if taken(with_it).total >= taken(chosen).total:
            continue
        chosen = with_it
        if taken(chosen).total <= room:
            for other in chosen[-2::-1]:
                without = [one for one in chosen if one is not other]
                if taken(without).total <= room:
                    chosen = without
            return [change.name for change in chosen], taken(chosen)
    return None


def _changes(shape: Shape, setup: Setup) -> Iterator[Change]:
    """What takes less memory: first what costs time alone, then what rounds, then what trains less, then more GPUs."""
    yield Change("gradient_checkpointing", "`gradient_checkpointing`", partial(replace, checkpointing=True))
    for parts in (2, 4):
        tokens = setup.tokens // parts
        if tokens >= setup.longest:
            name = f"`tokens_per_batch` {tokens:,} with {parts} times the `gradient_accumulation_steps`"
            yield Change("tokens_per_batch", name, partial(replace, tokens=tokens), ("tokens_per_batch",))
    if not setup.adapter:
        if setup.reference:
            yield Change("reference_top_k", "`reference_top_k` 64", partial(replace, reference=False))
        yield Change("optimizer", "`optimizer` adamw-8bit", partial(replace, optimizer="adamw-8bit"))
        yield Change("weights", "`weights` bfloat16", partial(replace, weights="bfloat16", half=True))
    if setup.drawing:
        yield Change("replay_engine", "`replay_engine` at the address of a server", partial(replace, drawing=0.0))
    if not setup.adapter:
        lora = "`lora` 16"
        if setup.weights == "bfloat16":
            lora += " with `dtype` bfloat16 in place of `weights` bfloat16"
        adapted = partial(replace, adapter=shape.adapter(16), weights="float32")
        yield Change("lora", lora, adapted, ("weights", "optimizer", "reference_top_k"))
    yield Change("quantise", "`quantise` 4bit", lambda now: replace(now, quantised=bool(now.adapter)))
    for shards in (2, 4, 8, 16, 32, 64):
        if shards > setup.shards:
            name = f"{shards} such devices (accelerate launch --use_fsdp)"
            yield Change(
                "shards", name, partial(replace, shards=shards, replicas=1), ("shards", "optimizer", "quantise")
            )
