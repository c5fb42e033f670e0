"""How a model is trained, and what of it: what a person chooses, known before anything is loaded."""

import json
from dataclasses import dataclass
from typing import Any

from synth.errors import UsageError
from synth.small_text import read_small

UNMERGED = (
    "--peft: what {kind} learns stands beside the weights and cannot be merged into them, which is how an adapted "
    "model is saved here; take another method, such as LORA, LOHA, OFT, VERA or IA3"
)


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How a model is trained.

    Attributes:
        steps: optimiser steps; None goes by epochs.
        epochs: passes over the rows.
        rate: the highest learning rate.
        schedule: how it falls: a schedule of transformers (cosine, linear, constant_with_warmup, …).
        warmup: share of the steps in which it rises.
        budget: tokens of one batch on one device.
        accumulate: batches a step.
        decay: weight decay (AdamW).
        clip: gradients are clipped to this norm.
        language: weight of the language-model loss over all tokens (LAMOL).
        nearness: weight of the divergence from the foundation model.
        near: sources of the rows whose tokens it is taken on; empty takes all.
        dtype: "float32"; "bfloat16": float32 weights, computed in bfloat16; "auto": bfloat16 on a GPU that can.
        save_every: steps between checkpoints.
        evaluate_every: steps between evaluations.
        keep: stop once less than this share of the old abilities is kept, and go back to where it was.
        checkpointing: compute activations again in the backward pass, to save memory.
        seed: of the order of the rows, of adapters and of dropout.
    """

    steps: int | None = None
    epochs: float = 1.0
    rate: float = 1e-5
    schedule: str = "cosine"
    warmup: float = 0.03
    budget: int = 8192
    accumulate: int = 1
    decay: float = 0.0
    clip: float = 1.0
    language: float = 0.0
    nearness: float = 0.0
    near: tuple[str, ...] = ()
    dtype: str = "auto"
    save_every: int = 200
    evaluate_every: int = 50
    keep: float | None = None
    checkpointing: bool = False
    seed: int = 0


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
    """

    freeze: tuple[str, ...] = ()
    dropout: float = 0.0
    lora: int | None = None
    lora_alpha: int | None = None
    lora_dropout: float = 0.0
    peft: str | None = None

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

        if self.lora is not None and self.peft is not None:
            raise UsageError("`lora` and `peft` are two ways to say what is trained: give one of them")
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
            settings = json.loads(read_small(str(self.peft)))
            kind = settings.pop("peft_type")
            config = peft.PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(kind)](**{"task_type": "CAUSAL_LM"} | settings)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"`peft` {self.peft} holds no configuration of peft ({type(error).__name__}: {error}). It is JSON such "
                'as {"peft_type": "LORA", "r": 16, "target_modules": "all-linear"}'
            ) from error
        if config.is_prompt_learning:
            raise UsageError(UNMERGED.format(kind=kind))
        return config
