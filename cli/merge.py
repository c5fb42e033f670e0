"""`synth merge`."""

from typing import Any

import click

from cli.call import told
from cli.help import Command
from cli.options import Number, announced, directory_for


@click.command(cls=Command)
@announced
@click.argument("base")
@click.argument("tuned")
@click.option("--ratio", type=Number(), help="How much of TUNED (or of the chat vector). [default: 0.5; 1 with --add]")
@click.option("--add", metavar="CHAT", help="Add the difference of CHAT and BASE to TUNED: a chat vector.")
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    required=True,
    callback=directory_for("the merged model"),
    help="Where the merged model goes.",
)
@click.option("--quiet", is_flag=True, help="Print errors only.")
def command(quiet: bool, **given: Any) -> None:
    """Merge the weights of a model before and after training, to recover some of what it forgot.

    BASE and TUNED are directories or Hub ids of one family. Weights are interpolated: BASE at --ratio 0, TUNED at 1.
    With --add, the difference between CHAT and BASE is added to TUNED instead.

    \b
    Examples:
      synth merge Qwen/Qwen2.5-7B-Instruct tuned --ratio 0.7 -o merged
      synth merge meta-llama/Llama-3.1-8B my-pretrained --add meta-llama/Llama-3.1-8B-Instruct -o merged
    """  # noqa: D301 (\b is click's)
    from synth.api.merge import merge

    merge(**given, progress=told(quiet=quiet))
