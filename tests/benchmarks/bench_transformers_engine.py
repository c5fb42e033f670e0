"""How fast the transformers engine is, against `model.generate` on the same model, prompts and lengths.

`model.generate` is given padded batches in file order, as most scripts do: a batch lasts as long as its longest row.
Rows end at lengths drawn beforehand, the same for both, so that both draw the same number of tokens.

    python tests/benchmarks/bench_transformers_engine.py [--rows 512] [--threads 2] [--device cpu]
"""

import argparse
import asyncio
import time
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models
from tokenizers.pre_tokenizers import ByteLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, StoppingCriteria

from synth.engines.base import EngineOptions, Sampling
from synth.engines.hf.engine import TransformersEngine

VOCABULARY = 4096


def build_model(device: str) -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config).to(device).eval()
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
) -> float:
    """Seconds for all rows, the model's start left out."""

    async def ask_all() -> float:
        engine = TransformersEngine(model, tokenizer, EngineOptions(concurrency=rows))
        begin = time.perf_counter()
        asked = [
            engine.generate(prompt, Sampling(max_tokens=n, temperature=float(sampling), seed=i))
            for i, (prompt, n) in enumerate(zip(prompts, lengths, strict=True))
        ]
        completions = await asyncio.gather(*asked)
        seconds = time.perf_counter() - begin
        await engine.close()
        assert [len(c[0].token_ids) for c in completions] == lengths
        return seconds

    return asyncio.run(ask_all())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model, tokenizer = build_model(args.device), build_tokenizer()
    rng = np.random.default_rng(0)
    prompts = [rng.integers(1, VOCABULARY, n).tolist() for n in rng.integers(8, 128, args.rows)]
    # Most answers are short and a few are long, as answers are.
    lengths = np.clip(rng.lognormal(3.7, 0.7, args.rows), 4, 192).astype(int).tolist()
    total = sum(lengths)
    print(f"{args.rows} rows, {total} tokens to draw, mean {total / args.rows:.0f}, longest {max(lengths)}")
    print(f"{'':24}{'generate':>12}{'engine':>12}{'ratio':>8}   tokens/s")
    run_generate(model, prompts[:64], lengths[:64], 64, True)  # warm-up
    for sampling in (False, True):
        for batch in (64, 256):
            plain = total / run_generate(model, prompts, lengths, batch, sampling)
            ours = total / run_engine(model, tokenizer, prompts, lengths, batch, sampling)
            label = f"{'sampled' if sampling else 'greedy'}, {batch} rows"
            print(f"{label:24}{plain:12.0f}{ours:12.0f}{ours / plain:8.2f}")


if __name__ == "__main__":
    main()
