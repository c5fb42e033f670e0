"""`synth push`."""

import click

from cli.command import Call, command_of
from cli.options import Argument


@command_of("synth.api.push:push", folder=Argument("DIR"), name=Argument("USER/NAME"))
def command(call: Call) -> None:
    """Send a finished data set, evaluation or model, with its card, to the Hugging Face Hub.

    Commands that write a directory do the same at their end with --push USER/NAME. Rows go as Parquet, so that
    datasets.load_dataset loads them; rejected rows and preference pairs are configurations of their own. Run again, it
    sends what is missing. The repository is private, unless --public is given. The token is that of `hf auth login`, or
    in HF_TOKEN.

    \b
    Examples:
      synth push replay USER/replay
      synth push tuned USER/tuned --license apache-2.0 --public
      synth magpie --model M -n 10000 -o replay --push USER/replay
    """  # noqa: D301 (\b is click's)
    click.echo(call())
