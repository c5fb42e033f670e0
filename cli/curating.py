"""What `synth filter` does: make the steps, take them, write what is left, say what is gone."""

import re
from collections.abc import Iterator
from textwrap import wrap
from typing import Any

import click
import polars as pl

from cli.generate import claimed_stdout
from cli.progress import Meter, going_on, say
from cli.show import printable
from synth.curation.context import FilterContext
from synth.curation.pipeline import Curation, Removal, columns_of, curate, curated, frame_of, schema_of
from synth.curation.steps import StepKind, described, steps_of
from synth.data.output import StreamSink, open_output
from synth.data.prompts import PromptSet, open_prompts
from synth.data.read import open_rows
from synth.data.run.directory import RunDirectory
from synth.data.run.record import RunRecord
from synth.data.run.versions import versions
from synth.errors import UsageError

EXAMPLES = 3
"""Rows that --explain shows of each category."""

_OF_ANOTHER = {"exact duplicate", "near duplicate", "semantic duplicate", "alike", "represented", "longer"}
"""Categories whose particulars name another row."""

_NAMED = re.compile(r"^.*?(?:of|to|by) (.*?)(?:, (?:similarity|cosine) [\d.]+)?$")

_ABOUT = (
    "Settings are shown with their defaults; an empty one has no bound. Values in capitals come without a name, in "
    "this order. MODEL is a causal language model, whose hidden states are taken, or sentence-transformers:NAME or "
    "model2vec:NAME where that is installed. A function of yours, module:function, takes a polars data frame with the "
    "columns id, row, prompt, answer, text, system, roles and those of the set."
)
_WIDTH = 100
_SHOWN = 76


def curate_set(given: dict[str, Any]) -> None:
    """Run the command with its options.

    Raises:
        UsageError: the set cannot be read, a step is unknown or cannot be made, or a filter failed.
        RunError: the disk failed; what has landed is kept.
    """
    quiet: bool = given["quiet"]
    if not given["steps"]:
        raise UsageError("nothing to do: give --filter, --keep, --dedup, … (synth filter --list shows all steps)")
    output: str | None = given["output"]
    rows = open_rows(given["source"], prompt_column=given["prompt_column"], reference_column=given["reference_column"])
    tasks = open_prompts(rows, given["limit"])
    for note in rows.notes:
        say(note, quiet)
    shop = FilterContext(columns_of(tasks), given["seed"], given["device"], piped=given["source"] in (None, "-"))
    steps = steps_of(given["steps"], shop)
    if given["explain"] and output in (None, "-"):
        frame = frame_of(tasks)
        _print(_explained(curate(frame, steps, tasks.faults()), frame), err=False)
        return
    settings = {
        "steps": [" ".join(step) for step in given["steps"]],
        "seed": given["seed"],
        "input": tasks.fingerprint,
        "read": shop.inputs,
    }
    record = RunRecord("filter", settings, versions=versions(), source=rows.source)
    with claimed_stdout() as stream:
        sink = open_output(output, stream, record, schema_of(tasks), restart=given["restart"], also_read=shop.inputs)
        if sink.next and sink.next >= tasks.total:
            sink.finish(_note(sink, tasks))
            say(f"{output} already holds {sink.record.accepted:,} rows", quiet)
            return
        with going_on(sink, given):
            frame = frame_of(tasks)
            found = curate(frame, steps, tasks.faults())
            _write(sink, tasks, found, quiet)
        sink.finish(_note(sink, tasks))
    if given["explain"]:
        _print(_explained(found, frame), err=True)
    else:
        for line in _counted(found):
            say(line, quiet)
    where = f" in {output}" if output else ""
    say(f"{sink.record.accepted:,} of {tasks.total:,} rows{where}", quiet)
    if sink.record.note:
        click.echo(f"synth: {sink.record.note}", err=True)


def print_list() -> None:
    """Print all filters and ways to choose, with their settings."""
    lines = []
    titles: dict[StepKind, str] = {"filter": "--filter removes", "keep": "--keep keeps"}
    for kind, title in titles.items():
        lines += [click.style(title, bold=True), ""]
        for one in described(kind):
            name = f"{one.name}:{one.settings}" if one.settings else one.name
            lines += [f"  {name}", *(f"      {line}" for line in wrap(one.says, _WIDTH - 6))]
        lines.append("")
    _print([*lines, *wrap(_ABOUT, _WIDTH)], err=False)


def _write(sink: StreamSink | RunDirectory, tasks: PromptSet, found: Curation, quiet: bool) -> None:
    with Meter("filter", quiet=quiet) as meter:
        for accepted, rejected in curated(tasks, found.reasons, sink.next):
            sink.extend(accepted, rejected)
            meter.show(sink.next, tasks.total, "")


def _note(sink: StreamSink | RunDirectory, tasks: PromptSet) -> str | None:
    """What people should know of a set of nothing."""
    if sink.record.accepted:
        return None
    return "the input has no rows" if not tasks.total else f"nothing is left: all {tasks.total:,} rows were removed"


def _counted(found: Curation) -> Iterator[str]:
    """What each step removed, by category."""
    for number, removal in enumerate(found.removals, 1):
        yield f"{number}. {printable(removal.step.text)}: {_share(removal)}"
        if len(removal.categories) > 1:
            for category, count in removal.categories.most_common():
                yield f"  {count:>9,}  {printable(category)}"


def _share(removal: Removal) -> str:
    count = len(removal.rows)
    if not removal.seen:
        return "no row was left to look at"
    if removal.step.keeps:
        count = removal.seen - count
    done = "kept" if removal.step.keeps else "removed"
    return f"{count:,} of {removal.seen:,} {done} ({count / removal.seen:.1%})"


def _explained(found: Curation, frame: pl.DataFrame) -> Iterator[str]:
    """What each step removed, by category, with examples."""
    places = {name: row for row, name in enumerate(frame["id"].to_list())}
    for number, removal in enumerate(found.removals, 1):
        title = click.style(f"{number}. {printable(removal.step.text)}", bold=True)
        yield f"{title}  {_share(removal)}"
        for category, count in removal.categories.most_common():
            yield f"  {count:>9,}  {printable(category)}"
            examples = [
                (row, reason)
                for row, reason in zip(removal.rows, removal.reasons, strict=True)
                if reason.split(":", 1)[0] == category
            ]
            for row, reason in examples[:EXAMPLES]:
                particulars = reason.partition(":")[2].strip()
                yield from _example(frame.row(row, named=True), particulars)
                if category in _OF_ANOTHER and (other := places.get(_NAMED.sub(r"\1", particulars))) is not None:
                    yield from _example(frame.row(other, named=True), "the other")
        yield ""


def _example(row: dict[str, Any], particulars: str) -> Iterator[str]:
    about = click.style(f"row {row['row']:,}" + (f": {printable(particulars)}" if particulars else ""), dim=True)
    yield f"             {about}"
    for name, colour in (("prompt", "cyan"), ("answer", "green")):
        text = row[name]
        if text is None:
            said = click.style("(none)", dim=True)
        else:
            line = " ".join(text[: 4 * _SHOWN].split())
            said = printable(line[:_SHOWN]) + (" …" if len(line) > _SHOWN or len(text) > 4 * _SHOWN else "")
        yield f"             {click.style(name, fg=colour)}  {said}"


def _print(lines: Iterator[str] | list[str], *, err: bool) -> None:
    for line in lines:
        click.echo(line, err=err)
