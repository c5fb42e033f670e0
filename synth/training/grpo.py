"""Group relative policy optimisation (GRPO) on planned batches, by TRL's trainer.

At each step the model answers prompts, several times each; answers that got more reward than the others to their
prompt become likelier. Drawing, the loss and its log are TRL's, with its defaults (the loss of DAPO, arXiv 2503.14476).
Ours are the tokens of the prompts and of what ends an answer, the batches, what answers say and their rewards
(`synth.rl`), and replay as an objective of its own: after each batch of answers one of replay goes through the model,
as in any other training.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from trl import GRPOConfig, GRPOTrainer

from synth.rl.completions import read_drawn
from synth.training.drawn import DrawnSteps
from synth.training.method import ROLLOUT, VLLM, MethodSettings
from synth.training.method_rows import TrainingPrompts
from synth.training.reference import FrozenModel, Reference
from synth.training.replay_steps import ReplaySteps
from synth.training.settings import TrainingSettings

_TRLS = frozenset({"prompts", "completions", "completion_ids", "image", "images"})
"""Columns that would be taken for what TRL itself gives a reward, or for pictures that are shown to the model."""


_WHOLE = ("mean", "std")
"""What TRL logs of a reward function: there is one, and these are `reward` and `reward_std`."""


class PlannedGRPO(DrawnSteps, GRPOTrainer):  # type: ignore[misc] # TRL is not typed
    """GRPO on planned batches."""

    logged = (
        *("reward", "reward_std", "frac_reward_zero_std", "unscorable", "completions/mean_length"),
        *("completions/clipped_ratio", "kl", "entropy", "replay_loss"),
    )

    @staticmethod
    def arguments(
        method: MethodSettings, rows: TrainingPrompts, settings: TrainingSettings
    ) -> tuple[type[GRPOConfig], dict[str, Any]]:
        """TRL's settings."""
        return GRPOConfig, {
            "beta": method.beta,
            "temperature": method.temperature,
            "max_completion_length": method.max_tokens,
            "num_generations": rows.drawn,
            "per_device_train_batch_size": rows.drawn,  # set once the batches are planned
            "gradient_accumulation_steps": settings.gradient_accumulation_steps,  # without batches of replay
            **_rollout(method, rows),
        }

    def __init__(
        self,
        *,
        rows: TrainingPrompts,
        batches: Sequence[NDArray[np.int64]],
        model: Any,
        args: GRPOConfig,
        method: MethodSettings,
        settings: TrainingSettings,
        reference: Callable[[], Reference],
        **others: Any,
    ) -> None:
        """Take the prompts, and replay where that is an objective.

        Args:
            rows: all prompts, and after them the rows of replay where that is an objective.
            batches: the rows of each batch of this process, those of the prompts and of replay in turn.
            model: the model that is trained.
            args: settings of TRL's.
            method: how answers are drawn and rewarded.
            settings: of the training.
            reference: the model before training, where replay is compared with it and TRL holds none.
            others: arguments of `GRPOTrainer`.
        """
        turns = 1 if settings.replay is None else 2
        self.plan(rows, batches[::turns], model, args)
        args.generation_batch_size = args.per_device_train_batch_size * args.world_size * args.steps_per_generation
        assert method.rewarding is not None
        self._replay: ReplaySteps | None = None
        prompts = Dataset.from_dict({"row": range(rows.tasks)})
        super().__init__(model=model, args=args, reward_funcs=method.rewarding, train_dataset=prompts, **others)
        self.data_collator = self._asked
        if "ref" in getattr(self.model, "peft_config", {}):
            self.model.delete_adapter("ref")  # TRL's copy of the adapter: without any there is the same model
        if settings.replay is not None:
            compared: Reference | None = None
            if settings.needs_reference:
                compared = reference() if self.ref_model is None else FrozenModel(self.ref_model)
            padding = self.processing_class.pad_token_id
            self._replay = ReplaySteps(rows, batches[1::2], settings, self.model, compared, padding)

    def measured(self, logs: dict[str, float]) -> dict[str, float]:
        """What there is of `logged`, and of each part of the reward."""
        parts = (name for name in logs if name.startswith("rewards/") and name.rpartition("/")[2] not in _WHOLE)
        return super().measured(logs) | {name: logs[name] for name in parts}

    def _asked(self, examples: Sequence[dict[str, int]]) -> list[dict[str, Any]]:
        """Prompts as messages, with the columns that answers are judged by."""
        asked = (self.rows.asked[example["row"]] for example in examples)
        return [{name: value for name, value in one.items() if name not in _TRLS} for one in asked]

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """The tokens are there already."""
        return [self.prompt(row) for row in self.step_rows], None, {}

    def _calculate_rewards(
        self, inputs: list[dict[str, Any]], prompts: list[Any], completions: list[Any], completion_ids: list[list[int]]
    ) -> torch.Tensor:
        """TRL's rewards of the answers in all processes. Counts those that cannot be judged, of which none moves it.

        Answers are read by their tokens: TRL's text of one does not show that its thoughts were opened by the prompt.
        """
        read = [read_drawn(self.rows.chats[row], ids) for row, ids in zip(self.step_rows, completion_ids, strict=True)]
        rewards: torch.Tensor = super()._calculate_rewards(inputs, prompts, read, completion_ids)
        self._metrics["train"]["unscorable"].append(int(rewards.isnan().all(dim=1).sum()))
        return rewards

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], None]:
        """The prompts of one step, once for each of its batches; and its batches of replay."""
        if self._replay is not None:
            self._replayed = torch.zeros((), device=device)
            self._replay.begin(
                self.state.global_step, num_batches, device, lambda totals: self.accelerator.reduce(totals, "sum")
            )
        return super().get_batch_samples(epoch_iterator, num_batches, device)

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """TRL's, and after it a batch of replay, so that no more than one batch is in the model at a time."""
        task: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        if self._replay is None:
            return task
        with self.compute_loss_context_manager():
            loss = self._replay.next_loss(model)
        # Processes' gradients are averaged, as are their losses in the log.
        weighted = self._replay.weight * loss * self.accelerator.num_processes
        self.accelerator.backward(weighted)
        self._replayed += loss.detach()
        if self._replay.at_end:
            replayed = float(self.accelerator.reduce(self._replayed, "sum"))
            self._metrics["train"]["replay_loss"].append(replayed)
        return task + weighted.detach()


def _rollout(method: MethodSettings, rows: TrainingPrompts) -> dict[str, Any]:
    """TRL's settings of what draws the answers."""
    if method.rollout_engine == ROLLOUT:
        return {}
    found = {"use_vllm": True, "generation_kwargs": {"stop_token_ids": sorted(rows.ends)}}
    if method.rollout_engine != VLLM:
        return found | {"vllm_mode": "server", "vllm_server_base_url": method.rollout_engine}
    return found | {"vllm_mode": "colocate", "vllm_max_model_length": int(rows.room[: rows.tasks].max())}
