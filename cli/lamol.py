"""`synth lamol`."""

from typing import Any

import click

from cli.help import Command
from cli.options import MODEL, ROWS, SEEDS, TOKENS, Number, Share, Whole, engine_options, output_options


@click.command(cls=Command)
@MODEL
@click.option("--prepare", metavar="DATA", help="Write DATA in LAMOL's form, to be trained on, instead of sampling.")
@click.option(
    "--tokens",
    multiple=True,
    metavar="TEXT",
    help="A task's generation token, once for each task to sample; --prepare gives the first to rows that name none. "
    "May also be one of the tokenizer's own, such as <s>. "
    "[default: [GEN]]",
)
@click.option("--answer-token", default="[ANS]", show_default=True, help="What stands between question and answer.")
@click.option("-n", "--rows", type=ROWS, help="Rows wanted, after rejection.")
@click.option("--of", "new_data", metavar="DATA", help="The new task's data: as many rows as --gamma of its size.")
@click.option("--gamma", type=Share(), default="0.2", show_default=True, help="For --of.")
@click.option("--seed", type=SEEDS, default=0, show_default=True)
@click.option("--temperature", type=Number(), default=1.0, show_default=True)
@click.option("--top-k", type=Whole(0), default=20, show_default=True, help="Likeliest tokens; 0: all.")
@click.option("--max-tokens", type=TOKENS, default=1024, show_default=True, help="Most tokens of an example.")
@click.option("--prompt-column", metavar="NAME", help="For --prepare: the column with the question.")
@click.option("--reference-column", metavar="NAME", help="Likewise: the column with the answer.")
@click.option("--limit", type=ROWS, help="Likewise: take so many rows.")
@engine_options
@output_options
def command(**given: Any) -> None:
    """Let a model that was trained to do so write examples of its old tasks (LAMOL, pseudo-replay).

    A model trained on prepared data can write examples from a task's generation token alone. Those that are one
    question and one answer are kept, as conversations for synth mix; each says in `generation_token` which task it is
    of, and preparing the mixture heeds that. There are equally many of each task: a task that the model writes
    less well is tried more often, and what is left over of the others is rejected.

    \b
    Examples:
      synth lamol --prepare first.jsonl --model BASE --tokens "[sums]" -o first
      synth train first --model BASE --lm-loss 0.25 -o model-1
      synth lamol --model model-1 --tokens "[sums]" --gamma 20% --of second.jsonl -o replay
      synth mix second.jsonl --replay replay:20% --oversample -o mixed
      synth lamol --prepare mixed --model model-1 --tokens "[lists]" --tokens "[sums]" -o second
    """  # noqa: D301 (\b is click's)
    from cli.pseudo_replay import prepare, sample

    if given["prepare"] is None:
        sample(given)
    else:
        prepare(given)
