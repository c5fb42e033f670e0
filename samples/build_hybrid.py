"""Train the hybrid model: `python -m samples.build_hybrid`. It thinks before it answers, or not, as it is told.

It goes on from the sample model, which has the skills already, with its tokens and two more. Minutes on two cores.

    python -m samples.build_hybrid                    # the shipped model
    python -m samples.build_hybrid --scale 0.1 --out trial
    python -m samples.build_hybrid --measure-only     # figures of the model that is there
"""

import argparse
import dataclasses
import os
import random
import time
from pathlib import Path

# Threads that wait must not spin: on a machine with other work they would hold up one another.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from samples.building.data import encoded
from samples.building.hybrid import STAGE, conversation, extend
from samples.building.measuring import switch
from samples.building.training import make_batches, save, train

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Build, save, measure."""
    parser = argparse.ArgumentParser(description="Train the hybrid model from the sample model.")
    parser.add_argument("--base", type=Path, default=HERE / "model", help="what it goes on from")
    parser.add_argument("--out", type=Path, default=HERE / "hybrid", help="where the model goes")
    parser.add_argument("--scale", type=float, default=1.0, help="train on this part of the tokens, for trials")
    parser.add_argument("--batch-tokens", type=int, default=2048)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--questions", type=int, default=200, help="held-out questions a skill")
    parser.add_argument("--measure-only", action="store_true", help="measure the model in --out")
    parser.add_argument("--show", type=int, default=0, help="wrong answers to print per skill and mode")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    if not given.measure_only:
        _build(given)
    torch.set_num_threads(1)  # decoding steps are too small to share
    model = AutoModelForCausalLM.from_pretrained(given.out, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(given.out)
    for part in ("dev", "test"):
        for mode, scores in switch(model, tokenizer, part, given.questions, given.show if part == "dev" else 0).items():
            print(f"{part}, {mode}: " + "  ".join(f"{name} {value:.1f}" for name, value in scores.items()), flush=True)


def _build(given: argparse.Namespace) -> None:
    tokenizer = extend(AutoTokenizer.from_pretrained(given.base))
    model = AutoModelForCausalLM.from_pretrained(given.base, dtype=torch.float32, attn_implementation="eager")
    model.resize_token_embeddings(len(tokenizer))
    stage = dataclasses.replace(STAGE, tokens=STAGE.tokens * given.scale)
    rows = encoded(stage, random.Random(given.seed), tokenizer, set(), conversation)
    print(f"{len(rows):,} conversations, {sum(len(ids) for ids, _ in rows):,} tokens", flush=True)
    started, processor = time.monotonic(), time.process_time()
    train(model, make_batches(rows, given.batch_tokens, random.Random(given.seed)), stage)
    minutes, processor = (time.monotonic() - started) / 60, (time.process_time() - processor) / 60
    print(f"{minutes:.1f} minutes, {processor:.1f} processor minutes", flush=True)
    save(model, tokenizer, given.out)


if __name__ == "__main__":
    main()
