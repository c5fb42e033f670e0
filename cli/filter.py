"""`synth filter`."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import click

from cli.call import arguments
from cli.help import Command
from cli.options import DEVICE, SEEDS, TRUST, input_options, output_options
from synth.progress import printable

if TYPE_CHECKING:
    from synth.curation.registry import StepKind
    from synth.curation.summary import Example, StepSummary

_ABOUT = (
    "Settings are shown with their defaults; an empty one has no bound. Values in capitals come without a name, in "
    "this order. MODEL is a causal language model, whose hidden states are taken, or sentence-transformers:NAME or "
    "model2vec:NAME where that is installed. A function of yours, module:function, takes a polars data frame with the "
    "columns id, row, prompt, answer, text, system, roles and those of the set."
)
_WIDTH = 100
_SHOWN = 76
"""Characters of a prompt or an answer that are shown."""

DUPLICATES = {"exact": "duplicates", "near": "near-duplicates", "semantic": "semantic-duplicates"}

FILTERS = {"against": "against", "decontaminate": "contamination", "language": "language"}
"""Filters with an option of their own."""


def _step(option: str, value: str) -> tuple[str, str]:
    """The step that an option stands for: --filter or --keep, and what follows it."""
    if option in FILTERS:
        return "filter", f"{FILTERS[option]}:{value}"
    if option != "dedup":
        return option, value
    kind, colon, settings = value.partition(":")
    if kind not in DUPLICATES:
        raise click.UsageError(f"--dedup {value}: write exact, near or semantic:MODEL")
    return "filter", f"{DUPLICATES[kind]}{colon}{settings}"


class _InOrder(Command):
    """A command that records the order in which its steps were given."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as click does, then once more for the order."""
        values, _, order = self.make_parser(ctx).parse_args(args=list(args))
        rest = super().parse_args(ctx, args)
        left = {name: iter(values.get(name, ())) for name in ("filter", "keep", "dedup", *FILTERS)}
        ctx.params["steps"] = [_step(one.name, next(left[one.name])) for one in order if one.name in left]
        return rest


@click.command(cls=_InOrder)
@input_options
@click.option(
    "--filter",
    multiple=True,
    expose_value=False,
    metavar="NAME:SETTINGS",
    help="Remove the rows that a filter finds, such as length:min=20,max=4000 or module:function. Repeatable.",
)
@click.option(
    "--keep",
    multiple=True,
    expose_value=False,
    metavar="NAME:SETTINGS",
    help="Keep the rows that are chosen, such as top:quality,1000. Repeatable.",
)
@click.option(
    "--dedup",
    multiple=True,
    expose_value=False,
    metavar="exact|near|semantic:MODEL",
    help="--filter duplicates, near-duplicates or semantic-duplicates; settings may follow, as in near:threshold=0.8.",
)
@click.option(
    "--against",
    multiple=True,
    expose_value=False,
    metavar="SET",
    help="--filter against: remove rows that ask nearly the same as a row of SET.",
)
@click.option(
    "--decontaminate",
    multiple=True,
    expose_value=False,
    metavar="FILE,…",
    help="--filter contamination: remove rows that hold questions or answers of benchmarks.",
)
@click.option(
    "--language",
    multiple=True,
    expose_value=False,
    metavar="CODE,…",
    help="--filter language: keep these languages only.",
)
@click.option("--list", "listing", is_flag=True, help="List all filters and selections, with their settings.")
@click.option(
    "--explain", is_flag=True, help="Print what each step removed, with examples; without -o nothing is written."
)
@click.option("--seed", type=SEEDS, default=0, show_default=True, help="For random choices.")
@DEVICE
@TRUST
@output_options
def command(**given: Any) -> None:
    """Curate a data set: remove rows by filters, keep rows by selections.

    --filter and --keep are steps, taken in the order in which they stand; each sees only the rows that are left.
    --dedup, --against, --decontaminate and --language are filters by shorter names, and steps like them.
    With -o DIR the rows removed are kept in DIR/rejected, each with its reason. `prompt`, `answer` and `text` in a
    setting are the user's turns, the assistant's, and all but the system's.

    A function of yours, module:function, takes a polars data frame (--list says of which columns) and returns a reason
    or null for each row, or whether it stays; as a series, or as an expression.

    \b
    Examples:
      synth filter --list
      synth filter own --filter duplicates --filter length:min=20,max=4000 --explain
      synth filter own --filter near-duplicates:threshold=0.7 --language en,zh \\
          --filter personal-data --keep top:quality,1000 -o clean
      synth filter replay --dedup near --against target.jsonl \\
          --decontaminate gsm8k/test.jsonl,HumanEval.jsonl -o clean
      synth filter own --filter my_module:my_function -o clean
    """  # noqa: D301 (\b is click's)
    if given.pop("listing"):
        _print_list()
        return
    from synth.api.filter import filter
    from synth.curation.steps import read_step
    from synth.engines.loading import remote_code_allowed

    shown = given["explain"] and given["output"] in (None, "-")  # then nothing is to be written
    given["steps"] = [read_step(kind, text) for kind, text in given["steps"]]
    with ExitStack() as stack:
        if shown:
            given["output"] = stack.enter_context(open(os.devnull, "wb"))
        call = stack.enter_context(arguments(given | {"trust_remote_code": remote_code_allowed()}))
        filtered = filter(**call)
    if given["explain"]:
        for line in _explained(filtered.steps):
            click.echo(line, err=not shown)
    if filtered.record and filtered.record.note:
        click.echo(f"synth: {filtered.record.note}", err=True)


def _print_list() -> None:
    """Print all filters and selections, with their settings."""
    from synth.curation.steps import described

    titles: dict[StepKind, str] = {"filter": "--filter removes", "keep": "--keep keeps"}
    for kind, title in titles.items():
        click.echo(click.style(title, bold=True) + "\n")
        for one in described(kind):
            click.echo(f"  {one.name}:{one.settings}" if one.settings else f"  {one.name}")
            for line in wrap(one.says, _WIDTH - 6):
                click.echo(f"      {line}")
        click.echo()
    for line in wrap(_ABOUT, _WIDTH):
        click.echo(line)


def _explained(steps: "Sequence[StepSummary]") -> Iterator[str]:
    """What each step removed, by category, with examples."""
    for number, step in enumerate(steps, 1):
        yield f"{click.style(f'{number}. {printable(step.text)}', bold=True)}  {step.share}"
        for category in step.categories:
            yield f"  {category.count:>9,}  {printable(category.name)}"
            for example in category.examples:
                yield from _example(example)
                if example.other is not None:
                    yield from _example(example.other)
        yield ""


def _example(example: "Example") -> Iterator[str]:
    about = f"row {example.row:,}" + (f": {printable(example.particulars)}" if example.particulars else "")
    yield f"             {click.style(about, dim=True)}"
    for name, text, colour in (("prompt", example.prompt, "cyan"), ("answer", example.answer, "green")):
        if text is None:
            shown = click.style("(none)", dim=True)
        else:
            line = " ".join(text.split())
            shown = printable(line[:_SHOWN]) + (" …" if len(line) > _SHOWN or len(text) > 4 * _SHOWN else "")
        yield f"             {click.style(name, fg=colour)}  {shown}"
