"""`kill -9` at random moments of real `synth magpie` runs, each given again until it is done, against one in peace.

python -m tests.benchmarks.bench_kill [--kills 50] [--rows 1500] [--forms one,shards,servers,ray]

    one         one process
    shards      two shards and what joins them
    servers     one process on three servers; servers are killed, too, and come back
    ray         two actors on a Ray of two machines, both here; the driver, actors and a machine's raylet are killed

What answers is a server whose texts depend on prompt and seed alone, so that runs can be compared letter by letter;
with --engine transformers (or vllm) `one` and `shards` run the sample model, whose texts may differ by rounding.
"""

import argparse
import multiprocessing
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from glob import glob
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa

from cli.main import main as main_of_synth
from tests.cli.running import Command
from tests.synth.engines.talking import serve

JOURNAL = "journal.jsonl"
SECONDS = 1200
"""In which a process that is not killed is done, or it hangs."""
LIBRARIES = Path(sys.prefix, "ray")


@dataclass
class Form:
    """One way to run: the commands that make the data set, all at once, and the one that ends it.

    Attributes:
        makers: commands by the directory that each writes.
        join: what makes `output` of them, where that is a command of its own.
        output: the data set.
        others: what kills something else that takes part and starts it again; it says what that was, or nothing where
            there was none.
    """

    makers: dict[Path, list[str]]
    output: Path
    join: list[str] | None = None
    others: Sequence[Callable[[], str | None]] = ()


class Servers:
    """Servers in processes of their own, which are started again where they were killed."""

    def __init__(self, seconds: float, moments: random.Random) -> None:
        self._seconds, self._moments = seconds, moments
        self._running: dict[int, Command] = {}

    def start(self, port: int) -> int:
        """Start one, and wait until it answers."""
        self._running[port] = started(port, self._seconds, program=serve)
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return port
            except OSError:
                time.sleep(0.05)

    def kill(self, port: int) -> str:
        """Kill one, and start it again some moments later."""
        self._end(port)
        time.sleep(self._moments.uniform(0, 1))
        self.start(port)
        return "server"

    def close(self) -> None:
        """Kill all."""
        for port in self._running:
            self._end(port)

    def _end(self, port: int) -> None:
        self._running[port].__exit__()


class Cluster:
    """A Ray of two machines, both here: the driver is on the head, and the other one may be killed."""

    def __init__(self, folder: Path, moments: random.Random) -> None:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(LIBRARIES), os.environ.get("PYTHONPATH"))))
        os.environ |= {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
        }
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        self._moments = moments
        head = ["--head", "--port", str(port), "--include-dashboard", "false", "--temp-dir", str(folder)]
        self._machines = [self._started(*head), self._started("--address", self.address)]

    def kill_actor(self) -> str | None:
        """Kill an actor, which Ray starts again."""
        actors = [one for machine in self._machines for one in running_in(machine) if "EngineActor" in one.name()]
        if not actors:
            return None
        self._moments.choice(actors).kill()
        return "actor"

    def kill_raylet(self) -> str | None:
        """Kill the raylet of the second machine, with which its actors die, and start the machine again."""
        [raylet] = [one for one in running_in(self._machines[1]) if one.name() == "raylet"]
        raylet.kill()
        self._machines[1].wait()
        self._machines[1] = self._started("--address", self.address)
        return "raylet"

    def close(self) -> None:
        """End both machines."""
        everyone = [one for machine in self._machines for one in (machine, *running_in(machine))]
        for one in everyone:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(everyone, 10)

    def _started(self, *options: str) -> psutil.Popen:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus", "1"]
        more = ["--object-store-memory", str(80 << 20), "--min-worker-port", "0", "--max-worker-port", "0"]
        machine = psutil.Popen([*command, *more, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if not any("Ray runtime started" in line for line in machine.stdout):
            raise RuntimeError("Ray does not start")
        threading.Thread(target=machine.stdout.read, daemon=True).start()
        return machine


def running_in(machine: psutil.Process) -> list[psutil.Process]:
    """The processes of a machine that live."""
    try:
        return [one for one in machine.children(recursive=True) if one.status() != psutil.STATUS_ZOMBIE]
    except psutil.NoSuchProcess:
        return []


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def forms(
    arguments: argparse.Namespace, servers: Servers, ports: list[int], cluster: Cluster | None
) -> dict[str, Callable[[Path], Form]]:
    """How each form runs in a directory."""
    base = ["magpie", "--quiet", "--model", arguments.model, "-n", str(arguments.rows), "--max-tokens", "120"]
    base += ["--question-tokens", "120"]
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    engine = ["--engine", arguments.engine or urls[0]]
    three = [word for url in urls for word in ("--engine", url)]

    def one(folder: Path) -> Form:
        return Form({folder / "out": [*base, *engine, "-o", str(folder / "out")]}, folder / "out")

    def shards(folder: Path) -> Form:
        parts = [folder / str(number) for number in (1, 2)]
        makers = {part: [*base, *engine, "--shard", f"{part.name}/2", "-o", str(part)] for part in parts}
        join = ["join", "--quiet", *map(str, parts), "-o", str(folder / "out")]
        return Form(makers, folder / "out", join)

    def several(folder: Path) -> Form:
        others = [partial(servers.kill, port) for port in ports]
        return Form({folder / "out": [*base, *three, "-o", str(folder / "out")]}, folder / "out", None, others)

    def ray(folder: Path) -> Form:
        assert cluster is not None
        made = [*base, *engine, "--ray", cluster.address, "--actors", "2", "-o", str(folder / "out")]
        return Form({folder / "out": made}, folder / "out", None, [cluster.kill_actor, cluster.kill_raylet])

    return {"one": one, "shards": shards, "servers": several, "ray": ray}


def started(*words: object, program: Callable[[list[str]], Any] = main_of_synth) -> Command:
    """A command in a process of its own, which need not import anything: that would take most of the time."""
    child = Command(*words, program=program)
    child.start()
    return child


def ended(child: Command, *, may_be_killed: bool) -> bool:
    """Whether a process was killed; it is an error if it ended by itself before it was done."""
    status = child.wait(SECONDS)
    assert status == 0 or (may_be_killed and status == -signal.SIGKILL), f"ended with {status}: {child.said[-2000:]}"
    child.__exit__()
    return status != 0


def kill_all() -> None:
    """Kill what runs still, as this ends."""
    for child in multiprocessing.active_children():
        child.kill()


def wait_for_rows(folders: list[Path], running: list[Command]) -> None:
    """Until one of them makes rows: a kill while all load their tokenizers would test nothing."""

    def sizes() -> list[int]:
        return [
            sum(map(size, glob(f"{folder}/{JOURNAL}") + glob(f"{folder}.blocks/*/{JOURNAL}"))) for folder in folders
        ]

    before = sizes()
    while all(child.is_alive() for child in running):
        time.sleep(0.02)
        now = sizes()
        if any(size > was for size, was in zip(now, before, strict=True)):
            return
        before = list(map(min, now, before))  # rewritten where a shard has landed


def size(file: str) -> int:
    """Bytes of a file that may have gone."""
    try:
        return os.stat(file).st_size
    except FileNotFoundError:
        return 0


@dataclass
class Kills:
    """Kills of one form, until there are enough of them."""

    wanted: int
    moments: random.Random
    longest: float
    counts: Counter[str] = field(default_factory=Counter)

    def run(self, form: Form) -> None:
        """Run to the end; each command is given again as long as it is killed. Any other end of one is an error."""
        waiting = dict(form.makers)
        while waiting:
            at_once = ["--concurrency", str(self.moments.choice((16, 64, 256)))]
            running = {folder: started(*command, *at_once) for folder, command in waiting.items()}
            victims: list[Path | Callable[[], str | None]] = [*running, *form.others]
            victim = self.moments.choice(victims)
            self._kill(victim, running)
            for folder, child in running.items():
                if not ended(child, may_be_killed=folder == victim):
                    del waiting[folder]
        while form.join is not None:
            child = started(*form.join)
            if self._left and not (form.output / "run.json").exists():
                time.sleep(self.moments.uniform(0, 3))
                child.kill()
            if not ended(child, may_be_killed=True):
                return
            self.counts["join"] += 1

    @property
    def _left(self) -> bool:
        return self.counts.total() < self.wanted

    def _kill(self, victim: Path | Callable[[], str | None], running: dict[Path, Command]) -> None:
        wait_for_rows(list(running), list(running.values()))
        while self._left and any(child.is_alive() for child in running.values()):
            time.sleep(self.moments.uniform(0, self.longest))
            if isinstance(victim, Path):
                running[victim].kill()
                self.counts["process"] += running[victim].wait(SECONDS) == -signal.SIGKILL
                readable(victim)
                return
            if (killed := victim()) is not None:
                self.counts[killed] += 1


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
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what it has started ends with it
    differ = False
    with ExitStack() as stack:
        stack.callback(kill_all)
        moments = random.Random(arguments.seed)
        servers = Servers(arguments.seconds, moments)
        stack.callback(servers.close)
        ports = [servers.start(free_port()) for _ in range(3)]
        folder = Path(tempfile.mkdtemp(prefix="synth-kill-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        cluster = None
        if "ray" in arguments.forms.split(","):
            cluster = Cluster(folder / "ray", moments)
            stack.callback(cluster.close)
        known = forms(arguments, servers, ports, cluster)
        whole = known["one"](folder / "whole")
        began = time.monotonic()
        ended(started(*whole.makers[whole.output]), may_be_killed=False)
        longest = (time.monotonic() - began) / 4
        for name in arguments.forms.split(","):
            kills = Kills(arguments.kills, random.Random(f"{arguments.seed} {name}"), longest)
            found: Counter[str] = Counter()
            while kills.counts.total() < arguments.kills:
                form = known[name](folder / f"{name}-{found.total()}")
                kills.run(form)
                found[difference(whole.output, form.output)] += 1
            what = ", ".join(f"{kind} {count}" for kind, count in sorted(kills.counts.items()))
            print(f"{name}: {kills.counts.total()} kills ({what}) over {found.total()} runs of {arguments.rows} rows")
            for said, runs in found.items():
                print(f"    {runs} runs: {said}", flush=True)
                differ |= "same ids" not in said
    sys.exit(differ)


if __name__ == "__main__":
    main()
