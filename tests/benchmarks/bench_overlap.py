"""Whether verifying answers hides behind generating them: a run with a verifier that takes as long as the generation.

Timed are the generation alone (self-output with a verifier that says "right" at once), the verification alone (the same
number of checks through the pool), and the two together.

    python tests/benchmarks/bench_overlap.py [--rows 400] [--rounds 3]
"""

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from filters.verdict import Task, VerifierSettings
from synth.chat.derive import format_for
from synth.data.prompts import PromptSet, open_prompts
from synth.data.read import open_rows
from synth.data.run.directory import RunDirectory
from synth.data.run.record import RunRecord
from synth.engines.base import EngineOptions, Sampling
from synth.engines.open import open_engine
from synth.generation.acceptance import Acceptance
from synth.generation.chat_model import ChatModel
from synth.generation.runner import Run
from synth.generation.verification import Verifier, open_verifier
from synth.methods.self_output import COLUMNS, SelfOutputSettings, self_output

CHECKS = """
import time
def check(response, reference):
    time.sleep({seconds})
    return True
"""

SETTINGS = SelfOutputSettings(samples=1, sampling=Sampling(max_tokens=160, temperature=1.0))


async def timed_run(chat_model: ChatModel, verifier: Verifier, tasks: PromptSet, concurrency: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        sink = RunDirectory.open(Path(folder, "d"), RunRecord("self-output", {}), tasks.schema(COLUMNS))
        method = self_output(chat_model, verifier, SETTINGS)
        rows, usages = tasks.rows("self-output", {}, COLUMNS), [chat_model.engine.usage]
        run = Run(method, rows, sink, usages, concurrency, Acceptance(sink))
        began = time.perf_counter()
        await run.go()
        sink.finish()
        assert sink.record.accepted + sink.record.rejected == tasks.total
        return time.perf_counter() - began


async def verifier_of(seconds: float, folder: Path) -> Verifier:
    name = f"checks_{seconds:.6f}".replace(".", "_")
    (folder / f"{name}.py").write_text(CHECKS.format(seconds=seconds))
    return await open_verifier(VerifierSettings(f"{name}:check"))


async def measure(model: str, engine_name: str, rows: int, rounds: int, concurrency: int, folder: Path) -> None:
    (folder / "tasks.jsonl").write_text(
        "\n".join(
            json.dumps({"question": f"Olga has {n + 9} rolls and sells 3. How many are left?"}) for n in range(rows)
        )
    )
    tasks = open_prompts(open_rows(str(folder / "tasks.jsonl")))
    chat = format_for(model)
    engine = await open_engine(engine_name, model, chat.tokenizer, EngineOptions(concurrency=concurrency))
    chat_model = ChatModel(engine, chat, model)
    ratios = []
    print(f"{rows} tasks on {engine.description}")
    for number in range(rounds + 1):  # the first warms up
        instant = await verifier_of(0.0, folder)
        generating = await timed_run(chat_model, instant, tasks, concurrency)
        await instant.close()
        workers = 2
        # Each row's reference (none here) is looked at as well: two checks a row.
        slow = await verifier_of(generating * workers / (2 * rows), folder)
        began = time.perf_counter()
        await asyncio.gather(*(slow.check("x", Task("x")) for _ in range(2 * rows)))
        verifying = time.perf_counter() - began
        together = await timed_run(chat_model, slow, tasks, concurrency)
        await slow.close()
        if number:
            ratios.append(together / max(generating, verifying))
            print(
                f"round {number}: generating {generating:.2f} s, verifying {verifying:.2f} s, "
                f"both {together:.2f} s, {ratios[-1]:.2f} of the longer"
            )
    print(f"median: {statistics.median(ratios):.2f} of the longer of the two")
    await engine.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="samples/model")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=64)
    arguments = parser.parse_args()

    model = str(Path(arguments.model).resolve())
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        asyncio.run(
            measure(model, arguments.engine, arguments.rows, arguments.rounds, arguments.concurrency, Path(folder))
        )


if __name__ == "__main__":
    main()
