"""`synth lamol`."""

import shlex
from typing import TYPE_CHECKING, Any

import click

from cli.call import arguments
from cli.help import Command
from cli.options import MODEL, ROWS, SEEDS, TOKENS, Number, Share, Whole, engine_options, output_options

if TYPE_CHECKING:
    from synth.generation.models import Model


@click.command(cls=Command)
@MODEL
@click.option("--prepare", metavar="DATA", help="Write DATA in LAMOL's form, to be trained on, instead of sampling.")
@click.option(
    "--tokens",
    multiple=True,
    default=["[GEN]"],
    show_default=True,
    metavar="TEXT",
    help="A task's generation token, once for each task to sample; --prepare gives the first to rows that name none. "
    "May also be one of the tokenizer's own, such as <s>.",
)
@click.option("--answer-token", default="[ANS]", show_default=True, help="The text between question and answer.")
@click.option("-n", "--rows", type=ROWS, help="Rows wanted, after rejection.")
@click.option("--of", metavar="DATA", help="The new task's data: as many rows as --gamma of its size.")
@click.option("--gamma", type=Share(), default="0.2", show_default=True, help="For --of.")
@click.option("--seed", type=SEEDS, default=0, show_default=True)
@click.option("--temperature", type=Number(), default=1.0, show_default=True)
@click.option("--top-k", type=Whole(0), default=20, show_default=True, help="Likeliest tokens; 0: all.")
@click.option("--max-tokens", type=TOKENS, default=1024, show_default=True, help="Most tokens of an example.")
@click.option("--prompt-column", metavar="NAME", help="For --prepare: the column with the question.")
@click.option("--reference-column", metavar="NAME", help="For --prepare: the column with the answer.")
@click.option("--limit", type=ROWS, help="For --prepare: take so many rows.")
@engine_options
@output_options
def command(**given: Any) -> None:
    """Let a model that was trained for it write examples of its old tasks (LAMOL, pseudo-replay).

    A model trained on prepared data can write examples from a task's generation token alone. Those that are one
    question and one answer are kept, as conversations for synth mix; each says in `generation_token` which task it is
    of, which --prepare uses on the mixture. There are equally many of each task: a task that the model writes
    less well is tried more often, and what is left over of the others is rejected.

    \b
    Examples:
      synth lamol --prepare first.jsonl --model BASE --tokens "[sums]" -o first
      synth train first --model BASE --lm-loss 0.25 -o model-1
      synth lamol --model model-1 --tokens "[sums]" --gamma 20% --of second.jsonl -o replay
      synth mix second.jsonl --replay replay:20% --oversample -o mixed
      synth lamol --prepare mixed --model model-1 --tokens "[lists]" --tokens "[sums]" -o second
    """  # noqa: D301 (\b is click's)
    from synth.api.lamol import lamol

    with arguments(given) as call:
        made = lamol(**call)
        if given["prepare"] is not None and len(made):
            call["progress"].say(f"next: {' '.join(map(_quoted, _training(call['model'], given)))} -o MODEL")


def _training(model: "Model", given: dict[str, Any]) -> list[str]:
    """The command that teaches a model what was prepared for it."""
    from synth.methods.lamol import before_answer, before_question

    words = ["synth", "train", given["output"], "--model", given["model"], "--lm-loss", "0.25"]
    if model.tokenizer.chat_template:
        return words
    # without one, training and asking need to be told how a question is put
    framed = before_question(given["tokens"][0]), before_answer(given["answer_token"])
    return [*words, "--prefix", framed[0], "--stop", framed[1]]


def _quoted(word: str) -> str:
    """A word as a shell reads it, line ends written out."""
    if "\n" not in word and "'" not in word:
        return shlex.quote(word)
    return "$'" + word.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"
