"""`synth magpie`."""

import json
from pathlib import Path
from typing import Any

import click

from cli.call import arguments
from cli.help import Command
from cli.options import MODEL, PREFIX, ROWS, SEEDS, STOP, TOKENS, Number, Whole, engine_options, output_options


@click.command(cls=Command)
@MODEL
@click.option("-n", "--rows", type=ROWS, required=True, help="Rows wanted, after rejection.")
@click.option("--turns", type=Whole(most=1000), default=1, show_default=True, help="User turns a conversation has.")
@click.option(
    "--system",
    metavar="TEXT|@FILE",
    help='System prompt of the conversations, or a file of JSON lines {"text": …, "weight": …}, one chosen per row.',
)
@click.option("--domain", multiple=True, metavar="TEXT", help="Topic the questions are steered to; may be repeated.")
@click.option("--language", metavar="NAME", help="Language the questions are steered to, such as German.")
@click.option("--seed", type=SEEDS, default=0, show_default=True)
@click.option("--temperature", type=Number(), default=1.0, show_default=True, help="For questions.")
@click.option("--top-p", type=Number(0, 1, above=True), default=1.0, show_default=True, help="For questions.")
@click.option("--question-tokens", type=TOKENS, default=1024, show_default=True, help="Most tokens of a question.")
@click.option("--answer-temperature", type=Number(), default=0.0, show_default=True, help="For answers; 0 is greedy.")
@click.option("--answer-top-p", type=Number(0, 1, above=True), default=1.0, show_default=True, help="For answers.")
@click.option("--max-tokens", type=TOKENS, default=2048, show_default=True, help="Most tokens of an answer.")
@click.option("--logprob", is_flag=True, help="Record each last answer's log-probability (slower on vLLM).")
@PREFIX
@STOP
@engine_options
@output_options
def command(system: str | None, **given: Any) -> None:
    """Let a chat model ask itself questions and answer them (Magpie).

    Needs nothing but the model: given the text that its chat template puts before a user message, it
    continues with a question of the kind it was trained to answer. Unusable rows (empty, cut off, repetitive,
    duplicate, …) are rejected with their reason and replaced; -n counts what is left.

    \b
    Examples:
      synth magpie --model samples/model -n 1000 -o replay
      synth magpie --model Qwen/Qwen2.5-7B-Instruct -n 10000 --turns 2 -o replay
      synth magpie --model M -n 500 --domain algebra --domain geometry -o maths.parquet
      synth magpie --model M -n 100 --engine http://localhost:8000 | jq -c .messages
    """  # noqa: D301 (\b is click's)
    from synth.api.magpie import magpie

    with arguments(given | {"system": _systems(system)}) as call:
        magpie(**call)


def _systems(value: str | None) -> Any:
    """The system prompts of a text or an @file of JSON lines."""
    from synth.errors import UsageError
    from synth.methods.magpie import System
    from synth.small_text import read_small

    if value is None:
        return ()
    if not value.startswith("@"):
        return (System(value),)
    file = Path(value[1:])
    try:
        lines = read_small(file).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"`system`: {file} cannot be read: {error}") from error
    systems = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            systems.append(System(str(entry["text"]), float(entry.get("weight", 1))))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UsageError(f'`system`: {file} line {number} is not {{"text": …, "weight": …}}') from error
    if not systems:
        raise UsageError(f"`system`: {file} holds no system prompt")
    return tuple(systems)
