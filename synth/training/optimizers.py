"""The optimisers that need less memory than AdamW in float32: torchao's.

At the rates of fine-tuning an update is smaller than half the distance to the next bfloat16 number, so that rounding to
the nearest leaves most weights as they were: plain AdamW on bfloat16 weights hardly learns. Rounded up or down by
chance, with probabilities that make the rounding right on average, the weights follow those in float32
(arXiv 2010.06192). torchao has it, with moments in bfloat16 or in blocks of 8 bits (arXiv 2110.02861), for FSDP2, too.
"""

import shutil
from contextlib import nullcontext
from typing import Any

import torch

from synth.training.settings import TrainingSettings

Optimizer = tuple[type, dict[str, Any]]
"""A class of torch's optimisers, and what it is made with besides the weights."""


def optimizer_for(settings: TrainingSettings, place: torch.device) -> Optimizer | None:
    """The optimiser of a training; None for AdamW of torch, which transformers' Trainer takes by itself.

    Args:
        settings: of the training.
        place: the device of the weights.
    """
    if settings.weights == "float32" and settings.optimizer == "adamw":
        return None
    from torchao import optim

    kind: Any = optim.AdamW8bit if settings.optimizer == "adamw-8bit" else optim._AdamW
    # torchao compiles its step, which takes a compiler, and pays off on a GPU only.
    compiled = place.type == "cuda" and any(map(shutil.which, ("cc", "gcc", "clang")))
    seed = settings.seed

    class Rounded(kind):  # type: ignore[misc] # torchao is not typed
        """Draws the same numbers in the same step of every process, so that replicas of a weight stay alike."""

        def step(self, closure: Any = None) -> Any:
            """Take a step."""
            taken = int(next(iter(self.state.values()))["step"]) if self.state else 0
            stance = nullcontext() if compiled else torch.compiler.set_stance("force_eager")
            with torch.random.fork_rng(devices=[torch.cuda.current_device()] if place.type == "cuda" else []), stance:
                torch.manual_seed(seed * 1_000_003 + taken)
                return super().step(closure)

    return Rounded, {"lr": settings.learning_rate, "bf16_stochastic_round": True}
