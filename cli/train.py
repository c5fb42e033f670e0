"""`synth train`."""

from typing import Any

import click

from cli.call import told
from cli.help import Command
from cli.options import (
    DEVICE,
    MODEL,
    PREFIX,
    ROWS,
    SEEDS,
    STOP,
    TOKENS,
    TRUST,
    Number,
    Share,
    Whole,
    announced,
    directory_for,
    input_options,
)
from synth.engines.loading import LARGEST_WINDOW

STEPS = 10**9
"""An upper bound of steps."""


@click.command(cls=Command)
@input_options
@MODEL
@TRUST
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    callback=directory_for("the trained model"),
    help="Where the trained model goes; needed but for --dry-run.",
)
@click.option(
    "--train-on",
    type=click.Choice(["assistant", "last", "all"]),
    default="assistant",
    show_default=True,
    help="Part of a conversation that is trained on. Rows with `labels` are trained on by these; tokens without labels "
    "need `all`.",
)
@click.option("--text-column", metavar="NAME", help="The column with plain texts, if it is not `text`.")
@click.option("--steps", type=Whole(most=STEPS), help="Optimiser steps. [default: go by --epochs]")
@click.option("--epochs", type=Number(most=1e6, above=True), default=1.0, show_default=True)
@click.option(
    "--lr",
    "--learning-rate",
    "learning_rate",
    type=Number(above=True),
    help="The highest learning rate. [default: 1e-5, for adapters 2e-4]",
)
@click.option(
    "--schedule",
    type=click.Choice(["cosine", "linear", "constant_with_warmup"]),
    default="cosine",
    show_default=True,
    help="How the learning rate falls.",
)
@click.option("--warmup", type=Share(), default="3%", show_default=True, help="Share of the steps in which it rises.")
@click.option(
    "--batch-tokens",
    "--tokens-per-batch",
    "tokens_per_batch",
    type=Whole(2, LARGEST_WINDOW),
    default=8192,
    show_default=True,
    help="Tokens of a batch on one device; rows are packed, and none sees another.",
)
@click.option(
    "--accumulate",
    "--gradient-accumulation-steps",
    "gradient_accumulation_steps",
    type=Whole(),
    default=1,
    show_default=True,
    help="Batches a step.",
)
@click.option(
    "--overlong",
    type=click.Choice(["drop", "truncate"]),
    default="drop",
    show_default=True,
    help="Rows longer than the model's window or a batch: left out, or cut.",
)
@click.option("--max-length", type=Whole(2, LARGEST_WINDOW), help="The window, in tokens. [default: the model's]")
@click.option(
    "--clip",
    "--max-grad-norm",
    "max_grad_norm",
    type=Number(above=True),
    default=1.0,
    show_default=True,
    help="Maximum norm of gradients.",
)
@click.option("--weight-decay", type=Number(), default=0.0, show_default=True)
@click.option("--dropout", type=Number(0, 1, below=True), default=0.0, show_default=True)
@click.option(
    "--freeze",
    multiple=True,
    metavar="PART",
    help="Freeze: embeddings, attention, mlp or layers:FIRST-LAST. May be given several times.",
)
@click.option("--lora", type=Whole(), metavar="RANK", help="Train low-rank adapters on all linear layers.")
@click.option("--lora-alpha", type=Whole(), help="[default: twice the rank]")
@click.option("--lora-dropout", type=Number(0, 1, below=True), default=0.0, show_default=True)
@click.option("--peft", metavar="FILE", help="Or another method of peft: its configuration as JSON.")
@click.option(
    "--lm-loss",
    "--lm-loss-coef",
    "lm_loss_coef",
    type=Number(),
    default=0.0,
    show_default=True,
    help="Weight of a language-model loss over all tokens: LAMOL's; 0.25 in the paper.",
)
@click.option(
    "--kl",
    "--kl-coef",
    "kl_coef",
    type=Number(),
    default=0.0,
    show_default=True,
    help="Weight of the KL divergence from the model before training.",
)
@click.option(
    "--kl-on",
    "kl_sources",
    multiple=True,
    metavar="SOURCE",
    help="Take it on rows of this `source` (of `synth mix`). [default: all]",
)
@click.option("--gradient-checkpointing", is_flag=True, help="Less memory, a third more time.")
@click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="auto",
    show_default=True,
    help="What is computed in; weights that are trained are float32. auto: bfloat16 where the GPU can.",
)
@DEVICE
@click.option("--save-every", type=Whole(most=STEPS), default=200, show_default=True, help="Steps between checkpoints.")
@click.option("--eval", "suites", multiple=True, metavar="SUITE", help="Old abilities to watch; see synth eval.")
@click.option("--new", "new_suites", multiple=True, metavar="SUITE", help="Suites of the new task.")
@click.option("--eval-every", type=Whole(most=STEPS), default=50, show_default=True, help="Steps between evaluations.")
@click.option("--eval-limit", type=ROWS, default=100, show_default=True, help="Items taken of each suite.")
@click.option("--eval-tokens", type=TOKENS, default=512, show_default=True, help="Most tokens of an answer.")
@click.option(
    "--keep",
    type=Share(),
    metavar="SHARE",
    help="Stop once less than this of what --eval measures at the start is left, and go back to where it was.",
)
@click.option("--seed", type=SEEDS, default=0, show_default=True)
@PREFIX
@STOP
@click.option("--dry-run", is_flag=True, help="Show what would be trained on, and train nothing.")
@click.option("--restart", is_flag=True, help="Throw away what an earlier run left in the output.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
@announced
def command(**given: Any) -> None:
    """Train a model on a data set, and measure what it learns and forgets.

    Rows may be conversations, plain texts, which are trained on whole, or tokens with `labels` (and `weights`), as
    `synth score-tokens` writes them. The trained model is saved in DIR as any model is, an adapter merged into it. A
    killed run is continued by the same command, with the same result. Several GPUs: accelerate launch -m cli train …,
    or torchrun -m.

    \b
    Examples:
      synth train mixed --model M --dry-run
      synth train mixed --model M -o tuned --epochs 2 --lr 1e-5
      synth train mixed --model M -o tuned --lora 16 --eval old.jsonl --new task.jsonl --keep 95%
      synth train masked --model M -o tuned --kl 0.1 --kl-on replay
      synth train pages.parquet --model M -o tuned --text-column body --batch-tokens 32768
      synth train human --model M -o control --freeze layers:0-11 --weight-decay 0.1 --dropout 0.1
    """  # noqa: D301 (\b is click's)
    from cli.plan_table import show_plan
    from synth.api.train import train
    from synth.engines.loading import remote_code_allowed

    progress = told(quiet=given.pop("quiet"))
    training = train(**given, trust_remote_code=remote_code_allowed(), progress=progress)
    if given["dry_run"]:
        show_plan(training.plan)
