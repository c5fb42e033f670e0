"""Methods beside fine-tuning on right answers: preferences, and distillation from a teacher, by TRL's trainers.

dpo      a better answer against a worse one, near the model before training (arXiv 2305.18290)
ipo      likewise, with a squared loss that does not run off where pairs are certain (2310.12036)
simpo    likewise, by the mean log-probability of a token, without a reference (2405.14734)
distil   the model answers prompts itself and learns a teacher's distribution at every token (2306.13649)
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from synth.errors import UsageError
from synth.training.extras import require
from synth.training.settings import RowSettings, TrainedParts, TrainingSettings
from synth.values import TrainingMethod

BETAS: dict[str, float] = {"dpo": 0.1, "ipo": 0.1, "simpo": 2.0, "distil": 1.0}
"""TRL's defaults; that of SimPO is its authors'."""
TEMPERATURE, MAX_TOKENS = 1.0, 512
LEARNING_RATE = 1e-6
"""TRL's, of all of these methods; adapters take ten times that."""

MARGIN = "rewards/margins"
"""TRL's name of how much better the chosen answers are rewarded than the rejected ones."""

_TAKEN = {
    *("steps", "epochs", "learning_rate", "schedule", "warmup", "tokens_per_batch", "gradient_accumulation_steps"),
    *("weight_decay", "max_grad_norm", "dtype", "save_every", "eval_every", "keep", "gradient_checkpointing", "seed"),
    *("freeze", "lora", "lora_alpha", "peft"),
    *("prefix", "stop", "max_length"),
}
"""Settings that go with these methods. Any other is refused, so that none is given in vain."""


@dataclass(frozen=True, slots=True)
class MethodSettings:
    """What a method has beside the settings of every training.

    Attributes:
        method: its name.
        beta: of dpo and ipo how near to the reference the model stays, of simpo the scale of the rewards; of distil the
            divergence: 0 is KL(teacher ‖ model), 1 is KL(model ‖ teacher), between them the generalised Jensen-Shannon.
        teacher: of distil, the model that is learnt from.
        temperature: of distil, at which answers are drawn and distributions compared.
        max_tokens: of distil, most tokens of an answer.
    """

    method: TrainingMethod
    beta: float
    teacher: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None

    @property
    def prefers(self) -> bool:
        """Whether it learns from preference pairs."""
        return self.method != "distil"

    @property
    def needs_reference(self) -> bool:
        """Whether its loss compares the model with the one before training."""
        return self.method in ("dpo", "ipo")

    def trainer(self) -> Any:
        """The class of its trainer, made on one of TRL, which takes seconds to import."""
        if self.method == "distil":
            from synth.training.distillation import PlannedDistillation

            return PlannedDistillation
        if self.method == "simpo":
            from synth.training.simpo import PlannedSimPO

            return PlannedSimPO
        from synth.training.preferences import PlannedDPO

        return PlannedDPO

    def check(self, *settings: TrainingSettings | TrainedParts | RowSettings) -> None:
        """Check that these settings go with the method, and that its trainers are there.

        Raises:
            UsageError: one has no meaning for it, or TRL is not installed.
        """
        self.refuse(**{name: name not in _TAKEN for one in settings for name in _set(one)})
        require("trl", "trl", f"`method` {self.method}")

    def refuse(self, **given: bool) -> None:
        """Refuse settings that have no meaning for the method.

        Args:
            given: whether each is given.

        Raises:
            UsageError: one is.
        """
        if other := next((name for name, is_given in given.items() if is_given), None):
            raise UsageError(f"`{other}` does not go with `method` {self.method}")


def method_settings(
    method: TrainingMethod,
    *,
    beta: float | None = None,
    teacher: str | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
) -> MethodSettings | None:
    """The settings of a method, with its defaults; None for plain fine-tuning.

    Raises:
        UsageError: one has no meaning for it or is out of its range, or distillation has no teacher.
    """
    own = {"teacher": teacher, "temperature": temperature, "max_tokens": max_tokens}
    if method != "distil":
        given = {"beta": beta, **own} if method == "sft" else own
        if name := next((name for name, value in given.items() if value is not None), None):
            raise UsageError(f"`{name}` does not go with `method` {method}")
    if method == "sft":
        return None
    beta = BETAS[method] if beta is None else beta
    if method != "distil":
        if not beta:
            raise UsageError(f"`beta` of {method} is more than 0")
        return MethodSettings(method, beta)
    if teacher is None:
        raise UsageError("`method` distil learns from a model: name it with `teacher`")
    if beta > 1:
        raise UsageError(f"`beta` of distil goes from 0 (KL from the teacher) to 1 (KL to the teacher), not {beta}")
    temperature = TEMPERATURE if temperature is None else temperature
    if not temperature:
        raise UsageError("`temperature` of distil is more than 0: the distributions are compared at it")
    return MethodSettings(method, beta, teacher, temperature, MAX_TOKENS if max_tokens is None else max_tokens)


def _set(settings: Any) -> Iterator[str]:
    """The names of settings that are not at their defaults."""
    for item in fields(settings):
        if getattr(settings, item.name) != item.default:
            yield item.name
