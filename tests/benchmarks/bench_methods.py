"""Generating commands' tokens/s, beside their engine's bare speed at the same prompts.

A command runs as a person runs it, its requests are noted, and then the very same requests go to the same engine all
at once, with nothing between them: no verifier, no choice, no files, no request that waits for the answer to another.
The command's time is from its first request to the end of its run, less the loading of models. A first round is not
counted; then the order of the two changes from round to round. Where other work shares the machine, look at the ratio
by processor time: that of this process, in which an engine on the CPU does its work.

    python tests/benchmarks/bench_methods.py [--rows 400] [--rounds 5] [COMMAND…]

The model is samples/model, on transformers; what each command is given is in `COMMANDS`.
"""

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

import synth.generation.models
from cli.main import main as run_synth
from samples.lab.suites import write_requests
from samples.skills.registry import suite
from synth.engines.base import Completion, Engine, Sampling
from synth.engines.open import open_engine

MODEL = "samples/model"
SKILLS = ("arithmetic", "two_step")


Request = tuple[tuple[int, ...], Sampling | None]
"""Tokens, and how to go on from them; without a sampling, tokens to score."""


@dataclass
class Rate:
    """Output tokens, and the seconds they took by the clock and by this process's processor time."""

    tokens: int = 0
    seconds: float = 0.0
    busy: float = 0.0

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count the time that passes within."""
        clock, busy = time.perf_counter(), time.process_time()
        yield
        self.seconds += time.perf_counter() - clock
        self.busy += time.process_time() - busy

    def a_second(self) -> tuple[float, float]:
        return self.tokens / self.seconds, self.tokens / self.busy


@dataclass
class Round:
    """One run of a command, and the same requests to the bare engine.

    Attributes:
        before: the requests of the run before, by engine: a command may open several, one after the other. They go to
            the bare engine before the command's own; without them the command's go to it after the command.
    """

    before: list[list[Request]]
    requests: list[list[Request]] = field(default_factory=list)
    command: Rate = field(default_factory=Rate)
    bare: Rate = field(default_factory=Rate)
    aside: Rate = field(default_factory=Rate)
    """Since the first request: models loaded, and the bare engine's work."""

    def begin(self) -> None:
        """At the first request: models loaded before it do not count."""
        if not any(self.requests):
            self.aside = Rate()
            self.command.seconds, self.command.busy = -time.perf_counter(), -time.process_time()

    def end(self) -> None:
        """The run is over."""
        if not any(self.requests):
            raise SystemExit("the command asked nothing of its engine")
        self.command.seconds += time.perf_counter() - self.aside.seconds
        self.command.busy += time.process_time() - self.aside.busy

    async def go_bare(self, engine: Engine, requests: list[Request]) -> None:
        """These requests, all at once."""
        before = engine.usage.completion_tokens
        with self.bare.counting():
            await asyncio.gather(
                *(
                    engine.logprobs(ids) if sampling is None else engine.generate(ids, sampling)
                    for ids, sampling in requests
                )
            )
        self.bare.tokens += engine.usage.completion_tokens - before


class Noting:
    """An engine that notes what is asked of it."""

    def __init__(self, engine: Engine, this: Round) -> None:
        self.engine = engine
        self.round = this
        self.requests: list[Request] = []
        self.name, self.description, self.usage = engine.name, engine.description, engine.usage
        self.max_length = engine.max_length
        self.before = engine.usage.completion_tokens

    async def generate(self, token_ids: Sequence[int], sampling: Sampling) -> list[Completion]:
        self._note(token_ids, sampling)
        return await self.engine.generate(token_ids, sampling)

    async def logprobs(self, token_ids: Sequence[int]) -> Any:
        self._note(token_ids, None)
        return await self.engine.logprobs(token_ids)

    def _note(self, token_ids: Sequence[int], sampling: Sampling | None) -> None:
        self.round.begin()
        self.requests.append((tuple(token_ids), sampling))

    async def close(self) -> None:
        """The command needs it no more."""
        self.round.command.tokens += self.usage.completion_tokens - self.before
        with self.round.aside.counting():
            if not self.round.before:
                await self.round.go_bare(self.engine, self.requests)
            await self.engine.close()


COMMANDS = {
    "magpie": "-n {rows}",
    "self-output": "{tasks} --verifier math --samples 4",
    "paraphrase": "{tasks} --verifier math",
    "minimum-change": "{tasks} --verifier math",
    "reason": "{tasks} --verifier math --samples 4",
    "ssr": "{tasks} -n {rows}",
    "refuse": "{requests}",
    "distil": "{tasks} --verifier math --samples 4",
    "rephrase": "{documents} --chunk-tokens 60",
    "continue": "{documents} --passage-tokens 120",
    "describe": "{manifest}",
    "lamol": "-n {rows}",
}


def write_inputs(rows: int, folder: Path) -> dict[str, str]:
    """What the commands are given, by the names in `COMMANDS`."""
    pairs = [pair for skill in SKILLS for pair in suite(skill, "train", rows // len(SKILLS))]
    world = [f"{question} {answer}" for question, answer in suite("world", "train", 4 * rows)]
    texts = [" ".join(world[start : start + 4]) for start in range(0, len(world), 4)]
    files = {name: str(folder / f"{name}.jsonl") for name in ("tasks", "requests", "documents", "manifest")}
    write_requests(Path(files["requests"]), rows)
    _write(files["tasks"], [{"question": question, "answer": answer} for question, answer in pairs])
    _write(files["documents"], [{"text": text} for text in texts])
    clips = [{"audio": f"{number % 8}.wav", "transcript": text} for number, (text, _) in enumerate(pairs)]
    _write(files["manifest"], clips)
    for number in range(8):
        tone = np.sin(2 * np.pi * (110 + 20 * number) * np.arange(16_000) / 16_000)
        soundfile.write(folder / f"{number}.wav", tone, 16_000)
    return files | {"rows": str(rows)}


def train_lamol(folder: Path, tasks: str) -> str:
    """A model that writes examples of its tasks after a generation token."""
    output = folder / "lamol"
    _synth(["lamol", "--prepare", tasks, "--model", MODEL, "--quiet", "-o", str(folder / "prepared")])
    options = "--steps 150 --batch-tokens 1024 --lr 2e-3 --lm-loss 0.25 --quiet"
    _synth(["train", str(folder / "prepared"), "--model", MODEL, "-o", str(output), *options.split()])
    return str(output)


def _write(file: str, found: list[dict[str, str]]) -> None:
    Path(file).write_text("\n".join(map(json.dumps, found)), encoding="utf-8")


def run(command: list[str], this: Round) -> None:
    """One run of a command with noting engines in place of its own."""

    async def open_noting(*arguments: Any) -> Noting:
        with this.aside.counting():
            engine = await open_engine(*arguments)
            if this.before:
                await this.go_bare(engine, this.before[len(this.requests)])
        noting = Noting(engine, this)
        this.requests.append(noting.requests)
        return noting

    setattr(synth.generation.models, "open_engine", open_noting)  # noqa: B010 (the module does not export it)
    _synth(command)
    this.end()


def _synth(command: list[str]) -> None:
    try:
        run_synth(command)
    except SystemExit as ended:
        if ended.code:
            raise


def measure(command: list[str], count: int, folder: Path) -> str:
    """So many rounds of a command, each into a directory of its own; a row of the table."""
    rounds: list[Round] = []
    for number in range(count + 1):
        rounds.append(Round(rounds[-1].requests if number % 2 else []))  # the order of the two changes
        run([*command, "-o", str(folder / command[0] / str(number))], rounds[-1])
    cells = [f"{command[0]:16}{sum(map(len, rounds[-1].requests)):>9,}"]
    ours = [this.command.a_second() for this in rounds[1:]]
    bare = [this.bare.a_second() for this in rounds[1:]]
    for mine, theirs in zip(zip(*ours, strict=True), zip(*bare, strict=True), strict=True):
        ratio = statistics.median(one / other for one, other in zip(mine, theirs, strict=True))
        cells.append(f"{statistics.median(mine):>10,.0f}{statistics.median(theirs):>8,.0f}{ratio:>7.2f}")
    return "".join(cells)


def main() -> None:
    """Prints one line a command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("commands", nargs="*", choices=[[], *COMMANDS], metavar="COMMAND")
    given = parser.parse_args()
    print(f"{given.rows} rows, {len(os.sched_getaffinity(0))} cores, medians of {given.rounds} rounds, output tokens/s")
    print(f"{'':16}{'':>9}{'by the clock':>25}{'by processor time':>25}")
    print(f"{'command':16}{'requests':>9}" + f"{'synth':>10}{'bare':>8}{'ratio':>7}" * 2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs = write_inputs(given.rows, folder)
        for command in given.commands or COMMANDS:
            model = train_lamol(folder, inputs["tasks"]) if command == "lamol" else MODEL
            words = [command, *COMMANDS[command].format(**inputs).split()]
            words += ["--teacher" if command == "distil" else "--model", model, "--engine", "transformers"]
            words += ["--max-tokens", "100", "--quiet"]
            print(measure(words, given.rounds, folder / "made"), flush=True)


if __name__ == "__main__":
    main()
