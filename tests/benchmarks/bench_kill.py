"""`kill -9` at random moments of real `synth magpie` runs, each given again until it is done, against one in peace.

python tests/benchmarks/bench_kill.py [--kills 50] [--rows 1500] [--forms one,shards,servers]

    one         one process
    shards      two shards and what joins them
    servers     one process on three servers; servers are killed, too, and come back

What answers is a server whose texts depend on prompt and seed alone, so that runs can be compared letter by letter;
with --engine transformers (or vllm) `one` and `shards` run the sample model, whose texts may differ by rounding.
"""

import argparse
import asyncio
import hashlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.synth.engines.misbehaving import Body, MisbehavingServer, answer_text, slow

SYNTH = [sys.executable, "-c", "from cli.main import main; main()"]
WORDS = ("river", "stone", "window", "garden", "letter", "market", "winter", "silver", "bridge", "candle", "forest")
Process = subprocess.Popen[bytes]


def answer(body: Body) -> Any:
    """What the model says: words that prompt and seed decide; and log-probabilities that are the same everywhere."""
    digest = hashlib.sha256(f"{body['prompt']} {body.get('seed')}".encode()).digest()
    text = " ".join(WORDS[number % len(WORDS)] for number in digest[:12])
    logprobs = {"token_logprobs": [-1.0], "top_logprobs": [{"a": -1.0}]} if "logprobs" in body else None
    return answer_text(f"{text}.", logprobs=logprobs)(body) | {"model": body["model"]}


async def serve(port: int, seconds: float) -> None:
    """Answer on a port for ever, each request after some seconds."""
    server = MisbehavingServer(answer=answer)
    server.always = slow(seconds)
    listening = await asyncio.start_server(server._connection, "127.0.0.1", port, limit=1 << 24)
    async with listening:
        await listening.serve_forever()


@dataclass
class Form:
    """One way to run: the commands that make the data set, all at once, and the one that ends it.

    Attributes:
        makers: commands by the directory that each writes.
        join: what makes `output` of them, where that is a command of its own.
        output: the data set.
        ports: of the servers that may be killed.
    """

    makers: dict[Path, list[str]]
    output: Path
    join: list[str] | None = None
    ports: list[int] = field(default_factory=list)


class Servers:
    """Servers in processes of their own, which are started again where they were killed."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._running: dict[int, Process] = {}

    def start(self, port: int) -> int:
        """Start one, and wait until it answers."""
        command = [sys.executable, __file__, "--serve", str(port), "--seconds", str(self._seconds)]
        self._running[port] = subprocess.Popen(command)
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return port
            except OSError:
                time.sleep(0.05)

    def kill(self, port: int) -> None:
        """Kill one."""
        self._running[port].kill()
        self._running[port].wait()

    def close(self) -> None:
        """Kill all."""
        for port in self._running:
            self.kill(port)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def forms(arguments: argparse.Namespace, ports: list[int]) -> dict[str, Callable[[Path], Form]]:
    """How each form runs in a directory."""
    base = [*SYNTH, "magpie", "--quiet", "--model", arguments.model, "-n", str(arguments.rows), "--max-tokens", "120"]
    base += ["--question-tokens", "120"]
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    engine = ["--engine", arguments.engine or urls[0]]
    three = [word for url in urls for word in ("--engine", url)]

    def one(folder: Path) -> Form:
        return Form({folder / "out": [*base, *engine, "-o", str(folder / "out")]}, folder / "out")

    def shards(folder: Path) -> Form:
        parts = [folder / str(number) for number in (1, 2)]
        makers = {part: [*base, *engine, "--shard", f"{part.name}/2", "-o", str(part)] for part in parts}
        join = [*SYNTH, "join", "--quiet", *map(str, parts), "-o", str(folder / "out")]
        return Form(makers, folder / "out", join)

    def servers(folder: Path) -> Form:
        return Form({folder / "out": [*base, *three, "-o", str(folder / "out")]}, folder / "out", None, ports)

    return {"one": one, "shards": shards, "servers": servers}


def wait_for_rows(journals: list[Path], running: list[Process]) -> None:
    """Until one of them makes rows: a kill while all load their tokenizers would test nothing."""

    def sizes() -> list[int]:
        return [journal.stat().st_size if journal.exists() else 0 for journal in journals]

    before = sizes()
    while all(child.poll() is None for child in running):
        time.sleep(0.02)
        now = sizes()
        if any(size > was for size, was in zip(now, before, strict=True)):
            return
        before = list(map(min, now, before))  # rewritten where a shard has landed


@dataclass
class Kills:
    """Kills of one form, until there are enough of them."""

    wanted: int
    moments: random.Random
    servers: Servers
    longest: float
    counts: Counter[str] = field(default_factory=Counter)

    def run(self, form: Form) -> None:
        """Run to the end; each command is given again as long as it is killed. Any other end of one is an error."""
        waiting = dict(form.makers)
        while waiting:
            at_once = ["--concurrency", str(self.moments.choice((16, 64, 256)))]
            running = {folder: subprocess.Popen([*command, *at_once]) for folder, command in waiting.items()}
            victims: list[Path | int] = [*running, *form.ports]
            victim = self.moments.choice(victims)
            self._kill(victim, running)
            for folder, child in running.items():
                if folder != victim or child.returncode != -signal.SIGKILL:
                    assert child.wait() == 0, f"{folder} ended by itself with {child.returncode}"
                    del waiting[folder]
        while form.join is not None:
            child = subprocess.Popen(form.join)
            if self._left and not (form.output / "run.json").exists():
                time.sleep(self.moments.uniform(0, 3))
                child.kill()
            if child.wait() != -signal.SIGKILL:
                assert child.returncode == 0, f"join ended by itself with {child.returncode}"
                return
            self.counts["join"] += 1

    @property
    def _left(self) -> bool:
        return self.counts.total() < self.wanted

    def _kill(self, victim: Path | int, running: dict[Path, Process]) -> None:
        journals = [folder / "journal.jsonl" for folder in running]
        wait_for_rows(journals, list(running.values()))
        while self._left and any(child.poll() is None for child in running.values()):
            time.sleep(self.moments.uniform(0, self.longest))
            if isinstance(victim, Path):
                running[victim].kill()
                self.counts["process"] += running[victim].wait() == -signal.SIGKILL
                readable(victim)
                return
            self.servers.kill(victim)
            self.counts["server"] += 1
            time.sleep(self.moments.uniform(0, 1))
            self.servers.start(victim)


def readable(folder: Path) -> None:
    """Reads every landed shard of a killed run to its end."""
    for shard in [*folder.glob("data-*.arrow"), *folder.glob("rejected/data-*.arrow")]:
        with pa.memory_map(str(shard)) as file:
            pa.ipc.open_stream(file).read_all()


def rows_of(path: Path) -> dict[str, str]:
    import datasets  # not where a server starts, which is to be back soon

    loaded = datasets.load_from_disk(str(path))
    ids = loaded["id"][:]
    assert len(set(ids)) == len(ids), "an id is doubled"
    return dict(zip(ids, map(str, loaded["messages"]), strict=True))


def difference(expected: Path, found: Path) -> str:
    """How two data sets differ, in words."""
    rows, others = rows_of(expected), rows_of(found)
    lost, new = len(rows.keys() - others.keys()), len(others.keys() - rows.keys())
    order = "the same ids in the same order" if list(rows) == list(others) else "IDS DIFFER"
    texts = sum(rows[name] != others.get(name, rows[name]) for name in rows)
    same = (expected / "data-00000.arrow").read_bytes() == (found / "data-00000.arrow").read_bytes()
    said = f"{order}, {lost} rows lost, {new} that should not be there, {texts} texts differ"
    return f"{said}; {'the same bytes' if same else 'other bytes'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="samples/model")
    parser.add_argument("--engine")
    parser.add_argument("--forms", default="one,shards,servers")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--seconds", type=float, default=0.2, help="that the server takes for an answer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve(arguments.serve, arguments.seconds))
        return
    differ = False
    with ExitStack() as stack:
        servers = Servers(arguments.seconds)
        stack.callback(servers.close)
        ports = [servers.start(free_port()) for _ in range(3)]
        folder = Path(tempfile.mkdtemp(prefix="synth-kill-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        known = forms(arguments, ports)
        whole = known["one"](folder / "whole")
        began = time.monotonic()
        subprocess.run(whole.makers[whole.output], check=True)
        longest = (time.monotonic() - began) / 4
        for name in arguments.forms.split(","):
            kills = Kills(arguments.kills, random.Random(f"{arguments.seed} {name}"), servers, longest)
            found: Counter[str] = Counter()
            while kills.counts.total() < arguments.kills:
                form = known[name](folder / f"{name}-{found.total()}")
                kills.run(form)
                found[difference(whole.output, form.output)] += 1
            what = ", ".join(f"{count} of a {kind}" for kind, count in sorted(kills.counts.items()))
            print(f"{name}: {kills.counts.total()} kills ({what}) over {found.total()} runs of {arguments.rows} rows")
            for said, runs in found.items():
                print(f"    {runs} runs: {said}", flush=True)
                differ |= "same ids" not in said
    sys.exit(differ)


if __name__ == "__main__":
    main()
