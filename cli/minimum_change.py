"""`synth minimum-change`."""

from typing import Any

import click

from cli.help import Command
from cli.options import MODEL, Number, Whole, answering_options, input_options, verifier_options


@click.command(cls=Command)
@input_options
@MODEL
@verifier_options
@click.option("--editor", metavar="MODEL[@URL]", help="The model that mends wrong answers. [default: --model itself]")
@click.option(
    "--prompt", "prompt_name", default="minimum-change", metavar="FILE", help="The editor's prompt, instead of ours."
)
@click.option(
    "--floor", type=Number(0, 1), default=0.5, show_default=True, help="Least similarity to the model's answer, 0-1."
)
@click.option("--retries", type=Whole(0), default=2, show_default=True, help="Further tries of the editor.")
@answering_options
def command(**given: Any) -> None:
    """Mend the model's own answers with as few changes as possible.

    The model answers each task; right answers stand verbatim (method `self-output`). Wrong ones go to an
    editor, which sees the human answer and changes only what is wrong; the mended answer is verified and must
    stay similar to the model's own. `edit_distance` (words), `similarity`, `logprob_before` and
    `logprob_after` are columns; tasks that cannot be mended are kept in rejected/ with the reason.

    \b
    Examples:
      synth minimum-change gsm8k.jsonl --model M --verifier math -o edits
      synth minimum-change gsm8k.jsonl --model M --verifier math \\
          --editor Qwen/Qwen2.5-72B-Instruct@http://localhost:8000 -o edits
    """  # noqa: D301 (\b is click's)
    from dataclasses import replace

    from cli.cast import casting_of, judged, tasks_of
    from cli.generate import generate, task_job
    from synth.engines.base import Sampling
    from synth.methods.minimum_change import COLUMNS, MinimumChangeSettings, minimum_change

    casting = replace(casting_of(given, model=given["model"], editor=given["editor"]), scores=True)
    settings = MinimumChangeSettings(
        seed=given["seed"],
        prompt_name=given["prompt_name"],
        floor=given["floor"],
        retries=given["retries"],
        sampling=Sampling(max_tokens=given["max_tokens"], temperature=given["temperature"], top_p=given["top_p"]),
    )
    tasks = tasks_of(given)
    generate(
        task_job(
            "minimum-change",
            tasks,
            COLUMNS,
            settings.record(),
            lambda cast: minimum_change(cast.chat_model, cast.part("editor"), cast.referee, settings),
        ),
        judged(casting, tasks),
    )
