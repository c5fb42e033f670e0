"""`synth.filter`: bad rows removed, and the best kept."""

from collections.abc import Sequence

from synth.api.dataset import Dataset
from synth.api.places import Place, Source, output_at, source_at
from synth.curation.run import run_steps
from synth.curation.steps import AnyStep, steps_of
from synth.curation.summary import StepSummary
from synth.data.plain import open_rows_or_texts
from synth.data.prompts import open_prompts
from synth.engines.loading import remote_code
from synth.engines.open import check_device
from synth.errors import UsageError
from synth.progress import Progress
from synth.values import Limit, Processes, Seed, checked


class Filtered(Dataset):
    """The rows that are left; those removed are `rejected`, each with its reason.

    Attributes:
        steps: what each step did. None where the output was complete already.
    """

    steps: Sequence[StepSummary] = ()


@checked
def filter(
    source: Source,
    steps: AnyStep | Sequence[AnyStep],
    *,
    output: Place = None,
    explain: bool = False,
    seed: Seed = 0,
    device: str = "auto",
    processes: Processes = 1,
    trust_remote_code: bool = False,
    limit: Limit | None = None,
    prompt_column: str | None = None,
    reference_column: str | None = None,
    restart: bool = False,
    progress: Progress = Progress(),  # noqa: B008 (it is frozen)
) -> Filtered:
    """Curate a data set: remove rows by filters, keep rows by selections.

    Args:
        source: the rows.
        steps: filters and selections of `synth.filters`, in their order: each sees the rows that are left. A function
            of your own takes a polars data frame (columns id, row, prompt, answer, text, system, thoughts, calls,
            roles, and those of the set) and gives a reason or null for each row, or whether it stays: a series, or an
            expression. It sees all rows that are left, at once; other steps take rows some at a time, so that there
            may be more than memory holds.
        output: where the rows go; an interrupted run there is continued.
        explain: show what each step removed, with examples.
        seed: for random choices.
        device: where models run that turn texts into vectors: "auto", "cuda", "mps" or "cpu".
        processes: how many judge rows by filters of single rows (length, language, personal data, …); what comes out is
            the same. Each takes some 300 MiB.
        trust_remote_code: let such a model run code that comes with it; without this it never does.
        limit: rows of the source to take.
        prompt_column: the column with the prompt, if it is not recognised.
        reference_column: the column with the human answer, likewise.
        restart: throw away what an earlier run left in the output.
        progress: is told how it goes.

    Raises:
        UsageError: the set cannot be read, a step cannot be made ready, or a filter failed.
        RunError: the disk failed; what was written is kept.
        Stopped: a person stopped it.
    """
    check_device(device)
    if not steps:
        raise UsageError("nothing to do: name a filter or a selection, such as near duplicates")
    place = output_at(output, restart=restart)
    with source_at(source) as name, remote_code(allowed=trust_remote_code):
        rows = open_rows_or_texts(name, prompt_column=prompt_column, reference_column=reference_column)
        prompts = open_prompts(rows, limit)
        for note in rows.notes:
            progress.say(note)
        record, did = run_steps(
            prompts,
            steps_of(steps),
            place,
            seed=seed,
            device=device,
            processes=processes,
            piped=name == "-",
            explain=explain,
            progress=progress,
        )
        filtered = Filtered(place.path or "", record=record, keep=place.keep)
        filtered.steps = did
        return filtered
