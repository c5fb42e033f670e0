"""`synth minimum-change`."""

from typing import Any

import click

from cli.call import arguments
from cli.help import Command
from cli.options import MODEL, Number, Whole, answering_options, input_options, verifier_options


@click.command(cls=Command)
@input_options
@MODEL
@verifier_options
@click.option(
    "--editor", metavar="MODEL[@URL]", help="The model that corrects wrong answers. [default: --model itself]"
)
@click.option("--prompt", default="minimum-change", metavar="FILE", help="The editor's prompt, instead of ours.")
@click.option(
    "--floor", type=Number(0, 1), default=0.5, show_default=True, help="Least similarity to the model's answer, 0-1."
)
@click.option("--retries", type=Whole(0), default=2, show_default=True, help="Further tries of the editor.")
@answering_options
def command(**given: Any) -> None:
    """Correct the model's own answers with as few changes as possible.

    The model answers each task; right answers are kept verbatim (method `self-output`). Wrong ones go to an
    editor, which sees the human answer and changes only what is wrong; the corrected answer is verified and must
    stay similar to the model's own. `edit_distance` (words), `similarity`, `logprob_before` and
    `logprob_after` are columns; tasks that cannot be corrected are kept in rejected/ with the reason.

    \b
    Examples:
      synth minimum-change gsm8k.jsonl --model M --verifier math -o edits
      synth minimum-change gsm8k.jsonl --model M --verifier math \\
          --editor Qwen/Qwen2.5-72B-Instruct@http://localhost:8000 -o edits
    """  # noqa: D301 (\b is click's)
    from synth.api.minimum_change import minimum_change

    with arguments(given) as call:
        minimum_change(**call)
