"""Exports a source to files: copies rows, or converts them to the format that a trainer loads."""

from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from filters.verdict import VerifierSettings
from synth.data.output import Output
from synth.data.pairs import has_pairs, pairs
from synth.data.plain import open_rows_or_texts, rows_or_texts
from synth.data.read import Rows, conversations, open_source
from synth.data.store.address import is_address
from synth.data.store.path import File, path_at
from synth.data.write import open_writer
from synth.errors import UsageError
from synth.exports.formats import FORMATS, Exported, Format, OwnFormat, form_of, format_of, in_format
from synth.exports.parts import Losses
from synth.exports.tasks import KINDS, TAKEN, TaskReader, check_judge
from synth.exports.trainers import NAMED_IN_CONFIG, OwnTrainer, Trainer, check, data_path, trainer_of
from synth.progress import Progress
from synth.scoring.token_scores import scorer_model


@dataclass(frozen=True, slots=True)
class Selected:
    """Which rows of a source are exported.

    Attributes:
        source: the source.
        limit: rows to take; None takes all.
        prompt_column: the column with the prompt, if it is not recognised.
        reference_column: the column with the answer, likewise.
        judge: what rewards answers to tasks; without a name, the verifier that each row names.
    """

    source: str
    limit: int | None = None
    prompt_column: str | None = None
    reference_column: str | None = None
    judge: VerifierSettings = field(default_factory=lambda: VerifierSettings(""))


@dataclass(frozen=True, slots=True)
class Written:
    """What was exported.

    Attributes:
        path: the file or the directory of the data; None for a stream.
        rows: how many there are.
        form: their format; None for copies.
        left_out: rows that the format cannot hold.
        reasons: why, of rows that are no tasks, and how many.
        masked: tokens without loss.
        config: the configuration that makes the trainer load them; empty for copies.
    """

    path: File | None
    rows: int
    form: str | None = None
    left_out: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    masked: int = 0
    config: str = ""


def copy_rows(selected: Selected, output: Output, *, force: bool, progress: Progress) -> Written:
    """Write rows with all their columns, conversations as `messages`.

    Args:
        selected: the rows.
        output: where they go.
        force: replace what is there.
        progress: is told what was recognised and how many rows there are.

    Raises:
        UsageError: they cannot be read, or the output exists.
        RunError: the disk is full.
    """
    rows = open_rows_or_texts(
        selected.source, prompt_column=selected.prompt_column, reference_column=selected.reference_column
    )
    with nullcontext(output.stream) if output.path is None else output.made(force=force) as place:
        target = str(place) if isinstance(place, Path) else place
        with open_writer(target, rows.schema, source=selected.source, force=force) as writer:
            for batch in rows.readable(selected.limit):
                writer.write(batch)
    for note in rows.notes:
        progress.say(note)
    progress.say(f"{writer.rows:,} rows → {output.called or 'standard output'}")
    return Written(path_at(output.path) if output.path else None, writer.rows)


def export_for(
    trainer: str | OwnTrainer,
    form: str | OwnFormat | None,
    selected: Selected,
    output: Output,
    *,
    force: bool,
    progress: Progress,
) -> Written:
    """Write rows as a trainer loads them.

    Args:
        trainer: one of `TRAINERS`, or a function of the user's.
        form: the format of the rows; None takes their default.
        selected: the rows.
        output: the file or directory.
        force: replace what is there.
        progress: is told what was recognised, left out and masked.

    Raises:
        UsageError: there is no such trainer or format, or the trainer does not take it; the rows cannot be read, or
            lack what it is made of; or the output exists, or has another suffix than the trainer loads.
        RunError: the disk is full.
    """
    name, loads = trainer_of(trainer)
    if output.path is None:
        raise UsageError(f"`trainer` {name} writes files: name them with `output`")
    suffix = Path(output.path).suffix.lower()
    if loads.suffix is not None and suffix != loads.suffix and (loads.suffix or suffix[1:].isalpha()):
        what = f"one {loads.suffix} file" if loads.suffix else "a directory"
        raise UsageError(f"`output` {output.called}: {name} loads {what}")
    raw = open_source(selected.source)
    format = format_of(form or _default_form(loads, raw.schema))
    check(name, loads, format, chosen=form is not None)
    rows = _rows(raw, format, selected)
    tasks = _task_reader(rows, format, selected.judge, name, loads, progress)
    exported = in_format(rows, format, attention=loads.attention, style=loads.style, tasks=tasks)
    with output.made(force=force) as path, closing(tasks) if tasks else nullcontext():
        data = data_path(loads, format, path)
        with (
            _folder(path, data, force=force),
            open_writer(str(data), exported.schema, source=selected.source, force=force) as writer,
        ):
            for batch in exported.batches(selected.limit):
                writer.write(batch)
        if data != path and loads.files is not None:
            for file, text in loads.files(exported, path.name).items():
                (path / file).write_text(text, encoding="utf-8")
    _tell(exported, loads, rows, progress)
    masked = f", {exported.masked:,} masked tokens" if exported.masked else ""
    progress.say(f"{writer.rows:,} rows as {format.name}{masked} → {output.called}")
    model = scorer_model(exported.scorer) if exported.scorer else NAMED_IN_CONFIG
    config = loads.config(exported, path, model)
    if is_address(str(output.path)):
        config = config.replace(str(path), str(output.called))
    place = path_at(output.path) if data == path else path_at(output.path) / data.relative_to(path)
    reasons = dict(tasks.reasons) if tasks else {}
    return Written(place, writer.rows, format.name, exported.left_out, reasons, exported.masked, config)


@contextmanager
def _folder(path: Path, data: Path, *, force: bool) -> Iterator[None]:
    """The folders of a file of data in a directory with others; none is left behind where it cannot be written."""
    if data == path:
        yield
        return
    if not force and path.is_dir() and any(path.iterdir()):
        raise UsageError(f"{path} exists; choose another `output`, or add `force` to write into it")
    made = [folder for folder in (data.parent, path) if not folder.exists()]
    data.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for folder in made:
            with suppress(OSError):  # it is the other's, or not empty
                folder.rmdir()
        raise


def _tell(exported: Exported, trainer: Trainer, rows: Rows, progress: Progress) -> None:
    """Tell what was recognised, what is left out, and what the trainer does not keep."""
    for note in rows.notes:
        progress.say(note)
    if exported.left_out:
        why = f": {exported.tasks.told()}" if exported.tasks else f", which {exported.form} cannot hold"
        progress.say(f"{exported.left_out:,} rows left out{why}")
    if trainer.losses and exported.format.of != "tokens" and Losses.of(rows.schema):
        progress.say(f"{trainer.losses}; tokens with labels, which synth score-tokens makes, are exact everywhere")


def _default_form(trainer: Trainer, schema: pa.Schema) -> str:
    """The format of rows with a schema, for a trainer: tasks can be made of any that are conversations."""
    first = trainer.forms[0]
    return first if FORMATS[first].of in KINDS else form_of(schema)


def _task_reader(
    rows: Rows, format: Format, judge: VerifierSettings, name: str, trainer: Trainer, progress: Progress
) -> TaskReader | None:
    """What makes tasks of the rows, for a format that is of these."""
    rewarded = format.of == "tasks"
    if judge.name and not rewarded:
        raise UsageError(f"`verifier` rewards answers, and {name} takes {format.name}: leave it out")
    if format.of not in KINDS:
        return None
    if rewarded:
        check_judge(rows, judge, name, one_by_one=trainer.one_by_one)
        progress.say(f"checking the reference of each row with {judge.name or 'the verifier that it names'}")
    if left := sorted(TAKEN & {*rows.schema.names}):
        rows.notes.append(f"left behind: {', '.join(left)}, which trainers would take for something else")
    return TaskReader(format.of, judge)


def _rows(raw: Rows, format: Format, selected: Selected) -> Rows:
    """The rows with the columns that a format is made of."""
    if format.of == "pairs" and has_pairs(raw.schema):
        return pairs(raw, prompt_column=selected.prompt_column)
    if format.of != "turns" and format.of not in KINDS:
        return raw
    read = conversations if format.name in FORMATS else rows_or_texts
    return read(raw, prompt_column=selected.prompt_column, reference_column=selected.reference_column)
