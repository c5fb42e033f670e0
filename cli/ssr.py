"""`synth ssr`."""

from typing import Any

import click

from cli.call import arguments
from cli.help import Command
from cli.options import (
    MODEL,
    PREFIX,
    ROWS,
    SEEDS,
    STOP,
    TOKENS,
    Number,
    Whole,
    engine_options,
    input_options,
    output_options,
)


@click.command(cls=Command)
@input_options
@MODEL
@click.option("-n", "--rows", type=ROWS, required=True, help="Rows wanted, after rejection.")
@click.option(
    "--input-model",
    metavar="MODEL[@URL]",
    help="Another model that writes the inputs, such as the base model; --prefix and --stop are then for it. "
    "[default: --model]",
)
@click.option("--candidates", type=ROWS, help="Inputs to choose among. [default: 5 times -n]")
@click.option("--clusters", type=Whole(), default=20, show_default=True, help="Groups of similar inputs.")
@click.option(
    "--embed",
    metavar="[LIBRARY:]MODEL",
    help="What inputs are compared by: sentence-transformers:MODEL, model2vec:MODEL, or the hidden states of a model. "
    "[default: --model]",
)
@click.option("--seed", type=SEEDS, default=0, show_default=True)
@click.option("--temperature", type=Number(), default=0.9, show_default=True, help="For inputs; answers are greedy.")
@click.option("--top-p", type=Number(0, 1, above=True), default=0.6, show_default=True, help="For inputs.")
@click.option("--question-tokens", type=TOKENS, default=512, show_default=True, help="Most tokens of an input.")
@click.option("--max-tokens", type=TOKENS, default=2048, show_default=True, help="Most tokens of an answer.")
@PREFIX
@STOP
@engine_options
@output_options
def command(**given: Any) -> None:
    """Make rehearsal data of an old task from a few kept examples (self-synthesised rehearsal, SSR).

    INPUT holds the examples, questions with answers; some 20 are enough. Shown two at a time, the model writes further
    inputs. They are grouped by what they are about, each group is represented in proportion by those nearest to its
    middle, and the model answers these itself. All inputs are kept in DIR.inputs.

    \b
    Examples:
      synth ssr kept.jsonl --model M -n 200 -o rehearsal
      synth ssr data.jsonl --limit 20 --model M --input-model BASE --prefix "Q: " --stop " A:" -n 200 -o rehearsal
      synth ssr kept.jsonl --model M -n 200 --embed sentence-transformers:princeton-nlp/sup-simcse-roberta-base -o rows
    """  # noqa: D301 (\b is click's)
    from synth.api.ssr import ssr

    with arguments(given) as call:
        ssr(**call)
