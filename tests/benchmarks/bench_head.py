"""Peak memory and time of a loss and its gradients: logits of all tokens at once, and of some at a time.

A model of one narrow layer, so that the head is nearly all there is; NLL alone, and with KL from a second model beside
it. Each case is a process of its own, with one thread; the time is the processor's, of the best of three passes. What
the models and their gradients take is not counted.

    python tests/benchmarks/bench_head.py [--tokens 512 2048] [--vocabulary 150000] [--width 256]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from synth.scoring.losses import divergences
from synth.training.head import return_from_head, summed
from tests.benchmarks.llamas import Shape, llama


def made(vocabulary: int, width: int) -> Any:
    """A model with its gradients in place."""
    model = llama(Shape(width, 2 * width, 1, 4, 4, vocabulary, True), 8_192)
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight)
    return model


def measure(way: str, tokens: int, vocabulary: int, width: int) -> dict[str, float]:
    """Peak memory (GiB) above that of the models, and processor seconds of one pass forwards and backwards."""
    torch.set_num_threads(1)
    model, other = made(vocabulary, width), made(vocabulary, width)
    ids = torch.randint(0, vocabulary, (1, tokens))
    near = way.endswith("kl")
    if way.startswith("chunks"):
        parts, others = return_from_head(model), return_from_head(other)

    def loss(logits: torch.Tensor, before: torch.Tensor | None, targets: torch.Tensor) -> torch.Tensor:
        nll = cross_entropy(logits.float(), targets, reduction="sum")
        return nll if before is None else nll + divergences(before, logits).sum()

    def whole() -> torch.Tensor:
        before = None
        if near:
            with torch.no_grad():
                before = other(input_ids=ids, use_cache=False).logits[0]
        return loss(model(input_ids=ids, use_cache=False).logits[0], before, ids[0])

    def chunks() -> torch.Tensor:
        with torch.no_grad():
            states = other(input_ids=ids, then=lambda states: states[0]) if near else None

        def of_chunk(logits: torch.Tensor, part: slice) -> torch.Tensor:
            with torch.no_grad():
                before = None if states is None else others.logits(states[part])
            return loss(logits, before, ids[0, part])

        found: torch.Tensor = model(input_ids=ids, then=lambda states: summed(parts, states[0], of_chunk))
        return found

    model(input_ids=ids[:, :8], use_cache=False).logits.sum().backward()  # what is loaded at first use
    before, times = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
    for _ in range(3):
        began = time.process_time()
        (chunks if way.startswith("chunks") else whole)().backward()
        times.append(time.process_time() - began)
    return {"peak": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20, "seconds": min(times)}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=[512, 2048])
    parser.add_argument("--vocabulary", type=int, default=150_000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sizes = arguments.vocabulary, arguments.width
    if arguments.one:
        print(json.dumps(measure(arguments.one[0], int(arguments.one[1]), *sizes)))
        return
    print(f"vocabulary {sizes[0]:,}, width {sizes[1]}\n{'loss':>9} {'tokens':>7} {'whole':>19} {'chunks':>19}")
    for kind in ("nll", "nll + kl"):
        for tokens in arguments.tokens:
            line = f"{kind:>9} {tokens:>7,}"
            for way in ("whole", "chunks"):
                one = [way + kind[3:], str(tokens), "--vocabulary", str(sizes[0]), "--width", str(sizes[1])]
                command = [sys.executable, __file__, "--one", *one]
                environment = os.environ | {"OMP_NUM_THREADS": "1"}
                done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
                found = json.loads(done.stdout)
                line += f" {found['peak']:>7.2f} GiB {found['seconds']:>5.1f} s"
            print(line, flush=True)


if __name__ == "__main__":
    main()
