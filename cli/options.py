"""Options that several commands share, each worded once."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

MODEL = click.option("--model", required=True, help="The model: a local directory or a Hub id.")
PREFIX = click.option(
    "--prefix", metavar="TEXT", help="What precedes a user message, instead of what the chat template says."
)
STOP = click.option("--stop", metavar="TEXT", help="What ends a user message, with --prefix.")


def _apply(options: list[Callable[[Command], Command]], command: Command) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


def engine_options(command: Command) -> Command:
    """How a model is run; `EngineOptions` has the same names."""
    return _apply(
        [
            click.option(
                "--engine",
                default="auto",
                show_default=True,
                metavar="auto|vllm|transformers|URL",
                help="What runs the model; URL is any server with /v1/completions.",
            ),
            click.option(
                "--concurrency",
                type=click.IntRange(1),
                default=256,
                show_default=True,
                help="Requests at once: the engine's batch.",
            ),
            click.option("--dtype", default="auto", show_default=True, help="Number format, such as bfloat16."),
            click.option("--device", default="auto", show_default=True, help="For transformers: cuda, mps or cpu."),
            click.option("--max-length", type=click.IntRange(2), help="The window, in tokens. [default: the model's]"),
            click.option(
                "--tensor-parallel",
                type=click.IntRange(1),
                default=1,
                show_default=True,
                help="For vLLM: GPUs a model.",
            ),
            click.option(
                "--gpu-memory",
                type=click.FloatRange(0.05, 1),
                default=0.9,
                show_default=True,
                help="For vLLM: share of the GPU's memory to take.",
            ),
            click.option("--api-key", envvar="SYNTH_API_KEY", help="For a server. [env: SYNTH_API_KEY]"),
        ],
        command,
    )


def output_options(command: Command) -> Command:
    """Where rows go."""
    return _apply(
        [
            click.option(
                "-o",
                "--output",
                metavar="DIR|FILE",
                help="A dataset directory, or a .jsonl, .parquet or .arrow file. [default: JSON lines to stdout]",
            ),
            click.option("--restart", is_flag=True, help="Throw away what an earlier run left in the output."),
            click.option("--quiet", is_flag=True, help="Print errors only."),
        ],
        command,
    )
