"""`synth filter`."""

from typing import Any

import click

from cli.options import DEVICE, input_options, output_options


class _InOrder(click.Command):
    """A command that knows in which order --filter and --keep were given among each other."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, and once more for the order."""
        values, _, order = self.make_parser(ctx).parse_args(args=list(args))
        rest = super().parse_args(ctx, args)
        left = {"filter": iter(values.get("filter", ())), "keep": iter(values.get("keep", ()))}
        ctx.params["steps"] = [(option.name, next(left[option.name])) for option in order if option.name in left]
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
@click.option("--list", "listing", is_flag=True, help="List all filters and ways to choose, with their settings.")
@click.option(
    "--explain", is_flag=True, help="Print what each step removed, with examples; without -o nothing is written."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of what is drawn at random.")
@DEVICE
@output_options
def command(**given: Any) -> None:
    """Curate a data set: remove rows that filters find, keep those that are chosen.

    --filter and --keep are steps, taken in the order in which they stand; each sees only the rows that are left. With
    -o DIR the rows removed are kept in DIR/rejected, each with its reason. `prompt`, `answer` and `text` in a setting
    are the user's turns, the assistant's, and all but the system's.

    A function of yours, module:function, takes a polars data frame (--list says of which columns) and returns a reason
    or null for each row, or whether it stays; as a series, or as an expression.

    \b
    Examples:
      synth filter --list
      synth filter own --filter duplicates --filter length:min=20,max=4000 --explain
      synth filter own --filter near-duplicates:threshold=0.7 --filter language:en,zh \\
          --filter personal-data --keep top:quality,1000 -o clean
      synth filter replay --filter contamination:gsm8k/test.jsonl,HumanEval.jsonl \\
          --filter against:target.jsonl -o clean
      synth filter own --filter my_module:my_function -o clean
    """  # noqa: D301 (\b is click's)
    from cli.curating import curate_set, print_list

    if given["listing"]:
        print_list()
    else:
        curate_set(given)
