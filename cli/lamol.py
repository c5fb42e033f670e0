"""`synth lamol`."""

import shlex
from typing import Any

from cli.command import Call, command_of, told
from cli.options import Option


@command_of(
    "synth.api.lamol:lamol", prepare=Option(metavar="DATA"), tokens=Option(metavar="TEXT"), of=Option(metavar="DATA")
)
def command(call: Call) -> None:
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
    made = call()
    if call.given["prepare"] is not None and len(made):
        told(quiet=call.quiet).say(f"next: {' '.join(map(_quoted, _training(call.given)))} -o MODEL")


def _training(given: dict[str, Any]) -> list[str]:
    """The command that teaches a model what was prepared for it."""
    from synth.engines.loading import load_tokenizer
    from synth.methods.lamol import before_answer, before_question

    words = ["synth", "train", given["output"], "--model", given["model"], "--lm-loss", "0.25"]
    if load_tokenizer(given["model"]).chat_template:
        return words
    # without one, training and asking need to be told how a question is put
    framed = before_question(given["tokens"][0]), before_answer(given["answer_token"])
    return [*words, "--prefix", framed[0], "--stop", framed[1]]


def _quoted(word: str) -> str:
    """A word as a shell reads it, line ends written out."""
    if "\n" not in word and "'" not in word:
        return shlex.quote(word)
    return "$'" + word.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"
