"""The settings of a training, which are known before anything is loaded."""

import json
from dataclasses import asdict, dataclass
from typing import Any, get_args

from synth.data.store.path import path_at
from synth.errors import UsageError
from synth.small_text import read_small
from synth.values import (
    OptimizerName,
    OverlongTrained,
    Quantised,
    ReplayLoss,
    ReplayPositions,
    Schedule,
    TokenLoss,
    TrainedWeights,
    TrainingDType,
    TrainOn,
)

UNMERGED = (
    "`peft`: the parameters of {method} cannot be merged into the weights, which is how an adapted "
    "model is saved here; take another method, such as LORA, LOHA, OFT, VERA or IA3"
)


_YOUNGER = ("loss", "reference_top_k", "weights", "optimizer")
"""Settings that trainings of earlier releases have no record of. These were as the defaults say, and go on."""


DRAWS = "transformers"
"""The engine that draws fresh replay where none is named."""


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """How replay is an objective of its own, beside the task's (arXiv 2605.26097).

    Attributes:
        tokens_per_batch: of a batch of replay on one device; each batch of the task is followed by one.
        sources: of the rows that are replay, where these lie among the task's; empty where they are a set apart.
        weight: of the loss on replay, which is a mean over its own tokens.
        loss: "nll" of the replay's tokens, or a divergence from the reference model, with no NLL on them: "kl",
            KL(reference ‖ model), "reverse-kl" or "js".
        positions: the tokens it is taken on: "every" one but a row's first, or those that are "trained" on; None is
            every one for a divergence, the trained ones for NLL.
        length: tokens of a row, where rows are drawn while the model is trained (`synth.training.fresh`), on every
            token of which it is taken; None where they are read.
        engine: what draws them.

    Raises:
        UsageError: a value is out of its range.
    """

    tokens_per_batch: int
    sources: tuple[str, ...] = ()
    weight: float = 1.0
    loss: ReplayLoss = "nll"
    positions: ReplayPositions | None = None
    length: int | None = None
    engine: str = DRAWS

    def __post_init__(self) -> None:
        _require(self.tokens_per_batch >= 2, "replay_tokens_per_batch", self.tokens_per_batch, "2 or more")
        _require(self.weight >= 0, "replay_weight", self.weight, "0 or more")
        _choose("replay_loss", self.loss, ReplayLoss)
        if self.positions is not None:
            _choose("replay_positions", self.positions, ReplayPositions)
        if self.length is not None and self.length > self.tokens_per_batch:
            raise UsageError(
                f"`replay_length` {self.length:,}: a batch of replay holds {self.tokens_per_batch:,} tokens; raise "
                "`replay_tokens_per_batch`"
            )
        if self.length is not None and self.positions == "trained":
            raise UsageError("`replay_positions` trained: every token of fresh replay was drawn, and is trained on")

    @property
    def rows_per_batch(self) -> int:
        """How many rows a batch takes, where they are drawn."""
        return self.tokens_per_batch // (self.length or 1)

    @property
    def every(self) -> bool:
        """Whether the loss is taken on every token, whatever is trained on."""
        if self.length is not None:
            return True
        return self.loss != "nll" if self.positions is None else self.positions == "every"

    def record(self) -> dict[str, Any]:
        """The settings by the names of their options (JSON values)."""
        found = asdict(self) | {"positions": "every" if self.every else "trained"}
        if self.length is None:
            del found["length"], found["engine"]
        return {f"replay_{name}": value for name, value in found.items()}


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How a model is trained.

    Attributes:
        steps: optimizer steps; None goes by epochs.
        epochs: passes over the rows.
        learning_rate: the highest.
        schedule: how it falls.
        warmup: share of the steps in which it rises.
        tokens_per_batch: of one batch on one device.
        gradient_accumulation_steps: batches a step, on one device.
        weight_decay: of AdamW.
        max_grad_norm: gradients are clipped to this norm.
        loss: on the task's tokens: "sft", all alike; "dft", each times the model's own probability of it (arXiv
            2508.05629); "eaft", each times the entropy of the model's 20 likeliest tokens ÷ 3 (arXiv 2601.02151).
        eaft_alpha: the power of that entropy.
        lm_loss_coef: weight of the language-model loss over all tokens (LAMOL, arXiv 1909.03329).
        kl_coef: weight of the KL divergence from the reference model, which is the one before training.
        kl_sources: sources of the rows on whose tokens it is taken; empty takes all.
        replay: how replay is an objective of its own; None where there is none.
        reference_top_k: the reference model's predictions are computed once and stored, this many tokens of each and
            all others together; None keeps the model in memory.
        dtype: "float32"; "bfloat16": float32 weights, computed in bfloat16; "auto": bfloat16 on a GPU that can.
        weights: number format of the weights that are trained; bfloat16 ones are rounded by chance, and computed in.
        optimizer: AdamW with moments as wide as the weights, or in 8 bits.
        save_every: steps between checkpoints.
        eval_every: steps between evaluations.
        keep: stop once less than this share of the old abilities is kept, and go back to the last evaluation above it.
        gradient_checkpointing: compute activations again in the backward pass, to save memory.
        seed: of the order of the rows, of adapters and of dropout.

    Raises:
        UsageError: a value is out of its range, or two contradict each other.
    """

    steps: int | None = None
    epochs: float = 1.0
    learning_rate: float = 1e-5
    schedule: Schedule = "cosine"
    warmup: float = 0.03
    tokens_per_batch: int = 8192
    gradient_accumulation_steps: int = 1
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    loss: TokenLoss = "sft"
    eaft_alpha: float = 1.0
    lm_loss_coef: float = 0.0
    kl_coef: float = 0.0
    kl_sources: tuple[str, ...] = ()
    replay: ReplaySettings | None = None
    reference_top_k: int | None = None
    dtype: TrainingDType = "auto"
    weights: TrainedWeights = "float32"
    optimizer: OptimizerName = "adamw"
    save_every: int = 200
    eval_every: int = 50
    keep: float | None = None
    gradient_checkpointing: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("learning_rate", "epochs", "max_grad_norm"):
            _require(getattr(self, name) > 0, name, getattr(self, name), "more than 0")
        for name in ("weight_decay", "eaft_alpha", "lm_loss_coef", "kl_coef"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        for name in ("gradient_accumulation_steps", "save_every", "eval_every"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        _require(self.steps is None or self.steps >= 1, "steps", self.steps, "1 or more")
        _require(self.tokens_per_batch >= 2, "tokens_per_batch", self.tokens_per_batch, "2 or more")
        _require(self.keep is None or 0 < self.keep <= 1, "keep", self.keep, "a share up to 1")
        _choose("schedule", self.schedule, Schedule)
        _choose("loss", self.loss, TokenLoss)
        if self.eaft_alpha != 1.0 and self.loss != "eaft":
            raise UsageError(f"`eaft_alpha` is of the loss eaft, not of {self.loss}: give `loss` eaft")
        _choose("dtype", self.dtype, TrainingDType)
        _choose("weights", self.weights, TrainedWeights)
        _choose("optimizer", self.optimizer, OptimizerName)
        if self.weights == "bfloat16" and self.dtype == "float32":
            raise UsageError("`weights` bfloat16 are computed in bfloat16: leave `dtype` float32 out")
        if self.steps is not None and self.epochs != 1.0:
            raise UsageError("`steps` and `epochs` are two ways to say how long: give one of them")
        if self.kl_sources and not self.kl_coef:
            raise UsageError("`kl_sources` says where `kl_coef` is taken: give its weight, too")
        if self.reference_top_k is not None:
            _require(self.reference_top_k >= 1, "reference_top_k", self.reference_top_k, "1 or more")
            if not self.needs_reference:
                raise UsageError(
                    "`reference_top_k` stores what a divergence is from: give `kl_coef`, or `replay_loss` kl"
                )
            if self.replay is not None and self.replay.length is not None:
                raise UsageError("`reference_top_k` needs all rows before the training: fresh replay is drawn in it")
        if not 0 <= self.warmup < 1:
            raise UsageError(f"`warmup` is a share of the steps, such as 3%, not {self.warmup}")

    @property
    def batches_per_step(self) -> int:
        """Batches of a step on one device: of the task, and as many of replay where it is an objective."""
        return self.gradient_accumulation_steps * (1 if self.replay is None else 2)

    @property
    def needs_reference(self) -> bool:
        """Whether a loss compares the model with the one before training."""
        return self.kl_coef > 0 or bool(self.divergences)

    @property
    def divergences(self) -> tuple[str, ...]:
        """What is taken on replay from the model before training."""
        return (self.replay.loss,) if self.replay is not None and self.replay.loss != "nll" else ()

    @property
    def holds_reference(self) -> bool:
        """Whether the model before training is in memory all the time."""
        return self.needs_reference and self.reference_top_k is None

    def record(self) -> dict[str, Any]:
        """The settings by the names of their options (JSON values), `_YOUNGER` where they are no defaults."""
        found = asdict(self)
        del found["replay"]
        if self.loss != "eaft":
            del found["eaft_alpha"]
        for name in _YOUNGER:
            if found[name] == getattr(TrainingSettings(), name):
                del found[name]
        return found if self.replay is None else found | self.replay.record()


@dataclass(frozen=True, slots=True)
class RowSettings:
    """How rows become tokens.

    Attributes:
        train_on: what of a conversation: what the assistant says, its last message, or all; tokens without labels need
            "all".
        text_column: the column with plain texts, where it is not `text`.
        overlong: whether rows that are longer than the window are left out or cut.
        prefix: what precedes a user message, instead of what the chat template says.
        stop: what ends a user message, with `prefix`.
        max_length: the window, in tokens; the model's by default.

    Raises:
        UsageError: a value is none of those that there are.
    """

    train_on: TrainOn = "assistant"
    text_column: str | None = None
    overlong: OverlongTrained = "drop"
    prefix: str | None = None
    stop: str | None = None
    max_length: int | None = None

    def __post_init__(self) -> None:
        _choose("train_on", self.train_on, TrainOn)
        _choose("overlong", self.overlong, OverlongTrained)
        _require(self.max_length is None or self.max_length >= 2, "max_length", self.max_length, "2 or more")


@dataclass(frozen=True, slots=True)
class TrainedParts:
    """What of a model is trained, and what else holds it back: the remedies of the literature beside ours.

    Attributes:
        freeze: parts that stay as they are: `embeddings`, `attention`, `mlp`, `layers:FIRST-LAST` (arXiv 2401.03129).
        dropout: share of the outputs of every attention and MLP block that is dropped (residual dropout).
        lora: rank of low-rank adapters on all linear layers, or None (arXiv 2106.09685).
        lora_alpha: their scale, twice the rank by default (arXiv 2405.09673).
        lora_dropout: dropout before them.
        peft: or the file of a peft configuration (JSON), for any other method of peft.
        quantise: "4bit": the matrices around the adapter are held in 4 bits (QLoRA, arXiv 2305.14314).

    Raises:
        UsageError: a value is out of its range, there are two adapters, or one is missing that another setting is of.
    """

    freeze: tuple[str, ...] = ()
    dropout: float = 0.0
    lora: int | None = None
    lora_alpha: int | None = None
    lora_dropout: float = 0.0
    peft: str | None = None
    quantise: Quantised | None = None

    def __post_init__(self) -> None:
        for name in ("dropout", "lora_dropout"):
            _require(0 <= getattr(self, name) < 1, name, getattr(self, name), "a share below 1")
        for name in ("lora", "lora_alpha"):
            value = getattr(self, name)
            _require(value is None or value >= 1, name, value, "1 or more")
        if self.lora is not None and self.peft is not None:
            raise UsageError("`lora` and `peft` are two ways to say what is trained: give one of them")
        if self.freeze and self.adapts:
            raise UsageError(
                "`freeze` is of the model's own weights, which stay as they are beside an adapter; where the adapter "
                "is put is said by `target_modules` of a `peft` configuration: leave `freeze` out"
            )
        if self.lora is None and (self.lora_alpha is not None or self.lora_dropout):
            name = "lora_dropout" if self.lora_alpha is None else "lora_alpha"
            raise UsageError(f"`{name}` is of the adapters of `lora`: give it, too")
        if self.quantise is not None and not self.adapts:
            raise UsageError("`quantise` is of the model around an adapter: give `lora` or `peft`, too")

    @property
    def adapts(self) -> bool:
        """Whether an adapter is trained, not the model's own weights."""
        return self.lora is not None or self.peft is not None

    def adapter(self) -> Any:
        """The configuration of the adapter.

        Raises:
            UsageError: the file is none of peft's configurations.
        """
        import peft

        if self.lora is not None:
            alpha = 2 * self.lora if self.lora_alpha is None else self.lora_alpha
            return peft.LoraConfig(
                r=self.lora,
                lora_alpha=alpha,
                lora_dropout=self.lora_dropout,
                target_modules="all-linear",
                task_type="CAUSAL_LM",
            )
        try:
            settings = json.loads(read_small(path_at(str(self.peft))))
            method = settings.pop("peft_type")
            config = peft.PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(method)](**{"task_type": "CAUSAL_LM"} | settings)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"`peft` {self.peft} holds no configuration of peft ({type(error).__name__}: {error}). It is JSON such "
                'as {"peft_type": "LORA", "r": 16, "target_modules": "all-linear"}'
            ) from error
        if config.is_prompt_learning:
            raise UsageError(UNMERGED.format(method=method))
        return config


def _require(holds: bool, name: str, value: object, wanted: str) -> None:
    if not holds:
        raise UsageError(f"`{name}` is {wanted}, not {value}")


def _choose(name: str, value: str, choices: Any) -> None:
    if value not in get_args(choices):
        raise UsageError(f"`{name}` is one of {', '.join(get_args(choices))}, not {value}")
