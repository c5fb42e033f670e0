"""`synth score-tokens` beside vLLM's `prompt_logprobs`, a padded loop over transformers, and the model's own forward.

All score every token of the same rows (10 to 1,000 tokens, as many short as long ones on a logarithmic scale) with the
same model in the same dtype:

    synth    the command's whole way: reading, chat template and tokens, scores, labels, an Arrow data set on the disk
    vllm     `LLM.generate` with `prompt_logprobs`, given the tokens
    padded   batches of 16 rows in the order of the file, padded, all logits in one tensor, log_softmax
    limit    nothing but `model(input_ids)` on full batches of 8 x 512 of the same tokens, its logits thrown away

The model is a randomly initialised Llama with the sample model's tokenizer. Each side has a process of its own; rounds
alternate, and medians are compared.

    python tests/benchmarks/bench_score_tokens.py [--size 20M] [--rows 400] [--rounds 3] [--threads 2]
"""

import argparse
import json
import math
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.llamas import SHAPES, llama

ROOT = Path(__file__).parents[2]
BATCH, LENGTH = 8, 512
WORDS = "the a of one red box is not 12 7 find list add buy sells coins because answer then 3 + ="


def build(size: str, folder: Path, dtype: str) -> None:
    """A model directory of random weights, and rows as a JSON-lines file beside it."""
    import torch

    llama(SHAPES[size], 2_048, getattr(torch, dtype)).save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json"):
        if (ROOT / "samples" / "model" / file).exists():
            shutil.copy(ROOT / "samples" / "model" / file, folder / file)


def write_rows(path: Path, count: int, shortest: int = 10, longest: int = 1_000) -> None:
    """Conversations of random words, of mixed length."""
    chance = random.Random(1)
    words = WORDS.split()
    with open(path, "w") as file:
        for _ in range(count):
            tokens = math.exp(chance.uniform(math.log(shortest), math.log(longest)))
            text = " ".join(chance.choice(words) for _ in range(max(1, round((tokens - 5) / 1.42))))
            turns = [{"role": "user", "content": "Go on."}, {"role": "assistant", "content": text}]
            file.write(json.dumps({"messages": turns}) + "\n")


def token_lists(model: Path, rows: Path) -> list[list[int]]:
    from synth.chat.derive import format_for

    chat = format_for(str(model))
    return [chat.encode(json.loads(line)["messages"]).input_ids for line in rows.read_text().splitlines()]


def load(model: Path, options: argparse.Namespace) -> Any:
    from synth.engines.base import EngineOptions
    from synth.engines.hf.engine import load_model

    return load_model(str(model), EngineOptions(dtype=options.dtype, device=options.device))


def synth_side(model: Path, rows: Path, options: argparse.Namespace) -> float:
    from synth.chat.derive import format_for
    from synth.data.output import Output
    from synth.data.prompts import open_prompts
    from synth.data.read import open_rows
    from synth.data.run.record import RunRecord
    from synth.engines.base import EngineOptions
    from synth.scoring.encoding import RowEncoder
    from synth.scoring.labels import write_scored
    from synth.scoring.masks import Mask
    from synth.scoring.scorer import open_scorer
    from synth.scoring.token_scores import TokenScores

    chat = format_for(str(model))
    scorer = open_scorer("auto", str(model), chat.tokenizer, EngineOptions(dtype=options.dtype, device=options.device))
    warm_up(lambda: scorer.score(*_like(model, rows)))
    began = time.perf_counter()
    prompts = open_prompts(open_rows(str(rows)))
    encoder = RowEncoder(chat, "all", window=scorer.max_length)
    scores = TokenScores(prompts, encoder, scorer, "bench")
    with tempfile.TemporaryDirectory() as folder:
        record = RunRecord("score-tokens", {})
        with Output(str(Path(folder, "out"))).opened(record, scores.schema) as sink:
            write_scored(scores, sink, Mask(hardest=0.2), report=lambda: None)
        assert sink.record.accepted == prompts.total, sink.record.reasons
    return time.perf_counter() - began


def _like(model: Path, rows: Path) -> Any:
    import numpy as np

    some = [np.array(tokens, np.int32) for tokens in token_lists(model, rows)[:40]]
    return some, [np.ones(len(tokens), bool) for tokens in some]


def warm_up(work: Any) -> None:
    work()


def vllm_side(model: Path, rows: Path, options: argparse.Namespace) -> float:
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
    from vllm import LLM, SamplingParams

    lists = token_lists(model, rows)
    extra = {} if options.device == "cuda" else {"enable_chunked_prefill": False}
    llm = LLM(model=str(model), dtype=options.dtype, max_model_len=2_048, use_tqdm_on_load=False, **extra)
    score = SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=options.prompt_logprobs)
    prompts: Any = [{"prompt_token_ids": tokens} for tokens in lists]
    llm.generate(prompts[:8], score, use_tqdm=False)
    began = time.perf_counter()
    found = llm.generate(prompts, score, use_tqdm=False)
    seconds = time.perf_counter() - began
    assert all(len(one.prompt_logprobs or ()) == len(tokens) for one, tokens in zip(found, lists, strict=True))
    return seconds


def padded_side(model: Path, rows: Path, options: argparse.Namespace) -> float:
    import torch

    lists, loaded = token_lists(model, rows), load(model, options)

    def score(part: list[list[int]]) -> None:
        width = max(map(len, part))
        ids = torch.tensor([tokens + [0] * (width - len(tokens)) for tokens in part], device=loaded.device)
        attention = torch.tensor(
            [[1] * len(tokens) + [0] * (width - len(tokens)) for tokens in part], device=loaded.device
        )
        logits = loaded(input_ids=ids, attention_mask=attention, use_cache=False).logits
        logits.float()[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0].cpu().numpy()

    with torch.inference_mode():
        score(lists[:8])
        began = time.perf_counter()
        for start in range(0, len(lists), 16):
            score(lists[start : start + 16])
        return time.perf_counter() - began


def limit_side(model: Path, rows: Path, options: argparse.Namespace) -> float:
    import torch

    lists, loaded = token_lists(model, rows), load(model, options)
    flat = [token for tokens in lists for token in tokens]
    full = len(flat) // (BATCH * LENGTH) * BATCH * LENGTH
    batches = torch.tensor(flat[:full]).view(-1, BATCH, LENGTH).to(loaded.device)

    def wait() -> None:
        if loaded.device.type == "cuda":
            torch.cuda.synchronize()

    with torch.inference_mode():
        loaded(input_ids=batches[0], use_cache=False)
        wait()
        began = time.perf_counter()
        for batch in batches:
            loaded(input_ids=batch, use_cache=False)
        wait()
        return (time.perf_counter() - began) * len(flat) / full


SIDES = {"synth": synth_side, "limit": limit_side, "padded": padded_side, "vllm": vllm_side}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SHAPES, default="20M")
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of torch; all cores by default")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--prompt-logprobs", type=int, default=0, help="vLLM: alternatives beside each token")
    parser.add_argument("--sides", default=",".join(SIDES))
    parser.add_argument("--side", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        import torch

        if options.threads:
            torch.set_num_threads(options.threads)
        side, model, rows = options.side
        print(json.dumps(SIDES[side](Path(model), Path(rows), options)))
        return
    sides = options.sides.split(",")
    with tempfile.TemporaryDirectory() as folder:
        model, rows = Path(folder, "model"), Path(folder, "rows.jsonl")
        build(options.size, model, options.dtype)
        write_rows(rows, options.rows)
        tokens = sum(map(len, token_lists(model, rows)))
        where = options.device if options.device != "cpu" else f"{options.threads or os.cpu_count()} cores"
        print(
            f"{options.size} parameters, {options.dtype}, {where}; {options.rows} rows, {tokens:,} tokens", flush=True
        )
        rates: dict[str, list[float]] = {side: [] for side in sides}
        for number in range(options.rounds):
            for side in sides if number % 2 == 0 else sides[::-1]:
                command = [sys.executable, __file__, "--side", side, str(model), str(rows), "--dtype", options.dtype]
                command += ["--device", options.device, "--prompt-logprobs", str(options.prompt_logprobs)]
                command += ["--threads", str(options.threads)] if options.threads else []
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    sys.exit(f"{side} failed:\n{done.stderr[-3000:]}")
                rates[side].append(tokens / float(done.stdout.splitlines()[-1]))
                print(f"round {number + 1} {side:>6} {rates[side][-1]:>9,.0f} tokens/s", flush=True)
    medians = {side: statistics.median(found) for side, found in rates.items()}
    print("median  " + "  ".join(f"{side} {value:,.0f}" for side, value in medians.items()))
    ours = medians["synth"]
    print("synth is " + ", ".join(f"{ours / medians[side]:.2f} x {side}" for side in sides if side != "synth"))


if __name__ == "__main__":
    main()
