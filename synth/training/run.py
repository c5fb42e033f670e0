"""One training run, from rows to a saved model."""

import datetime
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import torch
from transformers import PrinterCallback, TrainerCallback, TrainingArguments

from synth.engines.base import Tokenizer
from synth.engines.device import out_of_memory, pick_device
from synth.engines.hf.forward import check_causal
from synth.engines.loading import load_config, own_attention
from synth.errors import RunError, UsageError
from synth.training.attention import can_pack
from synth.training.batches import Collator, hardest, plan_steps
from synth.training.folder import TrainingFolder
from synth.training.model import in_bfloat16, load_for_training
from synth.training.rows import TrainingRows
from synth.training.settings import TrainedParts, TrainingSettings
from synth.training.trainer import TokenTrainer, use_packed_attention

Evaluate = Callable[[Any], dict[str, Any]]
"""Measures a model; what it returns is logged as it is, and has `kept`, the share of the old abilities that is left,
once there is a first measurement to compare with."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """How a run ended.

    Attributes:
        steps: those that made the weights.
        stopped: whether a person stopped it.
        fell_at: the step where it fell below the floor, if it did.
    """

    steps: int
    stopped: bool = False
    fell_at: int | None = None


class Stop:
    """Asks a run to end after the step it is in."""

    def __init__(self) -> None:
        self.asked = False


def train(
    rows: TrainingRows,
    name: str,
    tokenizer: Tokenizer,
    settings: TrainingSettings,
    trained: TrainedParts,
    folder: TrainingFolder,
    *,
    device: str = "auto",
    evaluate: Evaluate | None = None,
    evaluates: bool = False,
    report: Callable[[dict[str, Any], int], None] = lambda entry, steps: None,
    stop: Stop | None = None,
    say: Callable[[str], None] = lambda line: None,
    card: Callable[[TrainingFolder], str] = lambda folder: "",
) -> TrainingResult:
    """Train a model, going on from the last checkpoint where there is one, and save it.

    Args:
        rows: what it is trained on.
        name: the model to begin with, a directory or a Hub id: the foundation model.
        tokenizer: its tokenizer, saved beside it.
        settings: how.
        trained: what of it.
        folder: where everything goes.
        device: "auto", "cuda", "cpu", …
        evaluate: measures the model before the first step, every `settings.evaluate_every` steps and at the end; given
            to the first process only.
        evaluates: whether there is such a process.
        report: called with every logged entry and the number of steps in all, and with {"step", "evaluating"} before
            an evaluation.
        stop: asked to end early, a run saves a checkpoint and ends.
        say: takes a line for people.
        card: writes the model card.

    Raises:
        UsageError: the model cannot be loaded or trained so.
        RunError: the loss is no number, or memory ran out; the last checkpoint is kept. Or less than `settings.keep`
            was left at the first evaluation; the model of that step is saved.
    """
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() in ("1", "true"):
        raise UsageError("DeepSpeed is not supported: share the model by FSDP, accelerate launch --use_fsdp …")
    place = pick_device(device)
    half = in_bfloat16(settings.dtype, place)
    torch.manual_seed(settings.seed)  # an adapter's first weights
    model = load_for_training(name, "bfloat16" if half and trained.adapts else "float32", trained)
    base = model.get_base_model() if trained.adapts else model
    check_causal(base)
    arguments = _arguments(settings, folder, place, half)
    processes, rank = arguments.world_size, arguments.process_index
    plan = partial(
        plan_steps,
        rows.sizes,
        budget=settings.budget,
        per_step=settings.accumulate * processes,
        steps=settings.steps,
        epochs=settings.epochs,
        seed=settings.seed,
    )
    batches = plan()
    packed = can_pack(base, hardest(batches, rows.sizes), place)
    if not packed:
        batches = plan(padded=True)
    foundation = None
    if settings.nearness and not trained.adapts:
        foundation = load_for_training(name, "bfloat16" if half else "float32", TrainedParts()).to(place).eval()
    if packed:
        use_packed_attention(*(one for one in (base, foundation) if one is not None))
    collator = Collator(
        rows,
        packed,
        everything=settings.language > 0,
        near=frozenset(settings.near) if settings.near else None,
        padding=tokenizer.pad_token_id or 0,
    )
    arguments.max_steps = len(batches) // (settings.accumulate * processes)
    arguments.warmup_steps = round(settings.warmup * arguments.max_steps)
    trainer = TokenTrainer(
        model=model,
        args=arguments,
        processing_class=tokenizer,
        batches=batches[rank::processes],
        collator=collator,
        language=settings.language,
        nearness=settings.nearness,
        foundation=foundation,
    )
    if evaluates and trainer.is_fsdp_enabled:
        raise UsageError(
            "`eval` and `new` need the whole model in one process: leave them out, and run synth eval after"
        )
    watch = _Watch(trainer, base, packed, settings, folder, evaluate, evaluates, report, stop or Stop())
    trainer.add_callback(watch)
    trainer.remove_callback(PrinterCallback)
    say(
        f"{type(base).__name__} on {place}, {'bfloat16' if half else 'float32'}: "
        f"{sum(p.numel() for p in model.parameters() if p.requires_grad):,} weights to train; "
        f"{arguments.max_steps:,} steps; rows {'packed' if packed else 'padded: this model cannot be packed'}"
    )
    last = folder.checkpoint()
    if last is not None:
        say(f"going on from {last.name}")
    began = time.monotonic()
    try:
        trainer.train(resume_from_checkpoint=str(last) if last else None)
    except RunError as error:
        raise RunError(f"{error}. {_kept(folder)}") from error
    except UsageError:
        raise
    except Exception as error:
        if out_of_memory(error):
            raise RunError(
                f"memory ran out on {place}: lower `batch_tokens` (now {settings.budget:,}) and raise `accumulate`, "
                f"add `gradient_checkpointing`, or train an adapter (`lora` 16). {_kept(folder)}"
            ) from error
        if last is None or watch.begun:
            raise
        why = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise UsageError(  # torch and transformers raise anything over a file that was cut short
            f"{last} is damaged ({why}). Remove it: the same command then goes on from the checkpoint before, or anew"
        ) from error
    finally:
        folder.record.seconds += time.monotonic() - began
    if watch.stopped:
        return TrainingResult(trainer.state.global_step, stopped=True)
    steps = trainer.state.global_step
    good = folder.checkpoint() if watch.fell_at is not None else None
    if good is not None:
        trainer._load_from_checkpoint(str(good))
        steps = folder.steps_of(good)
        say(f"below {settings.keep:.0%} at step {watch.fell_at}: back to {good.name}")
    taken = batches[: steps * settings.accumulate * processes]
    folder.record.tokens["seen"] = float(sum(int(rows.sizes[batch].sum()) for batch in taken))
    _save(trainer, model, base, name, tokenizer, trained, settings, folder, card)
    if watch.fell_at is not None and good is None:
        raise RunError(
            f"less than {settings.keep:.0%} was kept at step {steps}, the first evaluation, so there is nothing to go "
            f"back to: {folder.path} holds the model of that step. Lower --lr or --eval-every and add --restart, or go "
            f"part of the way back: synth merge {name} {folder.path} --ratio 0.5"
        )
    return TrainingResult(steps, fell_at=watch.fell_at)


class _Watch(TrainerCallback):  # type: ignore[misc] # transformers is not typed
    """Logs, evaluates, and ends a run early."""

    def __init__(
        self,
        trainer: TokenTrainer,
        base: Any,
        packed: bool,
        settings: TrainingSettings,
        folder: TrainingFolder,
        evaluate: Evaluate | None,
        evaluates: bool,
        report: Callable[[dict[str, Any], int], None],
        stop: Stop,
    ) -> None:
        self._trainer, self._base, self._packed = trainer, base, packed
        self._settings, self._folder = settings, folder
        self._evaluate, self._evaluates = evaluate, evaluates
        self._report, self._stop = report, stop
        self.stopped = False
        self.fell_at: int | None = None
        self._began = self._seconds = 0.0

    @property
    def begun(self) -> bool:
        """Whether a step was begun: what it goes on from was loaded by then."""
        return self._began > 0

    def on_step_begin(self, args: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        """Time the step, without what is measured and saved after it."""
        self._began = time.monotonic()

    def on_train_begin(self, args: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        """Measure the foundation model, unless an earlier part of the run has."""
        if state.global_step == 0 and self._measure(state) is None and self._settings.keep is not None:
            raise UsageError(
                "`keep`: before training the model has nothing right in the suites of `eval`, or nothing that can be "
                "judged, so there is no share of it to keep: give suites that it can do, or leave `keep` out"
            )

    def on_log(
        self, args: TrainingArguments, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        """Log a step."""
        if logs and "loss" in logs:
            entry = {"step": state.global_step, "loss": logs["loss"], "learning_rate": logs["learning_rate"]}
            entry |= {"grad_norm": logs.get("grad_norm"), "tokens": self._trainer.take_tokens()}
            entry["seconds"] = round(self._seconds, 4)
            self._folder.note(entry)
            self._report(entry, state.max_steps)

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        """Evaluate, save and stop where it is time."""
        self._seconds = time.monotonic() - self._began
        self._folder.drop_old_checkpoints()  # this step's loss was a number: so the last one is good
        step, ends = state.global_step, state.global_step >= state.max_steps
        kept = None
        if self._evaluates and (step % self._settings.evaluate_every == 0 or ends):
            kept = self._measure(state)
        floor = self._settings.keep
        if floor is None:
            control.should_save = step % self._settings.save_every == 0 and not ends
        elif kept is not None:
            if kept < floor:
                self.fell_at = step
                control.should_training_stop = True
            else:
                control.should_save = True
        if self._trainer.any_process(self._stop.asked) and not ends and self.fell_at is None:
            self.stopped = control.should_training_stop = True
            control.should_save = floor is None or control.should_save

    def _measure(self, state: Any) -> float | None:
        """Evaluate the model as it stands, in one process; training is not disturbed."""
        if not self._evaluates:
            return None
        result: dict[str, Any] = {}
        self._report({"step": state.global_step, "evaluating": True}, state.max_steps)
        if self._evaluate is not None:
            threads = torch.random.get_rng_state()
            if self._packed:
                self._base.set_attn_implementation(own_attention(self._base))
            self._base.eval()
            result = self._evaluate(self._base)
            self._base.train()
            if self._packed:
                use_packed_attention(self._base)
            torch.random.set_rng_state(threads)
        result = self._trainer.from_first(result)
        entry = {"step": state.global_step, "evaluation": result}
        self._folder.note(entry)
        self._report(entry, state.max_steps)
        kept: float | None = result.get("kept")
        return kept


def _kept(folder: TrainingFolder) -> str:
    """What is left of a run that broke off."""
    there = folder.whole_checkpoints()
    if not there:
        return "No checkpoint had been made yet"
    return f"Kept: {' and '.join(str(path) for path in there)}"


def _arguments(
    settings: TrainingSettings, folder: TrainingFolder, place: torch.device, half: bool
) -> TrainingArguments:
    known = {item.name for item in fields(TrainingArguments)}
    # Newer releases of transformers call it by the second name, and warn of the first.
    checkpointing = "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"
    return TrainingArguments(
        output_dir=str(folder.checkpoints),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=settings.accumulate,
        max_steps=1,  # set once the batches are planned, and the warmup with it
        learning_rate=settings.rate,
        lr_scheduler_type=settings.schedule,
        weight_decay=settings.decay,
        max_grad_norm=settings.clip,
        bf16=half,
        use_cpu=place.type == "cpu",
        seed=settings.seed,
        **{checkpointing: settings.checkpointing},
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",  # the callback says when
        report_to="none",
        disable_tqdm=True,
        log_level="error",
        remove_unused_columns=False,
        dataloader_pin_memory=place.type == "cuda",
    )


def _save(
    trainer: TokenTrainer,
    model: Any,
    base: Any,
    name: str,
    tokenizer: Tokenizer,
    trained: TrainedParts,
    settings: TrainingSettings,
    folder: TrainingFolder,
    card: Callable[[TrainingFolder], str],
) -> None:
    """Save the model in the number format it came in, or in float32 where that was asked for."""
    whole = trainer.whole_weights() if trainer.is_fsdp_enabled else None  # all processes take part
    if not folder.writes:
        return
    if whole is not None:
        model = load_for_training(name, "float32", trained)
        model.load_state_dict(whole)
        base = model.get_base_model() if trained.adapts else model
    if not all(bool(weight.isfinite().all()) for weight in model.parameters()):  # the last step's loss came before them
        raise RunError(f"the last step left weights that are no numbers: lower `lr`. {_kept(folder)}")
    fresh = folder.path / ".saving"
    shutil.rmtree(fresh, ignore_errors=True)
    if trained.adapts:
        model.save_pretrained(fresh / "adapter")
        base = model.merge_and_unload()
    base.set_attn_implementation(own_attention(base))
    base.config.use_cache = True
    dtype = torch.float32 if settings.dtype == "float32" else load_config(name).dtype or torch.float32
    base.to(dtype).save_pretrained(fresh)
    tokenizer.save_pretrained(fresh)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    folder.finish(fresh, card(folder), now)
