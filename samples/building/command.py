"""What the scripts that build the models share: their options, a stage of training, and the model to measure."""

import argparse
import random
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from samples.building.data import Row, Stage
from samples.building.training import make_batches, save, train


def options(description: str, out: Path, batch_tokens: int) -> argparse.ArgumentParser:
    """The options of both scripts.

    Args:
        description: of the script.
        out: where the model goes by default.
        batch_tokens: tokens of a batch by default.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, default=out, help="where the model goes")
    parser.add_argument("--scale", type=float, default=1.0, help="train on this part of the tokens, for trials")
    parser.add_argument("--batch-tokens", type=int, default=batch_tokens)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--questions", type=int, default=200, help="held-out questions a skill")
    parser.add_argument("--measure-only", action="store_true", help="measure the model in --out")
    parser.add_argument("--show", type=int, default=0, help="wrong answers to print per skill")
    return parser


def begin(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """What was given; torch is set up as it says."""
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    return given


def to_train(folder: Path) -> Any:
    """The weights of a directory, to be trained further."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")


def to_measure(folder: Path) -> tuple[Any, Any]:
    """The model of a directory, as anybody loads it, and its tokenizer."""
    torch.set_num_threads(1)  # decoding steps are too small to share
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder)


def train_stage(
    name: str, model: Any, tokenizer: Any, rows: list[Row], stage: Stage, given: argparse.Namespace
) -> None:
    """Train on the rows of a stage, save the model, and print how much that was and how long it took."""
    print(f"{name}: {len(rows):,} conversations, {sum(len(ids) for ids, _ in rows):,} tokens", flush=True)
    batches = make_batches(rows, given.batch_tokens, random.Random(given.seed))
    started, processor = time.monotonic(), time.process_time()
    train(model, batches, stage)
    minutes, processor = (time.monotonic() - started) / 60, (time.process_time() - processor) / 60
    print(f"{name}: {minutes:.1f} minutes, {processor:.1f} processor minutes", flush=True)
    save(model, tokenizer, given.out)
