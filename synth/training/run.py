"""One training run, from rows to a saved model."""

import copy
import datetime
import shutil
import time
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy import int64
from numpy.typing import NDArray
from transformers import PrinterCallback, TrainingArguments

from synth.engines.base import Tokenizer
from synth.engines.device import out_of_memory
from synth.engines.loading import outline
from synth.errors import RunError, UsageError
from synth.methods.drawing import Drawer
from synth.quiet import quiet_libraries
from synth.training.attention import Way
from synth.training.batches import Collator, hardest
from synth.training.callbacks import Callbacks
from synth.training.card import training_card
from synth.training.fit import advice_after_failure, memory_to_draw, setup_of, shape_of
from synth.training.folder import TrainingFolder
from synth.training.fresh import FreshReplay, KeepsFresh, fresh_replay
from synth.training.method import MethodSettings
from synth.training.model import check_adapter_off
from synth.training.objectives import Objectives, compared_tokens
from synth.training.optimizers import optimizer_for
from synth.training.packing import NAMES, choose_attention
from synth.training.reference import Reference
from synth.training.replay import join_fresh, plan_batches, tokens_of
from synth.training.rows import TrainingRows
from synth.training.settings import TrainedParts, TrainingSettings
from synth.training.stored import StoredReference
from synth.training.trainee import TrainedModel
from synth.training.trainer import TokenTrainer, use_packed_attention
from synth.training.watch import Watch


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


@quiet_libraries()
def train(
    rows: TrainingRows,
    name: str,
    tokenizer: Tokenizer,
    settings: TrainingSettings,
    trained: TrainedParts,
    folder: TrainingFolder,
    *,
    method: MethodSettings | None = None,
    device: str = "auto",
    callbacks: Callbacks | None = None,
    drawer: Drawer | None = None,
) -> TrainingResult:
    """Train a model, continuing from the last checkpoint if there is one, and save it.

    Args:
        rows: what it is trained on; of the kind that the method takes.
        name: the model to begin with, a directory or a Hub id; also the reference model.
        tokenizer: its tokenizer, saved beside it.
        settings: how.
        trained: what of it.
        folder: where everything goes.
        method: how, where it is none of the losses over tokens.
        device: "auto", "cuda", "cpu", …
        callbacks: measure the model meanwhile, and are told how it goes.
        drawer: draws the rows of replay meanwhile, where these are fresh.

    Raises:
        UsageError: the model cannot be loaded or trained so, or its last checkpoint is damaged.
        RunError: the loss is no number, memory ran out, or fresh replay cannot be drawn any more; the last checkpoint
            is kept. Or less than `settings.keep` was left at the first evaluation; the model of that step is saved.
    """
    model = TrainedModel(name, tokenizer, settings, trained, device)
    run = _Run(model, rows, settings, method, folder, callbacks or Callbacks(), drawer)
    run.take_steps()
    steps: int = run.trainer.state.global_step
    if run.watch.stopped:
        return TrainingResult(steps, stopped=True)
    fell_at = run.watch.fell_at
    back = run.go_back() if fell_at is not None else None
    steps = steps if back is None else back
    run.count_seen(steps)
    run.save()
    if fell_at is not None and back is None:
        raise RunError(
            f"less than {settings.keep:.0%} was kept at step {steps}, the first evaluation, so there is nothing to go "
            f"back to: {folder.path} holds the model of that step. Lower `learning_rate` or `eval_every` and add "
            f"`restart`, or go part of the way back: synth merge {name} {folder.path} --ratio 0.5"
        )
    return TrainingResult(steps, fell_at=fell_at)


class _Run:
    """A model, the batches that it is trained on, and the trainer that takes the steps."""

    def __init__(
        self,
        model: TrainedModel,
        rows: TrainingRows,
        settings: TrainingSettings,
        method: MethodSettings | None,
        folder: TrainingFolder,
        callbacks: Callbacks,
        drawer: Drawer | None,
    ) -> None:
        self._model, self._rows, self._settings, self._method = model, rows, settings, method
        self._folder, self._callbacks, self._drawer = folder, callbacks, drawer
        self._stored: StoredReference | None = None
        self._fresh: FreshReplay | None = None
        kind, more = (TrainingArguments, {}) if method is None else method.trainer().arguments(method, rows, settings)
        arguments = kind(**_arguments(settings, folder, model, kind) | more)
        arguments._n_gpu = min(1, arguments.n_gpu)  # else Trainer spreads one process over all GPUs (nn.DataParallel)
        self._per_step = settings.batches_per_step * arguments.world_size
        self._batches, self._packed = self._plan(arguments.world_size)
        folder.record.attention = NAMES[self._packed] if self._packed else None
        arguments.max_steps = len(self._batches) // self._per_step
        arguments.warmup_steps = round(settings.warmup * arguments.max_steps)
        self.trainer = self._open_trainer(arguments)
        self.watch = Watch(self.trainer, model.base, self._packed, settings, folder, callbacks)
        self.trainer.add_callback(self.watch)
        if self._fresh is not None:
            self.trainer.add_callback(KeepsFresh(self._fresh, settings, folder, callbacks.say))
        self.trainer.remove_callback(PrinterCallback)
        callbacks.say(
            f"{type(model.base).__name__} on {model.place}, {'bfloat16' if model.half else 'float32'}: "
            f"{sum(p.numel() for p in model.net.parameters() if p.requires_grad):,} weights to train; "
            f"{arguments.max_steps:,} steps; {self._layout()}"
        )

    def _layout(self) -> str:
        if self._method is not None:
            return f"{self._method.method}, by TRL"
        return f"rows packed ({NAMES[self._packed]})" if self._packed else "rows padded: this model cannot be packed"

    def _plan(self, processes: int) -> tuple[list[NDArray[int64]], Way | None]:
        """The batches of all steps and processes, and how they attend within packed rows, if those can be packed."""
        rows, settings, model = self._rows, self._settings, self._model
        if self._method is not None:
            return plan_batches(rows, settings, processes, padded=True), None
        batches = plan_batches(rows, settings, processes)
        way = choose_attention(model.base, hardest(batches, rows.sizes), model.place, half=model.half)
        if way:
            return batches, way
        if self._drawer is not None:
            self._rows = join_fresh(rows, self._drawer.drawing, settings, processes, padded=True)
        return plan_batches(rows, settings, processes, padded=True), None

    def _open_trainer(self, arguments: TrainingArguments) -> Any:
        settings, model = self._settings, self._model
        mine = self._batches[arguments.process_index :: arguments.world_size]
        if self._method is not None:
            return self._open_method(self._method, arguments, mine)
        if self._drawer is not None:
            self._fresh = fresh_replay(self._drawer, self._rows, mine, self._folder, arguments.process_index)
        collator = Collator(
            self._rows,
            self._packed is not None,
            all_tokens=settings.lm_loss_coef > 0,
            compared=compared_tokens(self._rows, settings),
            every_replayed=settings.replay is not None and settings.replay.every,
            fresh=self._fresh,
            padding=model.tokenizer.pad_token_id or 0,
        )
        reference: Reference | None = None
        if settings.reference_top_k is not None:
            self._stored = reference = self._plan_reference(collator, settings.reference_top_k)
            collator = replace(collator, likeliest=reference.likeliest)
        elif settings.needs_reference:
            reference = model.reference(self._packed)
        trainer = TokenTrainer(
            model=model.net,
            args=arguments,
            processing_class=model.tokenizer,
            optimizer_cls_and_kwargs=optimizer_for(settings, model.place),
            batches=mine,
            collator=collator,
            objectives=Objectives(settings),
            reference=reference,
        )
        if self._packed:  # only now, as models were tried with a few tokens
            use_packed_attention(self._packed, model.base)
        return trainer

    def _open_method(self, method: MethodSettings, arguments: TrainingArguments, batches: list[NDArray[int64]]) -> Any:
        model = self._model
        tokenizer = copy.deepcopy(model.tokenizer)
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token_id = 0
        more: dict[str, Any] = {"teacher_model": model.beside(method.teacher)} if method.teacher else {}
        if method.method == "grpo":
            more = {"method": method, "settings": self._settings, "reference": lambda: model.reference(None)}
        if method.needs_reference:
            if model.trained.peft is not None:
                check_adapter_off(model.net)
            if method.prefers:
                self._callbacks.say("computing how likely the pairs are before training")
        return method.trainer()(
            rows=self._rows, batches=batches, model=model.net, args=arguments, processing_class=tokenizer, **more
        )

    def _plan_reference(self, collator: Collator, top_k: int) -> StoredReference:
        return StoredReference(
            self._folder.reference,
            collator,
            np.unique(np.concatenate(self._batches)),
            top_k=top_k,
            tokens=self._settings.tokens_per_batch,
            vocabulary=self._model.base.config.get_text_config().vocab_size,
            model=self._model.before,
        )

    def _compute_reference(self, stored: StoredReference) -> bool:
        """Store what is not yet, the model being that before training still; False if a person stopped it."""
        model, trainer = self._model, self.trainer
        self._folder.stored = stored.folder
        if missing := stored.missing():
            stored.check_space()
            self._callbacks.say(
                f"computing the reference: {stored.positions:,} predictions, {stored.size / 2**20:,.1f} MiB in "
                f"{len(stored.parts):,} files, of which {len(missing):,} are missing"
            )
        # Where the model is shared among processes, the first may be the only one that has read its weights.
        workers = 1 if trainer.is_fsdp_enabled else trainer.args.world_size
        if trainer.is_fsdp_enabled:
            model.net.to(model.place)
        model.net.eval()
        with (
            torch.no_grad(),
            model.net.disable_adapter() if model.trained.adapts else nullcontext(),
            torch.autocast(model.place.type, torch.bfloat16, enabled=model.half),
        ):
            for part in missing:
                if part % workers == trainer.args.process_index and not self._callbacks.stop.asked:
                    stored.compute(part, model.net, trainer.split, model.place)
        if trainer.is_fsdp_enabled:
            model.net.to("cpu")
        trainer.accelerator.wait_for_everyone()
        return not stored.missing()

    def count_seen(self, steps: int) -> None:
        """Record how many tokens went through the model in the first steps, in all processes, and which it drew."""
        batches = self._batches[: steps * self._per_step]
        task, replay = tokens_of(self._rows, batches)
        tokens = self._folder.record.tokens
        if self._method is not None and not self._method.prefers:  # it has drawn answers, too
            entries = [entry for entry in self._folder.log if entry["step"] <= steps]
            seen = sum(entry.get("tokens", 0) for entry in entries)
            tokens["answers"] = float(sum(len(batch) for batch in batches if batch[0] < self._rows.tasks))
            tokens["generated"], task = float(seen - task), seen
            tokens["unscorable"] = float(sum(entry.get("unscorable", 0) for entry in entries))
        tokens["seen"] = float(task)
        for part in self._folder.record.parts:
            part["seen"] = replay

    def take_steps(self) -> None:
        """Train to the end, or until it is stopped, from the last checkpoint on."""
        began, last = time.monotonic(), None
        try:
            if self._stored is not None and not self._compute_reference(self._stored):
                self.watch.stopped = True
                return
            if last := self._folder.checkpoint():
                self._callbacks.say(f"continuing from {last.name}")
            self.trainer.train(resume_from_checkpoint=str(last) if last else None)
        except RunError as error:
            raise RunError(f"{error}. {self._folder.kept}") from error
        except UsageError:
            raise
        except Exception as error:
            self._explain(error, last)
        finally:
            self._folder.record.seconds += time.monotonic() - began

    def _explain(self, error: Exception, last: Path | None) -> NoReturn:
        """Raise an error that the user can act on, or else the error itself."""
        if out_of_memory(error):
            raise RunError(
                f"memory ran out on {self._model.place}: {self._less_memory()}. {self._folder.kept}"
            ) from error
        if last is None or self.watch.begun:
            raise error
        why = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise UsageError(  # torch and transformers raise anything over a file that was cut short
            f"{last} is damaged ({why}). Remove it: the same command then continues from the one before, or starts over"
        ) from error

    def _less_memory(self) -> str:
        model = self._model
        drawing = self._drawer.drawing if self._drawer is not None else None
        setup = setup_of(
            self._settings,
            model.trained,
            self._method,
            adapter=sum(p.numel() for p in model.net.parameters() if p.requires_grad) if model.trained.adapts else 0,
            longest=int(self._rows.room.max()),
            device=str(model.place),
            shards=self.trainer.args.world_size if self.trainer.is_fsdp_enabled else 1,
            replicas=1 if self.trainer.is_fsdp_enabled else self.trainer.args.world_size,
            teacher=shape_of(outline(self._method.teacher)).weights if self._method and self._method.teacher else 0,
            drawing=memory_to_draw(drawing, shape_of(model.base), str(model.place)),
            evaluates=self._callbacks.evaluates,
        )
        return advice_after_failure(shape_of(model.base), setup)

    def go_back(self) -> int | None:
        """Take the weights of the last checkpoint, that of the last evaluation above the floor.

        Returns:
            Its step; None where there is none.
        """
        good = self._folder.checkpoint()
        if good is None:
            return None
        self.trainer._load_from_checkpoint(str(good))
        self._callbacks.say(f"below {self._settings.keep:.0%} at step {self.watch.fell_at}: back to {good.name}")
        return self._folder.steps_of(good)

    def save(self) -> None:
        """Save the model and finish the run."""
        shared = self.trainer.is_fsdp_enabled
        whole = self.trainer.whole_weights() if shared else None  # all processes take part
        if not self._folder.writes:
            return
        if whole is not None:
            self._model.load(whole)
        if not self._model.finite:  # the last step's loss came before them
            raise RunError(
                f"the last step left weights that are not numbers: lower `learning_rate`. {self._folder.kept}"
            )
        fresh = self._folder.path / ".saving"
        shutil.rmtree(fresh, ignore_errors=True)
        self._model.save(fresh)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self._folder.finish(fresh, training_card(self._folder), now)


def _arguments(
    settings: TrainingSettings, folder: TrainingFolder, model: TrainedModel, kind: type[TrainingArguments]
) -> dict[str, Any]:
    known = {item.name for item in fields(kind)}
    # Newer releases of transformers call it by the second name, and warn of the first.
    checkpointing = "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"
    return dict(
        output_dir=str(folder.checkpoints),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=settings.batches_per_step,
        max_steps=1,  # set once the batches are planned, and the warmup with it
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        bf16=model.half and settings.weights == "float32",  # others are computed in as they are
        use_cpu=model.place.type == "cpu",
        seed=settings.seed,
        **{checkpointing: settings.gradient_checkpointing},
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",  # the callback says when
        report_to="none",
        disable_tqdm=True,
        log_level="error",
        remove_unused_columns=False,
        dataloader_pin_memory=model.place.type == "cuda",
    )
