"""Methods beside fine-tuning on right answers: preferences, distillation, and rewards, by TRL's trainers.

dpo      a better answer against a worse one, near the model before training (arXiv 2305.18290)
ipo      likewise, with a squared loss that does not run off where pairs are certain (2310.12036)
simpo    likewise, by the mean log-probability of a token, without a reference (2405.14734)
distil   the model answers prompts itself and learns a teacher's distribution at every token (2306.13649)
grpo     the model answers each prompt several times, and learns which answers got more reward (2402.03300)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from synth.errors import UsageError
from synth.rl.reward import Reward
from synth.training.extras import require
from synth.training.settings import RowSettings, TrainedParts, TrainingSettings
from synth.values import TrainingMethod

BETAS: dict[str, float] = {"dpo": 0.1, "ipo": 0.1, "simpo": 2.0, "distil": 1.0, "grpo": 0.0}
"""TRL's defaults; that of SimPO is its authors'."""
TEMPERATURE, MAX_TOKENS, GENERATIONS = 1.0, 512, 8
"""TRL's, too."""
ROLLOUT, VLLM = "transformers", "vllm"
"""What draws answers here; the first where nothing else is named."""
CHECK = 10.0
"""Seconds that the check of an answer may take."""
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

_OWN: dict[TrainingMethod, tuple[str, ...]] = {
    "sft": (),
    "dpo": ("beta",),
    "ipo": ("beta",),
    "simpo": ("beta",),
    "distil": ("beta", "teacher", "temperature", "max_tokens"),
    "grpo": (
        *("beta", "reward", "reward_weights", "generations", "temperature", "max_tokens", "rollout_engine"),
        "time_limit",
    ),
}
"""What each has beside the settings of every training."""
_YOUNGER = ("reward", "reward_weights", "generations", "rollout_engine", "time_limit")
"""Settings that trainings of earlier releases have no record of."""


@dataclass(frozen=True, slots=True)
class MethodSettings:
    """What a method has beside the settings of every training.

    Attributes:
        method: its name.
        beta: of dpo and ipo how near to the reference the model stays, of simpo the scale of the rewards; of distil the
            divergence: 0 is KL(teacher ‖ model), 1 is KL(model ‖ teacher), between them the generalised Jensen-Shannon;
            of grpo the weight of KL(model ‖ reference), without which no reference is held.
        teacher: of distil, the model that is learnt from.
        temperature: of distil and grpo, at which answers are drawn; of distil, distributions are compared at it.
        max_tokens: of both, most tokens of an answer.
        reward: of grpo, the parts of the reward, as they are written; none is the verifier that each row names.
        reward_weights: of grpo, the weight of each part; 1 where none are given.
        generations: of grpo, answers to each prompt.
        rollout_engine: of grpo, what draws them: "transformers", "vllm", or the address of a server of TRL's.
        time_limit: of grpo, seconds that the check of one answer may take.
        rewarding: of grpo, the reward itself.
    """

    method: TrainingMethod
    beta: float
    teacher: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    reward: tuple[str, ...] = ()
    reward_weights: tuple[float, ...] = ()
    generations: int | None = None
    rollout_engine: str | None = None
    time_limit: float | None = None
    rewarding: Reward | None = field(default=None, repr=False, compare=False)

    @property
    def prefers(self) -> bool:
        """Whether it learns from preference pairs."""
        return self.method not in ("distil", "grpo")

    @property
    def takes_replay(self) -> bool:
        """Whether replay can be an objective beside it."""
        return self.method == "grpo"

    @property
    def needs_reference(self) -> bool:
        """Whether its loss compares the model with the one before training."""
        return self.method in ("dpo", "ipo") or self.holds_reference

    @property
    def holds_reference(self) -> bool:
        """Whether it does so at every step, so that the model before training is in memory all the time."""
        return self.method == "grpo" and self.beta > 0

    def record(self) -> dict[str, Any]:
        """The settings by the names of their options (JSON values), `_YOUNGER` where they are given."""
        found = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "rewarding"}
        return {name: value for name, value in found.items() if value or name not in _YOUNGER}

    def trainer(self) -> Any:
        """The class of its trainer, made on one of TRL, which takes seconds to import."""
        if self.method == "distil":
            from synth.training.distillation import PlannedDistillation

            return PlannedDistillation
        if self.method == "grpo":
            from synth.training.grpo import PlannedGRPO

            return PlannedGRPO
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
        taken = _TAKEN | ({"replay"} if self.takes_replay else set())
        self.refuse(**{name: name not in taken for one in settings for name in _set(one)})
        require("trl", "trl", f"`method` {self.method}")
        if self.rollout_engine not in (None, ROLLOUT):
            require("vllm", "vllm", f"`rollout_engine` {self.rollout_engine}")

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
    reward: Sequence[str] = (),
    reward_weights: Sequence[float] = (),
    generations: int | None = None,
    rollout_engine: str | None = None,
    time_limit: float | None = None,
) -> MethodSettings | None:
    """The settings of a method, with its defaults; None for plain fine-tuning.

    Raises:
        UsageError: one has no meaning for it or is out of its range, or what it learns from is missing.
    """
    given = {
        **{"beta": beta, "teacher": teacher, "temperature": temperature, "max_tokens": max_tokens},
        **{"reward": tuple(reward) or None, "reward_weights": tuple(reward_weights) or None},
        **{"generations": generations, "rollout_engine": rollout_engine, "time_limit": time_limit},
    }
    for name, value in given.items():
        if value is not None and name not in _OWN[method]:
            raise UsageError(f"`{name}` does not go with `method` {method}")
    if method == "sft":
        return None
    beta = BETAS[method] if beta is None else beta
    if method not in ("distil", "grpo"):
        if not beta:
            raise UsageError(f"`beta` of {method} is more than 0")
        return MethodSettings(method, beta)
    if temperature == 0:
        why = "the distributions are compared at it" if method == "distil" else "answers that are all alike teach none"
        raise UsageError(f"`temperature` of {method} is more than 0: {why}")
    drawn = MethodSettings(
        method,
        beta,
        temperature=TEMPERATURE if temperature is None else temperature,
        max_tokens=MAX_TOKENS if max_tokens is None else max_tokens,
    )
    if method == "distil":
        if teacher is None:
            raise UsageError("`method` distil learns from a model: name it with `teacher`")
        if beta > 1:
            raise UsageError(f"`beta` of distil goes from 0 (KL from the teacher) to 1 (KL to the teacher), not {beta}")
        return replace(drawn, teacher=teacher)
    if generations == 1:
        raise UsageError("`generations` of grpo is 2 or more: answers to a prompt are compared with each other")
    engine = rollout_engine or ROLLOUT
    if engine not in (ROLLOUT, VLLM) and not engine.startswith(("http://", "https://")):
        raise UsageError(f"`rollout_engine` {engine}: {ROLLOUT}, {VLLM}, or the address of a server: http://…")
    return replace(
        drawn,
        reward=tuple(reward),
        reward_weights=tuple(reward_weights),
        generations=generations or GENERATIONS,
        rollout_engine=engine,
        time_limit=time_limit or CHECK,
    )


def _set(settings: Any) -> Iterator[str]:
    """The names of settings that are not at their defaults."""
    for item in fields(settings):
        if getattr(settings, item.name) != item.default:
            yield item.name
