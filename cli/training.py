"""What `synth train` does: read the rows, check the settings, train, say what came of it."""

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from cli.progress import Meter, clock, how_to_go_on, say
from cli.show import printable
from synth.chat.format import ChatFormat, format_for, format_for_texts
from synth.data.plain import TEXT, has_texts, only_texts, rows_or_texts
from synth.data.prompts import open_prompts
from synth.data.read import Rows, open_source
from synth.data.run.record import RunRecord
from synth.data.run.versions import versions
from synth.engines.loading import load_config, window_of
from synth.engines.open import model_revision
from synth.errors import UsageError
from synth.scoring.cells import cells
from synth.scoring.encoding import RowEncoder
from synth.training.card import training_card
from synth.training.folder import TrainingFolder, refuse_other_settings
from synth.training.rows import TrainingRows, read_training_rows
from synth.training.settings import TrainedParts, TrainingSettings

if TYPE_CHECKING:
    from synth.training.run import Stop

SHOWN = 3
"""Rows that a dry run shows."""

_OPTIONS = {
    "rate": "learning_rate",
    "budget": "batch_tokens",
    "decay": "weight_decay",
    "language": "lm_loss",
    "nearness": "kl",
    "near": "kl_on",
    "evaluate_every": "eval_every",
    "checkpointing": "gradient_checkpointing",
}
"""What people call the settings: as the options that set them."""

OF_ROWS = ("train_on", "text_column", "overlong", "prefix", "stop", "max_length")
"""Options that say how rows become tokens."""
LEARNT = "bold green"
MARKS = ("⟦", "⟧")
"""Around tokens with loss, where there are no colours."""


def train(given: dict[str, Any]) -> None:
    """Run the command with its options.

    Raises:
        UsageError: something is wrong with the settings or the rows; no model was loaded.
        RunError: the run broke off; its last checkpoint is kept.
        click.exceptions.Exit: status 1 where the run was stopped.
    """
    main = _process_index() == 0
    quiet: bool = given["quiet"] or not main
    if not given["dry_run"] and not given["output"]:
        raise UsageError("say where the model goes: -o DIR (or --dry-run)")
    settings, trained = _settings(given), _trained(given)
    chosen = {_OPTIONS.get(name, name): value for name, value in (asdict(settings) | asdict(trained)).items()}
    chosen |= {name: given[name] for name in OF_ROWS}
    if not given["dry_run"] and not given["restart"]:
        refuse_other_settings(Path(given["output"]), chosen)
    # torch and transformers take a while to import: not before what can be told without them
    from synth.training.model import check_memory, measure

    if trained.adapts:
        trained.adapter()
    curve = _curve(given)
    source = _source(given)
    tasks = open_prompts(source, given["limit"])
    column = given["text_column"] or (TEXT if has_texts(source.schema) else None)
    plain = given["text_column"] is not None or ("input_ids" not in source.schema.names and only_texts(source))
    chat_format = format_for_texts if plain else format_for
    chat = chat_format(given["model"], prefix=given["prefix"], stop=given["stop"])
    size = measure(given["model"], trained)
    encoder = RowEncoder(chat, given["train_on"], (), given["overlong"], _window(given))
    rows = read_training_rows(
        source,
        encoder,
        _vocabulary(given["model"], chat),
        text_column=column,
        only_texts=plain,
        limit=given["limit"],
    )
    for note in source.notes:
        say(note, quiet)
    if missing := set(settings.near) - set(rows.sources):
        raise UsageError(
            f"--kl-on {sorted(missing)[0]}: no row is of that source; there are: "
            f"{', '.join(sorted(set(rows.sources) - {''})) or 'none (see synth mix)'}"
        )
    if given["dry_run"]:
        _dry_run(rows, settings, chat)
        return
    memory = check_memory(
        given["model"],
        size,
        trained,
        given["device"],
        _processes(),
        dtype=settings.dtype,
        foundation=settings.nearness > 0,
    )
    recorded = chosen | {"revision": model_revision(given["model"]), "input": tasks.fingerprint}
    recorded |= curve.settings() if curve else {}
    record = _record(given["model"], recorded, source.source, rows)
    folder = TrainingFolder(Path(given["output"]), record, restart=given["restart"], writes=main)
    try:
        if folder.finished:
            say(f"{given['output']} already holds the trained model", quiet)
            return
        folder.reject(rows.rejected)
        _say_rows(rows, quiet)
        say(memory, quiet)
        _run(given, rows, chat, settings, trained, folder, curve, quiet)
    finally:
        folder.close()


def _run(
    given: dict[str, Any],
    rows: TrainingRows,
    chat: ChatFormat,
    settings: TrainingSettings,
    trained: TrainedParts,
    folder: TrainingFolder,
    curve: Any,
    quiet: bool,
) -> None:
    """Train, show how it goes, and say what came of it."""
    from synth.training.run import Stop
    from synth.training.run import train as run_training

    stop = Stop()
    with ExitStack() as stack:
        meter = Meter("train", unit="steps", quiet=quiet)
        evaluate = stack.enter_context(curve.evaluator(chat, folder, meter)) if curve and folder.writes else None
        stack.enter_context(interruptible(stop, quiet))
        stack.enter_context(meter)
        outcome = run_training(
            rows,
            given["model"],
            chat.tokenizer,
            settings,
            trained,
            folder,
            device=given["device"],
            evaluate=evaluate,
            evaluates=curve is not None,
            report=_Progress(folder, settings.keep, meter, quiet).report,
            stop=stop,
            say=lambda line: say(line, quiet),
            card=training_card,
        )
    if outcome.stopped:
        say(f"stopped after step {outcome.steps:,}; {how_to_go_on(restart=given['restart'])}", quiet)
        raise click.exceptions.Exit(1)
    say(f"{given['output']} holds the trained model: {outcome.steps:,} steps, {clock(folder.record.seconds)}", quiet)
    if rows.note:
        say(rows.note, quiet)


class _Progress:
    """The line that moves, and the curve of what was learnt and kept, as it goes."""

    def __init__(self, folder: TrainingFolder, floor: float | None, meter: Meter, quiet: bool) -> None:
        import time

        self._folder, self._floor, self._meter, self._quiet = folder, floor, meter, quiet
        self._clock = time.monotonic
        self._began, self._tokens, self._steps = self._clock(), 0, 0

    def report(self, entry: dict[str, Any], steps: int) -> None:
        """Show one entry of the log, or that an evaluation begins."""
        if "evaluating" in entry:
            if not entry["step"] and self._folder.writes:
                say("measuring what the model can do before training", self._quiet)
            self._meter.at(entry["step"], steps)  # `curve` tells how far the evaluation is
            return
        if "evaluation" in entry:
            found = entry["evaluation"]
            if self._folder.writes:
                say(f"step {entry['step']:>6,}: {_evaluation_line(found)}", self._quiet)
            if self._folder.writes and self._folder.begun:
                from cli.curve import draw

                draw(self._folder, self._floor)
            return
        self._tokens += entry["tokens"]
        self._steps += 1
        seconds = max(self._clock() - self._began, 1e-6)
        left = clock((steps - entry["step"]) * seconds / self._steps)
        text = f"{left} left · loss {entry['loss']:.4f} · {self._tokens / seconds:,.0f} tokens/s"
        self._meter.show(entry["step"], steps, text)


def _evaluation_line(found: dict[str, Any]) -> str:
    return " · ".join(f"{name} {found[name]:.1%}" for name in ("new", "old", "kept") if found.get(name) is not None)


def _settings(given: dict[str, Any]) -> TrainingSettings:
    if given["steps"] is not None and given["epochs"] != 1.0:
        raise UsageError("--steps and --epochs are two ways to say how long: give one of them")
    if given["keep"] is not None and not (given["suites"] and 0 < given["keep"] <= 1):
        raise UsageError("--keep is a share up to 100% of what the suites of --eval measure: give both")
    if given["kl_on"] and not given["kl"]:
        raise UsageError("--kl-on says where --kl is taken: give its weight, too")
    if not 0 <= given["warmup"] < 1:
        raise UsageError(f"--warmup is a share of the steps, such as 3%, not {given['warmup']}")
    adapts = given["lora"] is not None or given["peft"] is not None
    return TrainingSettings(
        steps=given["steps"],
        epochs=given["epochs"],
        rate=given["lr"] or (2e-4 if adapts else 1e-5),
        schedule=given["schedule"],
        warmup=given["warmup"],
        budget=given["batch_tokens"],
        accumulate=given["accumulate"],
        decay=given["weight_decay"],
        clip=given["clip"],
        language=given["lm_loss"],
        nearness=given["kl"],
        near=given["kl_on"],
        dtype=given["dtype"],
        save_every=given["save_every"],
        evaluate_every=given["eval_every"],
        keep=given["keep"],
        checkpointing=given["gradient_checkpointing"],
        seed=given["seed"],
    )


def _trained(given: dict[str, Any]) -> TrainedParts:
    return TrainedParts(
        freeze=given["freeze"],
        dropout=given["dropout"],
        lora=given["lora"],
        lora_alpha=given["lora_alpha"],
        lora_dropout=given["lora_dropout"],
        peft=given["peft"],
    )


def _record(model: str, settings: dict[str, Any], source: str, rows: TrainingRows) -> RunRecord:
    record = RunRecord("train", settings, model, versions("transformers", "torch"), source=source)
    record.accepted, record.rejected = len(rows), len(rows.rejected)
    record.reasons = dict(Counter(reason.split(":", 1)[0] for _, reason in rows.rejected))
    record.tokens = {"tokens": float(len(rows.tokens)), "trained": float(rows.trained)}
    if rows.untrained:
        record.tokens["untrained"] = float(len(rows.untrained))
    return record


def _curve(given: dict[str, Any]) -> Any:
    """What is measured while it trains, or None."""
    if not given["suites"] and not given["new_suites"]:
        return None
    from cli.curve import Curve

    return Curve.of(given)


def _source(given: dict[str, Any]) -> Rows:
    """The rows, brought to `messages` where they are neither tokens nor a column of plain texts that was named."""
    raw = open_source(given["source"])
    if given["text_column"] is not None:
        return raw
    if "input_ids" in raw.schema.names:
        if given["train_on"] == "all" or "labels" in raw.schema.names:
            return raw
        raise UsageError(
            f"{raw.source} holds tokens (input_ids) without labels, so nobody can tell which the assistant wrote: "
            "--train-on all trains on every token; or add labels (synth score-tokens), or leave input_ids out"
        )
    return rows_or_texts(raw, prompt_column=given["prompt_column"], reference_column=given["reference_column"])


def _window(given: dict[str, Any]) -> int:
    """Tokens a row may have: what the model, a batch and the user allow."""
    most = window_of(load_config(given["model"])) or sys.maxsize
    if given["max_length"] is not None and given["max_length"] > most:
        raise UsageError(f"--max-length {given['max_length']:,}: the model's window holds {most:,} tokens")
    return int(min(most, given["batch_tokens"], given["max_length"] or sys.maxsize))


def _vocabulary(model: str, chat: ChatFormat) -> int:
    """Token ids the model knows: the rows of its embedding, of which the tokenizer may use fewer."""
    known: int = getattr(load_config(model).get_text_config(), "vocab_size", len(chat.tokenizer))
    return known


def _processes() -> int:
    """How many processes a distributed run has, as torchrun says; 1 where it is none."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _process_index() -> int:
    """Which of them this is."""
    return int(os.environ.get("RANK", "0"))


def _say_rows(rows: TrainingRows, quiet: bool) -> None:
    say(f"{len(rows):,} rows, {len(rows.tokens):,} tokens, {rows.trained:,} with loss", quiet)
    reasons = Counter(reason.split(":", 1)[0] for _, reason in rows.rejected)
    for reason, count in reasons.most_common():
        say(f"  {count:>7,} left out: {reason} (see rejected.jsonl)", quiet)
    if rows.note:
        say(rows.note, quiet)


def _dry_run(rows: TrainingRows, settings: TrainingSettings, chat: ChatFormat) -> None:
    """Print what would be trained on."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from synth.training.batches import plan_steps

    console = Console(highlight=False)
    sizes = rows.sizes
    batches = plan_steps(
        sizes,
        budget=settings.budget,
        per_step=settings.accumulate * _processes(),
        steps=settings.steps,
        epochs=settings.epochs,
        seed=settings.seed,
    )
    seen = sum(int(sizes[batch].sum()) for batch in batches)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("source", "rows", "tokens", "with loss", "share"):
        table.add_column(name, justify="left" if name == "source" else "right")
    starts = rows.starts[:-1]
    trained = np.add.reduceat((rows.weights > 0).astype(np.int64), starts)
    names = np.array(rows.sources)
    for name in dict.fromkeys(rows.sources):
        mine = names == name
        tokens, learnt = int(sizes[mine].sum()), int(trained[mine].sum())
        numbers = (f"{mine.sum():,}", f"{tokens:,}", f"{learnt:,}", f"{learnt / tokens:.1%}")
        table.add_row(printable(name) or "all rows", *numbers)
    console.print(table)
    for reason, count in Counter(reason.split(":", 1)[0] for _, reason in rows.rejected).most_common():
        console.print(f"left out: {count:,} rows, {reason}")
    if rows.note:
        console.print(printable(rows.note))
    steps = len(batches) // (settings.accumulate * _processes())
    console.print(
        f"{steps:,} steps of up to {settings.budget * settings.accumulate * _processes():,} tokens: {seen:,} tokens, "
        f"{seen / sizes.sum():.2f} passes over the rows"
    )
    marks = ("", "") if console.color_system else MARKS
    console.print(Text("\n").append(f"{marks[0]}trained on{marks[1]}", LEARNT).append(", not trained on:", "dim"))
    for index in range(min(SHOWN, len(rows))):
        part = slice(rows.starts[index], rows.starts[index + 1])
        shown, at, before = Text(), 0, False
        for cell in cells(chat.tokenizer, rows.tokens[part].tolist()):
            has_loss = bool((rows.weights[part][at : at + cell.tokens] > 0).any())
            if has_loss != before:
                shown.append(marks[0] if has_loss else marks[1], LEARNT)
            shown.append(printable(cell.text), LEARNT if has_loss else "dim")
            at, before = at + cell.tokens, has_loss
        shown.append(marks[1] if before else "", LEARNT)
        console.print()
        console.print(Text(printable(rows.names[index]), "dim"))
        console.print(shown)


@contextmanager
def interruptible(stop: "Stop", quiet: bool) -> Iterator[None]:
    """Ctrl-C (and SIGTERM) end a run after the step it is in; a second one ends it at once."""

    def interrupt(number: int, _: Any) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.asked = True
        say("finishing this step; once more to end at once", quiet)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
