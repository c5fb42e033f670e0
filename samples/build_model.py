"""Train the sample model from nothing: `python samples/build_model.py`.

Everything is made here: the conversations (by `samples/skills`), the tokenizer, the chat template and the weights;
`samples/building` has the parts. Seeds are fixed. The result in `samples/model` loads with plain `AutoModelForCausalLM`
and `AutoTokenizer`, and the last thing the script does is to measure it on questions it was not trained on.

    python samples/build_model.py                    # the shipped model
    python samples/build_model.py --scale 0.1 --out trial
    python samples/build_model.py --measure-only     # figures of the model that is there
"""

import dataclasses
import json
import os
import random
import sys
from pathlib import Path

# Threads that wait must not spin: on a machine with other work they would hold up one another.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from samples import skills
from samples.building.command import begin, options, to_measure, to_train, train_stage
from samples.building.data import STAGES, conversation, encoded, train_tokenizer
from samples.building.measuring import accuracy, measure_magpie
from samples.building.training import new_model


def main() -> None:
    """Build, save, measure."""
    parser = options("Train the sample model from nothing.", Path(__file__).resolve().parent / "model", 4096)
    parser.add_argument("--stage", type=int, default=1, help="first stage to train; 2 goes on from the model in --out")
    given = begin(parser)
    known: set[str] = set()
    rng = random.Random(given.seed)
    first = [conversation(rng, STAGES[0]) for _ in range(20_000)]
    tokenizer = train_tokenizer([t.text for turns in first for t in turns])
    model = new_model()
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    for number, stage in enumerate(STAGES, start=1):
        stage = dataclasses.replace(stage, tokens=stage.tokens * given.scale)
        rows = encoded(stage, random.Random(given.seed + number - 1), tokenizer, known)
        if given.measure_only or number < given.stage:
            continue
        if number > 1:  # each stage begins from what the last one saved, so that it can be run alone
            model = to_train(given.out)
        train_stage(f"stage {number}", model, tokenizer, rows, stage, given)

    model, tokenizer = to_measure(given.out)
    for part in ("dev", "test"):
        scores = accuracy(model, tokenizer, part, given.questions, given.show if part == "dev" else 0)
        print(f"{part}: " + "  ".join(f"{k} {v:.1f}" for k, v in scores.items()))
        print(f"{part}: old-skill average {sum(scores[k] for k in skills.OLD) / len(skills.OLD):.2f}", flush=True)
    print(json.dumps(measure_magpie(model, tokenizer, known), indent=2))


if __name__ == "__main__":
    main()
