"""A callback of transformers' Trainer that logs, evaluates, saves, and ends a run early."""

import time
from typing import Any

import torch
from transformers import TrainerCallback, TrainingArguments

from synth.engines.loading import own_attention
from synth.errors import UsageError
from synth.training.attention import Way
from synth.training.callbacks import Callbacks, Entry
from synth.training.folder import TrainingFolder
from synth.training.settings import TrainingSettings
from synth.training.steps import PlannedSteps
from synth.training.trainer import use_packed_attention


class Watch(TrainerCallback):  # type: ignore[misc] # transformers is not typed
    """Logs, evaluates, and ends a run early.

    Attributes:
        stopped: whether a person stopped it.
        fell_at: the step at which the share kept fell below `keep`, if it did.
    """

    def __init__(
        self,
        trainer: PlannedSteps,
        base: Any,
        packed: Way | None,
        settings: TrainingSettings,
        folder: TrainingFolder,
        callbacks: Callbacks,
    ) -> None:
        """Watch a run.

        Args:
            trainer: takes the steps.
            base: the model, without an adapter around it.
            packed: how it attends within packed rows, if they are; while it is measured, it does as it came.
            settings: when to evaluate and to save, and how much is to be kept.
            folder: where all is logged.
            callbacks: measure the model, and are told of the log.
        """
        self._trainer, self._base, self._packed = trainer, base, packed
        self._settings, self._folder, self._callbacks = settings, folder, callbacks
        self.stopped = False
        self.fell_at: int | None = None
        self._began = self._seconds = self._rate = 0.0

    @property
    def begun(self) -> bool:
        """Whether a step was begun: the checkpoint was loaded by then."""
        return self._began > 0

    def on_step_begin(self, args: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        """Time the step, without what is measured and saved after it."""
        self._began = time.monotonic()

    def on_train_begin(self, args: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        """Measure the model before training, unless an earlier part of the run has."""
        if state.global_step == 0 and self._measure(state) is None and self._settings.keep is not None:
            raise UsageError(
                "`keep`: before training the model has nothing right in `suites`, or nothing that can be judged, so "
                "there is no share of it to keep: give suites that it can do, or leave `keep` out"
            )

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: Any, control: Any, *, lr_scheduler: Any, **_: Any
    ) -> None:
        """Note the step's learning rate, before the schedule goes on."""
        self._rate = float(lr_scheduler.get_last_lr()[0])  # torchao's optimisers have a tensor, which is filled anew

    def on_log(
        self, args: TrainingArguments, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        """Log a step of a trainer that logs by itself."""
        if logs and "loss" in logs:
            entry = {"step": state.global_step, "loss": logs["loss"], "learning_rate": logs["learning_rate"]}
            entry |= {"grad_norm": logs.get("grad_norm"), "tokens": self._trainer.take_tokens()}
            self._note(entry | self._trainer.measured(logs), state)

    def _note(self, entry: Entry, state: Any) -> None:
        """Log a step, whose loss was a number: so the last checkpoint, which was made before it, is good."""
        self._folder.drop_old_checkpoints()
        entry["seconds"] = round(self._seconds, 4)
        self._folder.note(entry)
        self._callbacks.report(entry, state.max_steps)

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        """Evaluate, save and stop where it is time; before that, see to it that all steps so far are good."""
        step, ends, floor = state.global_step, state.global_step >= state.max_steps, self._settings.keep
        evaluates = self._callbacks.evaluates and (step % self._settings.eval_every == 0 or ends)
        saves = floor is None and not ends and step % self._settings.save_every == 0
        self._trainer.end_step(self._rate, stop=self._callbacks.stop.asked)
        self._settle(state, all_of_them=ends or evaluates or saves)
        kept = self._measure(state) if evaluates else None
        if kept is not None and floor is not None:
            saves = kept >= floor
            if not saves:
                self.fell_at = step
                control.should_training_stop = True
        if self._trainer.any_process(self._callbacks.stop.asked) and not ends and self.fell_at is None:
            self._settle(state, all_of_them=True)
            self.stopped = control.should_training_stop = True
            saves = saves or floor is None
        control.should_save = saves

    def on_save(self, args: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        """Have the checkpoint carried to where the run is, if that is elsewhere."""
        self._folder.landed()

    def _settle(self, state: Any, *, all_of_them: bool) -> None:
        """Log the steps that are known to be good: all, or all but this one, which may still be under way."""
        for entry in self._trainer.settled(all_of_them=all_of_them):
            if entry["step"] == state.global_step:
                self._seconds = time.monotonic() - self._began
            self._note(entry, state)
        self._seconds = time.monotonic() - self._began

    def _measure(self, state: Any) -> float | None:
        """Evaluate the model as it stands, in one process; training is not disturbed."""
        if not self._callbacks.evaluates:
            return None
        self._callbacks.report({"step": state.global_step, "evaluating": True}, state.max_steps)
        result: dict[str, Any] = {}
        if self._callbacks.evaluate is not None:
            random_state = torch.random.get_rng_state()
            if self._packed:
                self._base.set_attn_implementation(own_attention(self._base))
            self._base.eval()
            result = self._callbacks.evaluate(self._base)
            self._base.train()
            if self._packed:
                use_packed_attention(self._packed, self._base)
            torch.random.set_rng_state(random_state)
        result = self._trainer.from_first(result)
        entry = {"step": state.global_step, "evaluation": result}
        self._folder.note(entry)
        self._callbacks.report(entry, state.max_steps)
        kept: float | None = result.get("kept")
        return kept
