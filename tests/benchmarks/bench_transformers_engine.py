"""How fast the transformers engine is, against `model.generate` on the same model, prompts and lengths.

`model.generate` is given padded batches in file order, as most scripts do: a batch lasts as long as its longest row.
Rows end at lengths drawn beforehand, the same for both, so that both draw the same number of tokens.

    python tests/benchmarks/bench_transformers_engine.py [--rows 512] [--threads 2] [--device cpu] [--model DIR]

Without `--model` it is one of random weights. What the engine's steps of fixed shapes came to (on a GPU: CUDA graphs)
is printed, too.
"""

import argparse
import asyncio
import time
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoTokenizer, PreTrainedTokenizerFast, StoppingCriteria

from synth.engines.base import EngineOptions, Sampling
from synth.engines.hf.engine import TransformersEngine, load_model
from tests.benchmarks.llamas import Shape, llama

VOCABULARY = 4096


def read_model(name: str | None, device: str) -> Any:
    """A model that nothing ends but a row's length."""
    if name is None:
        model = llama(Shape(256, 704, 4, 8, 4, VOCABULARY, True), 512).to(device).eval()
    else:
        model = load_model(name, EngineOptions(device=device))
    model.generation_config.eos_token_id = None
    return model


def build_tokenizer() -> Any:
    letters = sorted(ByteLevel.alphabet())
    vocabulary = {letters[i // 256] + letters[i % 256] if i >= 256 else letters[i]: i for i in range(VOCABULARY)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


class OwnLengths(StoppingCriteria):  # type: ignore[misc]
    """Ends each row of a `generate` batch at its own length."""

    def __init__(self, prompt_width: int, lengths: torch.Tensor) -> None:
        self.ends = prompt_width + lengths

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        return input_ids.shape[1] >= self.ends


def run_generate(model: Any, prompts: list[list[int]], lengths: list[int], batch: int, sampling: bool) -> float:
    """Seconds for all rows."""
    begin = time.perf_counter()
    for at in range(0, len(prompts), batch):
        rows, ends = prompts[at : at + batch], torch.tensor(lengths[at : at + batch], device=model.device)
        width = max(map(len, rows))
        ids = torch.tensor([[0] * (width - len(row)) + row for row in rows], device=model.device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=model.device)
        with torch.inference_mode():
            model.generate(
                ids,
                attention_mask=mask,
                max_new_tokens=int(ends.max()),
                **({"do_sample": True, "top_k": 0} if sampling else {"do_sample": False}),
                pad_token_id=0,
                stopping_criteria=[OwnLengths(width, ends)],
            )
    return time.perf_counter() - begin


def run_engine(
    model: Any, tokenizer: Any, prompts: list[list[int]], lengths: list[int], rows: int, sampling: bool
) -> tuple[float, str]:
    """Seconds for all rows, the model's start left out, and what the steps of fixed shapes came to."""

    async def ask_all() -> tuple[float, str]:
        engine = TransformersEngine(model, tokenizer, EngineOptions(concurrency=rows))
        begin = time.perf_counter()
        asked = [
            engine.generate(prompt, Sampling(max_tokens=n, temperature=float(sampling), seed=i))
            for i, (prompt, n) in enumerate(zip(prompts, lengths, strict=True))
        ]
        completions = await asyncio.gather(*asked)
        seconds, steps = time.perf_counter() - begin, steps_of(engine._decoder.fixed)
        await engine.close()
        assert [len(c[0].token_ids) for c in completions] == lengths
        return seconds, steps

    return asyncio.run(ask_all())


def steps_of(fixed: Any) -> str:
    """How the engine took its steps."""
    if fixed is None:
        return "as they come"
    if fixed.trusted:
        return "CUDA graphs" if fixed.graphs else "of fixed shapes"
    return f"as they come, not fixed: {fixed.why or 'not tried'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", help="a directory or a Hub id")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = read_model(args.model, args.device)
    tokenizer = AutoTokenizer.from_pretrained(args.model) if args.model else build_tokenizer()
    rng = np.random.default_rng(0)
    prompts = [rng.integers(1, model.config.vocab_size, n).tolist() for n in rng.integers(8, 128, args.rows)]
    # Most answers are short and a few are long, as answers are.
    lengths = np.clip(rng.lognormal(3.7, 0.7, args.rows), 4, 192).astype(int).tolist()
    total = sum(lengths)
    print(f"{args.rows} rows, {total} tokens to draw, mean {total / args.rows:.0f}, longest {max(lengths)}")
    print(f"{'':24}{'generate':>12}{'engine':>12}{'ratio':>8}   tokens/s; the engine's steps")
    run_generate(model, prompts[:64], lengths[:64], 64, True)  # warm-up
    for sampling in (False, True):
        for batch in (64, 256):
            plain = total / run_generate(model, prompts, lengths, batch, sampling)
            seconds, steps = run_engine(model, tokenizer, prompts, lengths, batch, sampling)
            ours = total / seconds
            label = f"{'sampled' if sampling else 'greedy'}, {batch} rows"
            print(f"{label:24}{plain:12.0f}{ours:12.0f}{ours / plain:8.2f}   {steps}", flush=True)


if __name__ == "__main__":
    main()
