"""`synth eval`'s work beside the engine's bare speed: the same prompts, lengths and engine, in one run.

Bare is one `gather` over `engine.generate` with ready-made prompts: nothing is judged, looked at for signs of damage or
kept. The other side is what the command does: rows through the runner, answers judged in worker processes, a data set
on disk. Rounds alternate; medians are compared. Loading is on neither side.

    python tests/benchmarks/bench_eval.py [--engine transformers|vllm] [--items 200] [--rounds 5]
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from filters.verdict import VerifierSettings
from samples.lab.suites import write_suites
from synth.chat.derive import format_for
from synth.data.row import BASE
from synth.data.run.directory import RunDirectory
from synth.data.run.record import RunRecord
from synth.engines.base import EngineOptions, Sampling
from synth.engines.open import open_engine
from synth.evaluation.run import COLUMNS, EvaluationRun, Verifiers, open_verifiers
from synth.evaluation.suites import open_suites
from synth.generation.acceptance import Acceptance
from synth.generation.chat_model import ChatModel
from synth.generation.runner import Run

MODEL = str(Path(__file__).parents[2] / "samples" / "model")


async def bare(evaluation: EvaluationRun, chat_model: ChatModel) -> float:
    """Seconds of the engine alone."""
    ends = replace(evaluation.sampling, stop_ids=chat_model.chat.answer_stop_ids, stop=chat_model.chat.answer_stop)
    prompts = [chat_model.chat.answer_prompt(item.messages) for *_, item in evaluation.items()]
    began = time.perf_counter()
    await asyncio.gather(*(chat_model.engine.generate(prompt, ends) for prompt in prompts))
    return time.perf_counter() - began


async def evaluated(evaluation: EvaluationRun, chat_model: ChatModel, verifiers: Verifiers, concurrency: int) -> float:
    """Seconds of the whole evaluation."""
    with tempfile.TemporaryDirectory() as folder:
        schema = pa.schema([*BASE, *COLUMNS])
        sink = RunDirectory.open(Path(folder, "out"), RunRecord("eval", evaluation.settings()), schema)
        usages = [chat_model.engine.usage]
        method = evaluation.method(chat_model, verifiers)
        run = Run(method, evaluation.rows, sink, usages, concurrency, Acceptance(sink), evaluation.total)
        began = time.perf_counter()
        await run.go()
        sink.finish()
        return time.perf_counter() - began


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=("transformers", "vllm"), default="transformers")
    parser.add_argument("--items", type=int, default=200, help="of each of ten suites, code among them")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    times: dict[str, list[float]] = {"bare": [], "synth eval": []}
    async with AsyncExitStack() as stack:
        with tempfile.TemporaryDirectory() as folder:
            write_suites(Path(folder), "dev", given.items, given.items)
            files = sorted(str(file) for file in Path(folder).rglob("*.jsonl"))
            suites = open_suites(files, [], None, VerifierSettings(""))
        evaluation = EvaluationRun(suites, Sampling(max_tokens=120, temperature=0.0))
        verifiers = await open_verifiers(stack, suites)
        chat = format_for(MODEL)
        options = EngineOptions()
        engine = await open_engine(given.engine, MODEL, chat.tokenizer, options)
        stack.push_async_callback(engine.close)
        chat_model = ChatModel(engine, chat, "sample")
        await bare(EvaluationRun(suites[:1], evaluation.sampling), chat_model)
        before = engine.usage.completion_tokens
        await bare(evaluation, chat_model)
        tokens = engine.usage.completion_tokens - before
        for _ in range(given.rounds):
            times["bare"].append(await bare(evaluation, chat_model))
            times["synth eval"].append(await evaluated(evaluation, chat_model, verifiers, options.concurrency))
    print(f"{evaluation.total:,} items of {len(suites)} suites, {tokens:,} tokens, engine {given.engine}")
    median = {side: statistics.median(values) for side, values in times.items()}
    for side, values in times.items():
        print(f"{side:<12}{tokens / median[side]:>9,.0f} tokens/s   ({min(values):.1f}–{max(values):.1f} s)")
    print(f"synth eval runs at {median['bare'] / median['synth eval']:.2f} of the engine's bare speed")


if __name__ == "__main__":
    asyncio.run(main())
