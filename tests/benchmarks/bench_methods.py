"""A generating command's tokens/s, beside its engine's bare speed at the same prompts.

The command runs as a person runs it, its requests are noted, and then the very same requests go to the same engine all
at once, with nothing between them: no verifier, no choice, no files, no request that waits for the answer to another.
The command's time is from its first request to the end of its run. A first round is not counted; then the order of the
two changes from round to round. Where other work shares the machine, look at the ratio by processor time: that of this
process, in which an engine on the CPU does its work.

    python tests/benchmarks/bench_methods.py [--rows 400] [--rounds 5] COMMAND [ARGUMENTS]

In the arguments TASKS stands for a file of so many rows of the sample model's skills, and the model is samples/model
where none is given:

    python tests/benchmarks/bench_methods.py reason TASKS --verifier math --max-tokens 100 --engine transformers
"""

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cli.cast
from cli.main import main as synth
from samples.skills.registry import suite
from synth.engines.base import Completion, Engine, Sampling
from synth.engines.open import open_engine

SKILLS = ("arithmetic", "two_step")


class Clock:
    """Output tokens of an engine a second, by the clock and by this process's processor time."""

    def __init__(self, engine: Engine) -> None:
        self.usage = engine.usage
        self.before = self._now()

    def _now(self) -> tuple[int, float, float]:
        return self.usage.completion_tokens, time.perf_counter(), time.process_time()

    def rates(self) -> tuple[float, float]:
        tokens, seconds, busy = (now - then for now, then in zip(self._now(), self.before, strict=True))
        return tokens / seconds, tokens / busy


@dataclass
class Rounds:
    """What is measured over the rounds: see `Clock.rates`."""

    requests: list[tuple[tuple[int, ...], Sampling | None]] = field(default_factory=list)
    """Of the latest run of the command; without a sampling, tokens to score."""
    bare_first: bool = False
    command: list[tuple[float, float]] = field(default_factory=list)
    bare: list[tuple[float, float]] = field(default_factory=list)


class Noting:
    """An engine that notes what is asked of it, and when."""

    def __init__(self, engine: Engine, rounds: Rounds) -> None:
        self.engine = engine
        self.rounds = rounds
        self.name, self.description, self.usage = engine.name, engine.description, engine.usage
        self.max_length = engine.max_length
        self._clock: Clock | None = None
        self._requests: list[tuple[tuple[int, ...], Sampling | None]] = []

    async def generate(self, token_ids: Sequence[int], sampling: Sampling) -> list[Completion]:
        self._note(token_ids, sampling)
        return await self.engine.generate(token_ids, sampling)

    async def logprobs(self, token_ids: Sequence[int]) -> Any:
        self._note(token_ids, None)
        return await self.engine.logprobs(token_ids)

    def _note(self, token_ids: Sequence[int], sampling: Sampling | None) -> None:
        self._clock = self._clock or Clock(self.engine)
        self._requests.append((tuple(token_ids), sampling))

    async def close(self) -> None:
        """The run is over: measure it, and the bare engine after it unless that came first."""
        if self._clock is None:
            raise SystemExit("the command asked nothing of its engine")
        self.rounds.command.append(self._clock.rates())
        self.rounds.requests = self._requests
        if not self.rounds.bare_first:
            await self.go_bare()
        await self.engine.close()

    async def go_bare(self) -> None:
        """The latest requests, all at once."""
        clock = Clock(self.engine)
        await asyncio.gather(
            *(
                self.engine.logprobs(ids) if sampling is None else self.engine.generate(ids, sampling)
                for ids, sampling in self.rounds.requests
            )
        )
        self.rounds.bare.append(clock.rates())


def tasks(rows: int, folder: str) -> str:
    path = Path(folder, "tasks.jsonl")
    pairs = [pair for skill in SKILLS for pair in suite(skill, "train", rows // len(SKILLS))]
    path.write_text("\n".join(json.dumps({"question": question, "answer": answer}) for question, answer in pairs))
    return str(path)


def run(command: list[str], rounds: Rounds) -> None:
    """One run of a command with a noting engine in place of its own."""

    async def open_noting(*arguments: Any) -> Noting:
        engine = Noting(await open_engine(*arguments), rounds)
        if rounds.bare_first:
            await engine.go_bare()
        return engine

    setattr(cli.cast, "open_engine", open_noting)  # noqa: B010 (the module does not export it)
    try:
        synth(command)
    except SystemExit as ended:
        if ended.code:
            raise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("command")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    rounds = Rounds()
    with tempfile.TemporaryDirectory() as folder:
        file = tasks(given.rows, folder)
        command = [given.command, *(file if word == "TASKS" else word for word in given.arguments)]
        if "--model" not in command:
            command += ["--model", "samples/model"]
        command += ["--quiet", "--restart", "-o", str(Path(folder, "out"))]
        print(f"synth {given.command} {' '.join(given.arguments)}")
        print(f"{given.rows} rows, {len(os.sched_getaffinity(0))} cores, {given.rounds} rounds")
        for number in range(given.rounds + 1):
            rounds.bare_first = number % 2 == 1
            run(command, rounds)
            if number:
                print(f"round {number}: {len(rounds.requests):,} requests", flush=True)
    for by, ours, bare in zip(
        ("by the clock", "by processor time"),
        zip(*rounds.command[1:], strict=True),
        zip(*rounds.bare[1:], strict=True),
        strict=True,
    ):
        ratio = statistics.median(mine / theirs for mine, theirs in zip(ours, bare, strict=True))
        print(
            f"{by:17} output tokens/s, medians: command {statistics.median(ours):,.0f}, bare engine "
            f"{statistics.median(bare):,.0f}, ratio within a round {ratio:.2f}"
        )


if __name__ == "__main__":
    main()
