"""Train the sample model from nothing: `python samples/build_model.py`.

Everything is made here: the conversations (by `samples/skills`), the tokenizer, the chat template and the weights;
`samples/building` has the parts. Seeds are fixed. The result in `samples/model` loads with plain `AutoModelForCausalLM`
and `AutoTokenizer`, and the last thing the script does is to measure it on questions it was not trained on.

    python samples/build_model.py                    # the shipped model
    python samples/build_model.py --scale 0.1 --out trial
    python samples/build_model.py --measure-only     # figures of the model that is there
"""

import argparse
import dataclasses
import json
import os
import random
import sys
import time
from pathlib import Path

# Threads that wait must not spin: on a machine with other work they would hold up one another.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from samples import skills
from samples.building.data import STAGES, conversation, encoded, train_tokenizer
from samples.building.measuring import accuracy, measure_magpie
from samples.building.training import make_batches, new_model, save, train

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Build, save, measure."""
    parser = argparse.ArgumentParser(description="Train the sample model from nothing.")
    parser.add_argument("--out", type=Path, default=HERE / "model", help="where the model goes")
    parser.add_argument("--scale", type=float, default=1.0, help="train on this part of the tokens, for trials")
    parser.add_argument("--stage", type=int, default=1, help="first stage to train; 2 goes on from the model in --out")
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--questions", type=int, default=200, help="held-out questions a skill")
    parser.add_argument("--measure-only", action="store_true", help="measure the model in --out")
    parser.add_argument("--show", type=int, default=0, help="wrong answers to print per skill")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    known: set[str] = set()
    rng = random.Random(args.seed)
    first = [conversation(rng, STAGES[0]) for _ in range(20_000)]
    tokenizer = train_tokenizer([t.text for turns in first for t in turns])
    model = new_model()
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    for number, stage in enumerate(STAGES, start=1):
        stage = dataclasses.replace(stage, tokens=stage.tokens * args.scale)
        rows = encoded(stage, random.Random(args.seed + number - 1), tokenizer, known)
        if args.measure_only or number < args.stage:
            continue
        if number > 1:  # each stage begins from what the last one saved, so that it can be run alone
            model = AutoModelForCausalLM.from_pretrained(args.out, dtype=torch.float32, attn_implementation="eager")
        batches = make_batches(rows, args.batch_tokens, random.Random(args.seed))
        print(f"stage {number}: {len(rows):,} conversations, {sum(len(ids) for ids, _ in rows):,} tokens", flush=True)
        started, processor = time.monotonic(), time.process_time()
        train(model, batches, stage)
        minutes, processor = (time.monotonic() - started) / 60, (time.process_time() - processor) / 60
        print(f"stage {number}: {minutes:.1f} minutes, {processor:.1f} processor minutes", flush=True)
        save(model, tokenizer, args.out)

    torch.set_num_threads(1)  # decoding steps are too small to share
    model = AutoModelForCausalLM.from_pretrained(args.out, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(args.out)
    for part in ("dev", "test"):
        scores = accuracy(model, tokenizer, part, args.questions, args.show if part == "dev" else 0)
        print(f"{part}: " + "  ".join(f"{k} {v:.1f}" for k, v in scores.items()))
        print(f"{part}: old-skill average {sum(scores[k] for k in skills.OLD) / len(skills.OLD):.2f}", flush=True)
    print(json.dumps(measure_magpie(model, tokenizer, known), indent=2))


if __name__ == "__main__":
    main()
