"""Runs a curation: prepares the steps, applies them, writes the remaining rows."""

from collections.abc import Sequence
from contextlib import ExitStack

from synth.curation.context import FilterContext
from synth.curation.frames import blocks_of, columns_of, schema_of
from synth.curation.judging import judge_here
from synth.curation.pipeline import Curation
from synth.curation.processes import Processes
from synth.curation.registry import Step
from synth.curation.steps import open_steps
from synth.curation.summary import StepSummary, summaries
from synth.data.output import Output
from synth.data.prompts import PromptSet
from synth.data.run.record import RunRecord
from synth.data.run.versions import versions
from synth.errors import UsageError
from synth.progress import Progress
from synth.stop import Stop


def run_steps(
    prompts: PromptSet,
    steps: Sequence[Step],
    output: Output,
    *,
    seed: int,
    device: str,
    processes: int,
    piped: bool,
    explain: bool,
    progress: Progress,
) -> tuple[RunRecord, list[StepSummary]]:
    """Take the steps in their order, each on the rows that those before it left, and write what is left.

    Args:
        prompts: the rows.
        steps: the filters and selections.
        output: where the rows go; those removed go beside them, each with its reason.
        seed: of what is drawn at random.
        device: where models run.
        processes: how many judge rows by filters of single rows.
        piped: whether the rows came from standard input, so that no step can read it.
        explain: give examples of what each step removed, instead of telling `progress` how many.
        progress: is told how it goes.

    Returns:
        What is known of the run, and what each step did; no steps where the output was complete already.

    Raises:
        UsageError: a step cannot be made ready, or a filter failed.
        RunError: the disk failed; what has landed is kept.
        Stopped: a person stopped it.
    """
    context = FilterContext(columns_of(prompts), seed, device, piped=piped)
    opened = open_steps(steps, context)
    if processes > 1 and "-" in context.inputs:
        raise UsageError("`processes`: each reads what filters compare rows with; save what comes from standard input")
    settings = {
        "steps": [f"{step.kind} {step.text}" for step in steps],
        "seed": seed,
        "input": prompts.fingerprint,
        "read": context.inputs,
    }
    record = RunRecord("filter", settings, versions=versions(), source=prompts.source.source)
    opening = output.opened(record, schema_of(prompts), also_read=context.inputs)
    with Stop().on_signals(), opening as sink, ExitStack() as work:
        record = sink.record
        if sink.next and sink.next >= prompts.total:
            record.note = _note(record, prompts)
            progress.say(f"{output.called} already holds {record.accepted:,} rows")
            return record, []
        judge = work.enter_context(Processes(processes, context)).judge if processes > 1 else judge_here
        curation = Curation(prompts, opened, judge)
        with progress.meter("filter") as meter:
            told = lambda rows: meter.show(rows, prompts.total, "compared")  # noqa: E731
            for accepted, rejected in curation.rows(sink.next, told):
                sink.extend(accepted, rejected)
                meter.show(sink.next, prompts.total, "")
        record.note = _note(record, prompts)
    did = summaries(curation.removals, (block.frame() for block in blocks_of(prompts)) if explain else ())
    if not explain:
        for number, step in enumerate(did, 1):
            for line in step.lines(number):
                progress.say(line)
    progress.say(f"{record.accepted:,} of {prompts.total:,} rows{f' in {output.called}' if output.path else ''}")
    return record, did


def _note(record: RunRecord, prompts: PromptSet) -> str | None:
    """The note on a result without rows."""
    if record.accepted:
        return None
    total = prompts.total
    return "the input has no rows" if not total else f"nothing is left: all {total:,} rows were removed"
