"""What a divergence from a stored reference lacks: K tokens and all others together, instead of the whole vocabulary.

The sample model is trained on a new skill in an alien style, without anything that holds it back, so that it goes far
from what it was. Then every token of answers of its old skills is predicted by the model before and after: by all 1,024
tokens, and by what `--reference-top-k K` stores, in half precision as it is stored.

    python tests/benchmarks/bench_reference.py [--steps 100] [--top-k 8 16 64 256]
"""

import argparse
import json
import tempfile
from pathlib import Path
from random import Random

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from samples import skills
from synth.api.train import train
from synth.scoring.losses import coarse_divergences, divergences

MODEL = Path(__file__).parents[2] / "samples" / "model"
OLD = ("arithmetic", "strings", "world")


def trained(folder: Path, steps: int, rate: float) -> Path:
    """The sample model after some steps of plain fine-tuning."""
    chance, tasks = Random(5), folder / "tasks.jsonl"
    with open(tasks, "w", encoding="utf-8") as lines:
        for question, answer in skills.suite("two_step", "train", 400):
            human = skills.human_answer(chance, answer, "alien")
            lines.write(json.dumps({"question": question, "answer": human}) + "\n")
    train(tasks, MODEL, output=folder / str(rate), steps=steps, learning_rate=rate, tokens_per_batch=2048, device="cpu")
    return folder / str(rate)


def logits_of_answers(model: Path) -> torch.Tensor:
    """Logits `[tokens, vocabulary]` of what the assistant says in rows of the old skills."""
    tokenizer, net = AutoTokenizer.from_pretrained(MODEL), AutoModelForCausalLM.from_pretrained(model)
    found = []
    for suite in OLD:
        for question, answer in skills.suite(suite, "test", 150):
            said = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            asked = tokenizer.apply_chat_template(said[:1], add_generation_prompt=True, return_dict=False)
            whole = tokenizer.apply_chat_template(said, return_dict=False)
            with torch.no_grad():
                logits = net(input_ids=torch.tensor([whole])).logits[0]
            found.append(logits[len(asked) - 1 : -1])
    return torch.cat(found).float()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 3e-3])
    parser.add_argument("--top-k", type=int, nargs="+", default=[8, 16, 64, 256])
    arguments = parser.parse_args()
    before = logits_of_answers(MODEL)
    logs = before.log_softmax(-1)
    with tempfile.TemporaryDirectory() as name:
        after = {rate: logits_of_answers(trained(Path(name), arguments.steps, rate)) for rate in arguments.rates}
    print(
        f"{len(before):,} tokens, {arguments.steps} steps; divergences in nats a token: whole, and what K lacks of it"
    )
    print(
        f"{'rate':>6} {'K':>4} {'mass of others':>22}" + "".join(f"{kind:>26}" for kind in ("kl", "reverse-kl", "js"))
    )
    for rate, now in after.items():
        for k in arguments.top_k:
            likeliest = logs.topk(k, -1)
            rest = logs.scatter(-1, likeliest.indices, -torch.inf).logsumexp(-1, keepdim=True)
            stored = torch.cat([likeliest.values.half().float(), rest], -1)
            others = [
                one.scatter(-1, likeliest.indices, 0).sum(-1).mean() for one in (before.softmax(-1), now.softmax(-1))
            ]
            line = f"{rate:>6g} {k:>4} {others[0]:>9.1e} → {others[1]:>9.1e} "
            for kind in ("kl", "reverse-kl", "js"):
                whole = float(divergences(before, now, kind).mean())
                coarse = float(coarse_divergences(likeliest.indices, stored, now, kind).mean())
                line += f"{whole:>9.4f} {whole - coarse:>9.1e} {(whole - coarse) / whole:>6.2%}"
            print(line)


if __name__ == "__main__":
    main()
