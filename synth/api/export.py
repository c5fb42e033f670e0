"""`synth.export`: a data set as a trainer loads it, or in another format of files."""

from filters.verdict import VerifierSettings
from synth.api.dataset import Dataset
from synth.api.places import Place, Source, output_at, source_at
from synth.api.roles import VerifierChoice
from synth.data.output import Output
from synth.errors import UsageError
from synth.exports.formats import OwnFormat
from synth.exports.run import Selected, Written, copy_rows, export_for
from synth.exports.trainers import OwnTrainer
from synth.generation.inputs import verifier_for, verifier_of
from synth.progress import Progress
from synth.values import Limit, checked


class Export(Dataset):
    """What was exported.

    Attributes:
        form: the format of the rows; None where they were copied.
        config: the configuration that makes the trainer load them; empty where they were copied.
        left_out: rows that the format cannot hold.
        reasons: why, of rows that are no tasks, and how many.
        masked: tokens that carry no loss.
    """

    def __init__(self, written: Written, output: Output) -> None:
        super().__init__(written.path or "", keep=output.keep)
        self._rows = written.rows
        self.form, self.config = written.form, written.config
        self.left_out, self.reasons, self.masked = written.left_out, written.reasons, written.masked

    def __len__(self) -> int:
        return self._rows


@checked
def export(
    source: Source,
    output: Place = None,
    *,
    trainer: str | OwnTrainer | None = None,
    form: str | OwnFormat | None = None,
    verifier: VerifierChoice = None,
    limit: Limit | None = None,
    prompt_column: str | None = None,
    reference_column: str | None = None,
    force: bool = False,
    progress: Progress = Progress(),  # noqa: B008 (it is frozen)
) -> Export:
    """Write a data set as a trainer loads it, or copy it to another format of files.

    Args:
        source: the rows.
        output: a dataset directory, or a .jsonl, .parquet or .arrow file.
        trainer: write what this trainer loads, and its configuration: rows have the columns that it takes and no
            others. "jsonl" and "parquet" are for any other. Or a function of yours, also as "module:function": it takes
            what was exported (`synth.exports.formats.Exported`), its path and the model's name, and returns the
            configuration. By default all columns are copied, conversations as `messages`.
        form: with `trainer`: the format of the rows: "tokens", "messages", "prompt-completion", "preference",
            "sharegpt" or "alpaca"; by default tokens if they are scored, preference if they are pairs, else messages.
            What is asked, without the answer, is "tasks" (for "grpo" and "prime-rl"), "prompts" ("distillation"),
            "demonstrations" ("sdft"), "verl" or "openrlhf". Or a function of yours, also as "module:function": it takes
            a `pyarrow.RecordBatch` with the columns of ours and returns the batch, or the list of dictionaries, that is
            written.
        verifier: of tasks: what rewards answers, as for `synth.verify`; by default what each row names. Rows whose own
            reference it does not judge right are left out.
        limit: rows of the source to take.
        prompt_column: the column with the prompt, if it is not recognised.
        reference_column: the column with the answer, likewise.
        force: replace the output if it exists.
        progress: is told how it goes.

    Raises:
        UsageError: the rows cannot be read, or not be brought to the format, or the output exists.
        RunError: the disk is full.
    """
    if trainer is None and form is not None:
        raise UsageError("`form` goes with `trainer`: name the trainer, or jsonl or parquet for files of your own")
    settings = verifier if isinstance(verifier, VerifierSettings) else verifier_of(verifier)
    if settings.name and trainer is None:
        raise UsageError("`verifier` rewards answers to tasks: name the `trainer` that they are for")
    judge = verifier_for(None, settings) or settings
    place = output_at(output)
    with source_at(source) as name:
        selected = Selected(name, limit, prompt_column, reference_column, judge)
        if trainer is None:
            written = copy_rows(selected, place, force=force, progress=progress)
        else:
            written = export_for(trainer, form, selected, place, force=force, progress=progress)
    return Export(written, place)
