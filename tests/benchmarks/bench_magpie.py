"""Magpie through synth on vLLM, beside vLLM's own offline `LLM.generate`, in one run.

The rival is given the same work in the form that suits it best: all question prompts in one call, then all answer
prompts in another, with the very prompts, seeds and lengths that synth's rows had; with `--no-seeds` it draws without
any, and then other texts. Each side has a process of its own,
so that only one engine is in memory; rounds alternate, and medians are compared.

    python tests/benchmarks/bench_magpie.py [--model samples/model] [--rows 2000] [--rounds 3]
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

SEED = 11


def settings(limit: int) -> Any:
    from synth.engines.base import Sampling
    from synth.methods.magpie import MagpieSettings

    return MagpieSettings(
        seed=SEED, question=Sampling(max_tokens=limit), answer=Sampling(max_tokens=limit, temperature=0.0)
    )


def synth_side(model: str, rows: int, limit: int, concurrency: int) -> dict[str, float]:
    """A whole run, store included: `rows` attempts, as `synth magpie` makes them."""
    from synth.chat.derive import format_for
    from synth.data.row import BASE
    from synth.data.run.directory import RunDirectory
    from synth.data.run.record import RunRecord
    from synth.engines.base import EngineOptions
    from synth.engines.vllm.engine import open_vllm
    from synth.generation.acceptance import Acceptance, Rules
    from synth.generation.chat_model import ChatModel
    from synth.generation.runner import Run
    from synth.methods.magpie import magpie, magpie_rows

    async def main() -> dict[str, float]:
        chat = format_for(model)
        engine = await open_vllm(model, chat.tokenizer, EngineOptions(concurrency=concurrency))
        await warm_up(engine, chat)
        chosen = settings(limit)
        source = magpie_rows(chosen.record(), model)
        before = engine.usage.completion_tokens
        with tempfile.TemporaryDirectory() as folder:
            sink = RunDirectory.open(Path(folder, "d"), RunRecord("magpie", chosen.record()), BASE)
            method = magpie(ChatModel(engine, chat, model), chosen)
            began = time.perf_counter()
            await Run(
                method,
                lambda start: islice(source(start), rows - start),
                sink,
                [engine.usage],
                concurrency,
                Acceptance(sink, rules=Rules(unique=True)),
            ).go()
            sink.finish()
            seconds = time.perf_counter() - began
        tokens = engine.usage.completion_tokens - before
        result = {"seconds": seconds, "tokens": tokens, "accepted": sink.record.accepted}
        await engine.close()
        return result

    return asyncio.run(main())


async def warm_up(engine: Any, chat: Any) -> None:
    from synth.engines.base import Sampling

    prompt = chat.answer_prompt([{"role": "user", "content": "What is 1 + 1?"}])
    await asyncio.gather(*(engine.generate(prompt, Sampling(max_tokens=32, seed=i)) for i in range(256)))


def vllm_side(model: str, rows: int, limit: int, concurrency: int, seeds: bool) -> dict[str, float]:
    """Two calls of `LLM.generate`: the same question prompts, and seeds if wanted, then the same answer prompts."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
    from vllm import LLM, SamplingParams

    from synth.chat.derive import format_for
    from synth.methods.magpie import magpie_rows
    from synth.seeds import seed_of

    chat = format_for(model)
    dtype = "auto" if has_gpu() else "float32"
    llm = LLM(
        model=model,
        dtype=dtype,
        max_num_seqs=concurrency,
        enable_prefix_caching=True,
        enable_chunked_prefill=None if has_gpu() else False,  # for the reason in vllm/arguments.py
        use_tqdm_on_load=False,
    )
    answer = {"max_tokens": limit, "temperature": 0.0, "stop_token_ids": list(chat.answer_stop_ids), "ignore_eos": True}
    prompt = chat.answer_prompt([{"role": "user", "content": "What is 1 + 1?"}])
    llm.generate(
        [{"prompt_token_ids": prompt}] * 256, SamplingParams(max_tokens=32, seed=0 if seeds else None), use_tqdm=False
    )

    ids = [row.id for row in islice(magpie_rows(settings(limit).record(), model)(0), rows)]
    ask = [
        SamplingParams(
            max_tokens=limit,
            temperature=1.0,
            seed=seed_of(SEED, row_id, "question", 0) if seeds else None,
            stop_token_ids=list(chat.stop_ids),
            ignore_eos=True,
            skip_special_tokens=False,
        )
        for row_id in ids
    ]
    before = {"prompt_token_ids": list(chat.user_prompt().ids)}
    began = time.perf_counter()
    questions = llm.generate([before] * rows, ask, use_tqdm=False)
    asked = time.perf_counter() - began
    # Only questions that synth would have answered are answered; choosing them is not part of the time.
    prompts = answerable(chat, questions)
    began = time.perf_counter()
    answers = llm.generate(
        [{"prompt_token_ids": prompt} for prompt in prompts], SamplingParams(**answer), use_tqdm=False
    )
    seconds = asked + time.perf_counter() - began
    tokens = sum(len(output.outputs[0].token_ids) for output in (*questions, *answers))
    return {"seconds": seconds, "tokens": tokens, "accepted": len(prompts)}


def answerable(chat: Any, questions: list[Any]) -> list[list[int]]:
    from synth.engines.base import Completion
    from synth.generation.screen import question_fault

    prompts = []
    for question in questions:
        output = question.outputs[0]
        ids = tuple(token for token in output.token_ids if token not in chat.stop_ids)
        text = chat.tokenizer.decode(ids, skip_special_tokens=False)
        finish = "length" if output.finish_reason == "length" else "stop"
        if question_fault(Completion(ids, text, finish), chat) is None:  # type: ignore[arg-type]
            prompts.append(chat.answer_prompt([{"role": "user", "content": text.strip()}]))
    return prompts


def has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def child(side: str, arguments: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, __file__, "--side", side, "--model", arguments.model, "--rows", str(arguments.rows)]
    command += ["--limit", str(arguments.limit), "--concurrency", str(arguments.concurrency)]
    command += ["--no-seeds"] if arguments.no_seeds else []
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{side} failed:\n{done.stderr[-3000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="samples/model")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=int, default=160, help="most tokens of a turn")
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--no-seeds", action="store_true", help="LLM.generate draws without a seed a row")
    parser.add_argument("--side", choices=("synth", "vllm"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        given = arguments.model, arguments.rows, arguments.limit, arguments.concurrency
        found = synth_side(*given) if arguments.side == "synth" else vllm_side(*given, not arguments.no_seeds)
        print(json.dumps(found))
        return
    rates: dict[str, list[float]] = {"synth": [], "vllm": []}
    print(f"{arguments.rows} rows, {os.cpu_count()} cores, {'GPU' if has_gpu() else 'no GPU'}")
    for number in range(arguments.rounds):
        for side in ("synth", "vllm") if number % 2 == 0 else ("vllm", "synth"):
            found = child(side, arguments)
            rates[side].append(found["tokens"] / found["seconds"])
            print(
                f"round {number + 1} {side:>5}: {found['tokens']:,.0f} tokens in {found['seconds']:.2f} s, "
                f"{rates[side][-1]:,.0f} tokens/s",
                flush=True,
            )
    if arguments.no_seeds:
        print("LLM.generate without seeds")
    ours, theirs = (statistics.median(rates[side]) for side in ("synth", "vllm"))
    print(f"median output tokens/s: synth {ours:,.0f}, LLM.generate {theirs:,.0f}, ratio {ours / theirs:.2f}")


if __name__ == "__main__":
    main()
