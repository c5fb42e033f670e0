"""A training from its settings to the trained model: check, read, open the directory, train, report."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synth.data.files.memory import called
from synth.data.row import UNVERIFIED
from synth.data.run.beginning import check_beginning
from synth.data.run.record import RunRecord
from synth.data.run.versions import versions
from synth.data.store.copy import worked_on
from synth.data.store.path import File
from synth.engines.open import choose_engine, engine_entry, model_revision
from synth.errors import Stopped, UsageError
from synth.methods.drawing import Drawer, Drawing
from synth.progress import SILENT, Meter, Progress, clock
from synth.stop import Stop
from synth.training.callbacks import Callbacks, Curve, Entry
from synth.training.extras import require_libraries
from synth.training.folder import TrainingFolder, refuse_other_settings
from synth.training.fresh import MEMORY
from synth.training.inputs import TrainingInput, require_sources
from synth.training.method import MARGIN, MethodSettings
from synth.training.replay import extents
from synth.training.rows import TrainingRows
from synth.training.settings import RowSettings, TrainedParts, TrainingSettings

if TYPE_CHECKING:
    from synth.training.fit import Fit
    from synth.training.model import Size
    from synth.training.plan import TrainingPlan


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """The settings of a training.

    Attributes:
        model: the model to begin with, a directory or a Hub id; also the reference model.
        settings: how it is trained.
        trained: what of it.
        rows: how rows become tokens.
        method: how, where it is none of the losses over tokens.
        device: "auto", "cuda", "cpu", …
        restart: whether what an earlier run left is thrown away.
        curve: what is measured meanwhile, or None.
        drawing: what is drawn meanwhile, where replay is fresh.
        draw: is given the output and the log after an evaluation.
    """

    model: str
    settings: TrainingSettings
    trained: TrainedParts
    rows: RowSettings
    method: MethodSettings | None = None
    device: str = "auto"
    restart: bool = False
    curve: Curve | None = None
    drawing: Drawing | None = None
    draw: Callable[[Path, Sequence[Entry]], None] = lambda path, log: None

    def chosen(self) -> dict[str, Any]:
        """The settings that are known before anything is read, as `run.json` has them."""
        own = {} if self.method is None else self.method.record()
        return self.settings.record() | asdict(self.trained) | asdict(self.rows) | own

    def refuse_early(self, output: File | None, *, evaluates: bool = False) -> None:
        """Check what can be checked before anything is read: another run in the output, a damaged adapter file.

        Args:
            output: where the trained model goes, if it goes anywhere.
            evaluates: whether the model is measured meanwhile.

        Raises:
            UsageError: there is one; or some settings do not go with the method or with FSDP, or what they run on is
                missing.
        """
        if self.method is not None:
            self.method.check(self.settings, self.trained, self.rows)
        if output is not None and not self.restart:
            refuse_other_settings(output, self.chosen())
        if self.trained.adapts and self.settings.weights == "bfloat16":
            raise UsageError(
                "`weights` are those of a model that is trained whole; an adapter's are float32, and the model's own "
                "are held in what is computed in (`dtype`)"
            )
        if is_asked_of_accelerate("DEEPSPEED"):
            raise UsageError("DeepSpeed is not supported: share the model by FSDP, accelerate launch --use_fsdp …")
        if is_sharded():
            self._refuse_shared(evaluates=evaluates)
        require_libraries(self.settings, self.trained)
        if self.trained.adapts:
            self.trained.adapter()

    def _refuse_shared(self, *, evaluates: bool) -> None:
        """Refuse what needs the whole model, or its whole moments, in one process."""
        if self.method is not None:
            raise UsageError(f"`method` {self.method.method} needs a process to hold the model: leave --use_fsdp out")
        if evaluates:
            raise UsageError(
                "`suites` and `new_suites` need a process to hold the whole model: leave them out, and run synth eval "
                "after"
            )
        if self.settings.optimizer == "adamw-8bit":
            raise UsageError("`optimizer` adamw-8bit: its moments cannot be shared; leave it or --use_fsdp out")
        if self.trained.quantise:
            raise UsageError("`quantise` 4bit holds the whole model in each process: leave --use_fsdp out")

    def measure(self) -> "Size":
        """How large the model is.

        Raises:
            UsageError: there is none, nothing of it would be trained, or not so.
        """
        from synth.training.model import measure

        return measure(self.model, self.trained, self.method.teacher if self.method else None)

    def record(self, source: TrainingInput) -> RunRecord:
        """The record of a run that has not begun."""
        settings = self.chosen() | {"revision": model_revision(self.model), "input": source.fingerprint}
        if source.replay_fingerprint is not None:
            settings["replay"] = source.replay_fingerprint
        if self.method is not None and self.method.teacher is not None:
            settings["teacher_revision"] = model_revision(self.method.teacher)
        if self.curve is not None:
            settings["evaluation"] = self.curve.settings()
        rows = source.rows
        used = versions("transformers", "torch", *(["trl"] if self.method else []))
        record = RunRecord("train", settings, self.model, used, source=source.source)
        task, replay = extents(rows, self.settings.replay)
        record.accepted, record.rejected = task.rows, len(rows.rejected)
        record.reasons = rows.reasons
        record.tokens = {"tokens": float(task.tokens), "trained": float(task.trained)}
        if replay is not None:
            record.parts = [{"name": source.replay_name, "objective": "replay"} | asdict(replay)]
        if rows.unverified:
            record.verdicts = {UNVERIFIED: rows.unverified}
        if rows.untrained:
            record.tokens["untrained"] = float(len(rows.untrained))
        return record


def processes() -> int:
    """How many processes a distributed run has, as torchrun says; 1 where it is none."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_sharded() -> bool:
    """Whether the processes share the model among them, as accelerate says."""
    return is_asked_of_accelerate("FSDP")


def is_asked_of_accelerate(plugin: str) -> bool:
    """Whether `accelerate launch` was told to use one of its plugins."""
    return os.environ.get(f"ACCELERATE_USE_{plugin}", "").lower() in ("1", "true")


def is_first_process() -> bool:
    """Whether this is the process that writes and reports."""
    return os.environ.get("RANK", "0") == "0"


def plan_job(job: TrainingJob, source: TrainingInput, size: "Size") -> "TrainingPlan":
    """Plan the training; problems with the rows are found before the model is loaded.

    Raises:
        UsageError: there are too few rows, or none of a source that the settings name.
    """
    from synth.training.fit import fit, memory_to_draw, setup_of
    from synth.training.plan import plan_training

    require_sources(source.rows, job.settings.kl_sources)
    setup = setup_of(
        job.settings,
        job.trained,
        job.method,
        adapter=size.adapter,
        longest=int(source.rows.room.max()),
        device=job.device,
        shards=processes() if is_sharded() else 1,
        replicas=1 if is_sharded() else processes(),
        teacher=size.teacher,
        drawing=memory_to_draw(job.drawing, size.shape, job.device),
        evaluates=job.curve is not None,
    )
    return plan_training(source, job.settings, processes(), fit(size.shape, setup, job.device))


def run_job(
    job: TrainingJob,
    source: TrainingInput,
    memory: "Fit",
    output: str,
    *,
    progress: Progress = Progress(),  # noqa: B008
) -> None:
    """Train, or continue where an earlier call was stopped.

    Args:
        job: what is asked for.
        source: the rows.
        memory: what it takes.
        output: where the trained model goes: a directory, here or elsewhere.
        progress: is told how it goes.

    Raises:
        UsageError: the model does not fit or cannot be trained so, or the directory holds something else.
        RunError: the run broke off; its last checkpoint is kept.
        Stopped: a person stopped it.
    """
    from synth.training.fit import check_states

    if not is_first_process():
        progress = SILENT
    check_states(job.model, memory)
    record = job.record(source)
    check_beginning(record, output)
    said, writes = called(output), is_first_process()
    with (
        worked_on(output, restart=job.restart) as (place, store),
        TrainingFolder(place, record, restart=job.restart, writes=writes, store=store) as folder,
    ):
        if folder.finished:
            progress.say(f"{said} already holds the trained model")
            return
        folder.reject(source.rows.rejected)
        _say_rows(source.rows, job.settings, progress)
        progress.say(f"memory: {memory}")
        if not memory.fits:
            progress.say(f"this is more than there is. {memory.advice}".rstrip(". "))
        steps = _train(job, source, folder, progress)
        progress.say(f"{said} holds the trained model: {steps:,} steps, {clock(folder.record.seconds)}")
        if source.rows.untrained and source.rows.note:
            progress.say(source.rows.note)


def _train(job: TrainingJob, source: TrainingInput, folder: TrainingFolder, progress: Progress) -> int:
    """Train and show progress; returns the number of steps behind the weights."""
    from synth.training.run import train

    stop = Stop()

    def answer() -> None:
        if said:
            raise KeyboardInterrupt
        said.append(True)
        progress.say("finishing this step; once more to stop at once")

    said: list[bool] = []
    with ExitStack() as stack:
        meter = stack.enter_context(progress.meter("train", unit="steps"))
        evaluate = None
        if job.curve is not None and folder.writes:
            evaluate = stack.enter_context(job.curve.evaluator(source.chat, folder.log, meter.tell))
        drawer = None
        if job.drawing is not None:
            drawer = stack.enter_context(closing(Drawer(job.drawing)))
            progress.say(_drawing_line(job.drawing, job.settings))
        stack.enter_context(stop.on_signals())
        stack.enter_context(stop.answered_by(answer))
        result = train(
            source.rows,
            job.model,
            source.chat.tokenizer,
            job.settings,
            job.trained,
            folder,
            method=job.method,
            device=job.device,
            callbacks=Callbacks(
                evaluate=evaluate,
                evaluates=job.curve is not None,
                report=_Reporter(folder, job.draw, meter, progress).report,
                say=progress.say,
                stop=stop,
            ),
            drawer=drawer,
        )
    if result.stopped:
        again = ", without `restart`," if job.restart else ""
        raise Stopped(f"stopped after step {result.steps:,}; run this again{again} to continue")
    return result.steps


class _Reporter:
    """Shows how a run goes: its meter, its evaluations, its curve."""

    def __init__(
        self,
        folder: TrainingFolder,
        draw: Callable[[Path, Sequence[Entry]], None],
        meter: Meter,
        progress: Progress,
    ) -> None:
        self._folder, self._draw, self._meter, self._progress = folder, draw, meter, progress
        self._began, self._tokens, self._steps = time.monotonic(), 0, 0

    def report(self, entry: Entry, steps: int) -> None:
        """Show one entry of the log, or that an evaluation begins."""
        if "evaluating" in entry:
            if not entry["step"]:
                self._progress.say("measuring what the model can do before training")
            self._meter.at(entry["step"], steps)  # the evaluator tells how far it is
            return
        if "evaluation" in entry:
            self._progress.say(f"step {entry['step']:>6,}: {_evaluation_line(entry['evaluation'])}")
            if self._folder.writes and self._folder.begun:
                self._draw(self._folder.path, self._folder.log)
            return
        self._tokens += entry["tokens"]
        self._steps += 1
        seconds = max(time.monotonic() - self._began, 1e-6)
        left = clock((steps - entry["step"]) * seconds / self._steps)
        loss = f"loss {entry['loss']:.4f}"
        if "replay_loss" in entry:
            loss = f"loss {entry.get('task_loss', entry['loss']):.4f}, of replay {entry['replay_loss']:.4f}"
        if MARGIN in entry:
            loss += f", margin {entry[MARGIN]:.3f}"
        if entry.get("reward") is not None:
            loss = f"reward {entry['reward']:.3f}, " + loss
        text = f"{left} left · {loss} · {self._tokens / seconds:,.0f} tokens/s"
        self._meter.show(entry["step"], steps, text)


def _evaluation_line(shares: Entry) -> str:
    return " · ".join(f"{name} {shares[name]:.1%}" for name in ("new", "old", "kept") if shares.get(name) is not None)


def _drawing_line(drawing: Drawing, settings: TrainingSettings) -> str:
    """What is to be known of the process that draws."""
    kind, _ = choose_engine(drawing.engine)
    here = engine_entry(kind).here
    share = f", which on a GPU takes {MEMORY:.0%} of its memory at most" if here else ""
    return f"fresh replay: rows of {drawing.settings.length:,} tokens, drawn by {kind} in a process beside{share}"


def _say_rows(rows: TrainingRows, settings: TrainingSettings, progress: Progress) -> None:
    for of, extent in zip(("", "replay: "), extents(rows, settings.replay), strict=True):
        if extent is not None:
            trained = f", {extent.trained:,} with loss" if extent.trained else ""
            progress.say(f"{of}{extent.rows:,} rows, {extent.tokens:,} tokens{trained}")
    for reason, count in rows.reasons.items():
        progress.say(f"  {count:>7,} left out: {reason} (see rejected.jsonl)")
    if rows.note:
        progress.say(rows.note)
