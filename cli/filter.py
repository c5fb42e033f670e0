"""`synth filter`."""

import os
from contextlib import nullcontext

import click

from cli.command import Call, command_of
from cli.help import Command

DUPLICATES = {"exact": "duplicates", "near": "near-duplicates", "semantic": "semantic-duplicates"}
FILTERS = {"against": "against", "decontaminate": "contamination", "language": "language"}
"""Filters that have an option of their own."""
STEPS = {
    "filter": (
        "NAME:SETTINGS",
        "Remove the rows that a filter finds, such as length:min=20,max=4000 or module:function. Repeatable.",
    ),
    "keep": ("NAME:SETTINGS", "Keep the rows that are chosen, such as top:quality,1000. Repeatable."),
    "dedup": (
        "exact|near|semantic:MODEL",
        "--filter duplicates, near-duplicates or semantic-duplicates; settings may follow, as in near:threshold=0.8.",
    ),
    "against": ("SET", "--filter against: remove what asks much what a row of SET does."),
    "decontaminate": ("FILE,…", "--filter contamination: remove what holds questions or answers of benchmarks."),
    "language": ("CODE,…", "--filter language: remove all others."),
}
"""The options that are steps: what stands for their values, and what the help says."""


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
    """A command that knows in which order its steps were given among each other."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, and once more for the order."""
        values, _, order = self.make_parser(ctx).parse_args(args=list(args))
        rest = super().parse_args(ctx, args)
        left = {name: iter(values.get(name, ())) for name in STEPS}
        ctx.params["steps"] = [_step(one.name, next(left[one.name])) for one in order if one.name in left]
        return rest


@command_of(
    "synth.api.filter:filter",
    *(
        click.Option([f"--{name}"], multiple=True, expose_value=False, metavar=metavar, help=text)
        for name, (metavar, text) in STEPS.items()
    ),
    click.Option(["--list", "listing"], is_flag=True, help="List all filters and ways to choose, with their settings."),
    kind=_InOrder,
    steps=None,
)
def command(call: Call, listing: bool) -> None:
    """Curate a data set: remove rows by filters, keep rows by selections.

    --filter and --keep are steps, taken in the order in which they stand; each sees only the rows that are left.
    --dedup, --against, --decontaminate and --language are filters by shorter names, and steps like them.
    With -o DIR the rows removed are kept in DIR/rejected, each with its reason. `prompt`, `answer` and `text` in a
    setting are the user's turns, the assistant's, and all but the system's.

    Rows are gone through some at a time, and may be more than memory holds; temporary files go to the folder that the
    environment variable TMPDIR names.

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
      synth filter rows.parquet --language en --filter personal-data --processes 4 -o clean
      synth filter own --filter my_module:my_function -o clean
    """  # noqa: D301 (\b is click's)
    from synth.curation.steps import read_step

    if listing:
        from synth.reports.terminal.steps import print_list

        print_list()
        return
    explained, output = call.given["explain"], call.given["output"]
    shown = explained and output in (None, "-")  # then nothing is to be written
    with open(os.devnull, "wb") if shown else nullcontext(output) as place:
        filtered = call(steps=[read_step(kind, text) for kind, text in call.given["steps"]], output=place)
    if explained:
        from synth.reports.terminal.steps import print_steps

        print_steps(filtered.steps, on_stderr=not shown)
    if filtered.record and filtered.record.note:
        click.echo(f"synth: {filtered.record.note}", err=True)
