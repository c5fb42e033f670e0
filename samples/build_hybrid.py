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
from pathlib import Path

# Threads that wait must not spin: on a machine with other work they would hold up one another.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from transformers import AutoTokenizer

from samples.building.command import begin, options, to_measure, to_train, train_stage
from samples.building.data import encoded
from samples.building.hybrid import STAGE, conversation, extend
from samples.building.measuring import switch

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Build, save, measure."""
    parser = options("Train the hybrid model from the sample model.", HERE / "hybrid", 2048)
    parser.add_argument("--base", type=Path, default=HERE / "model", help="what it goes on from")
    given = begin(parser)
    if not given.measure_only:
        _build(given)
    model, tokenizer = to_measure(given.out)
    for part in ("dev", "test"):
        for mode, scores in switch(model, tokenizer, part, given.questions, given.show if part == "dev" else 0).items():
            print(f"{part}, {mode}: " + "  ".join(f"{name} {value:.1f}" for name, value in scores.items()), flush=True)


def _build(given: argparse.Namespace) -> None:
    tokenizer = extend(AutoTokenizer.from_pretrained(given.base))
    model = to_train(given.base)
    model.resize_token_embeddings(len(tokenizer))
    stage = dataclasses.replace(STAGE, tokens=STAGE.tokens * given.scale)
    rows = encoded(stage, random.Random(given.seed), tokenizer, set(), conversation)
    train_stage("hybrid", model, tokenizer, rows, stage, given)


if __name__ == "__main__":
    main()
