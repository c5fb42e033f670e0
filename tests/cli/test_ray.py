"""Runs on Ray: what actors make is what one process makes, whoever is killed; what cannot run is said in one line."""

import importlib.metadata
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from synth.data.run.record import RunRecord, read_record
from synth.distributed.blocks import block_rows
from tests.cli.running import SYNTH
from tests.cli.running import synth as run
from tests.conftest import Here

LIBRARIES = Path(sys.prefix, "ray")
pytestmark = pytest.mark.skipif(not LIBRARIES.is_dir(), reason=f"{LIBRARIES} is not there: samples/install.sh VENV dev")


Head = tuple[psutil.Process, str]
"""The process whose children all others of a Ray are, and its address."""


@pytest.fixture(scope="module", autouse=True)
def libraries() -> Iterator[None]:
    """Ray for this process, and for those that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(LIBRARIES))
        patch.setenv("PYTHONPATH", str(LIBRARIES))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        yield


@contextmanager
def started(*options: object) -> Iterator[psutil.Process]:
    """A machine of a Ray cluster: the process whose children all others of it are."""
    folder = tempfile.mkdtemp(prefix="ray")  # its sockets' names may not be long
    words = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus", 2, "--temp-dir", folder]
    words += ["--object-store-memory", 80 << 20, *options]
    for _ in range(3):  # on a busy machine a part of it may not be up when another looks for it
        process = psutil.Popen([*map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if any("Ray runtime started" in line for line in process.stdout):
            break
        process.wait()
    threading.Thread(target=process.stdout.read, daemon=True).start()
    everyone = [process, *process.children(recursive=True)]
    yield process
    with suppress(psutil.NoSuchProcess):
        everyone += process.children(recursive=True)
        process.terminate()
    _, alive = psutil.wait_procs(everyone, 60)
    shutil.rmtree(folder, ignore_errors=True)
    assert not alive


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """A Ray cluster of this machine, one for all tests; the last one ends it."""
    with socket.create_server(("", 0)) as free:
        port = free.getsockname()[1]
    with started("--head", "--port", port, "--include-dashboard", "false") as process:
        yield process, f"127.0.0.1:{port}"


def kill_raylet(machine: psutil.Process) -> None:
    """Take a machine out of its cluster, as a loss of power does."""
    next(one for one in machine.children(recursive=True) if one.name() == "raylet").kill()


def actors(head: psutil.Process) -> list[psutil.Process]:
    """The actors of ours that live."""
    return [one for one in head.children(recursive=True) if one.name().startswith("ray::Engine")]


def until(happens: Callable[[], object], process: "subprocess.Popen[str]", seconds: float = 300) -> None:
    """Wait until something happens, while a process runs."""
    end = time.monotonic() + seconds
    while not happens():
        assert process.poll() is None and time.monotonic() < end, process.stderr and process.stderr.read()
        time.sleep(0.02)


def journalled(out: Path) -> int:
    """Rows in the journals of blocks that are under way."""
    return sum(file.read_bytes().count(b"\n") for file in Path(f"{out}.blocks").glob("*/journal.jsonl"))


def same(one: Path, other: Path) -> RunRecord:
    """Two data sets are the same, byte for byte; the record of the second."""
    files = sorted(str(file.relative_to(one)) for file in one.rglob("*.arrow"))
    assert files == sorted(str(file.relative_to(other)) for file in other.rglob("*.arrow"))
    assert all((one / file).read_bytes() == (other / file).read_bytes() for file in files)
    first, second = read_record(one), read_record(other)
    assert first is not None and second is not None and second.finished
    counts = ("settings", "asked", "next", "accepted", "rejected", "reasons", "methods", "verdicts")
    assert all(getattr(first, name) == getattr(second, name) for name in counts)
    assert not Path(f"{other}.blocks").exists()
    return second


def test_two_actors_make_what_one_process_makes(head: Head, model: str, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    command = ["magpie", "--model", model, "--engine", "transformers", "--device", "cpu", "--concurrency", 1, "--quiet"]
    command += ["-n", 12, "--temperature", 0.05, "--max-tokens", 24]
    assert run(*command, "-o", whole) == 0
    assert run(*command, "-o", out, "--ray", head[1], "--actors", 2) == 0
    record = same(whole, out)
    assert record.reasons["duplicate"] and record.accepted == 12
    assert sum(one["attempts"] for one in record.joined) >= record.next
    assert record.completion_tokens == sum(one["completion_tokens"] for one in record.joined) > 0
    assert "actor 1 on" in (out / "README.md").read_text()


def test_models_are_evaluated_by_actors(head: Head, model: str, tmp_path: Path) -> None:
    suite, whole, out = tmp_path / "sums.jsonl", tmp_path / "whole", tmp_path / "out"
    rows = [{"question": f"What is {n} + {n}?", "answer": str(2 * n), "verifier": "number"} for n in range(9)]
    suite.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["eval", suite, "--model", f"small={model}", "--engine", "transformers", "--device", "cpu", "--quiet"]
    command += ["--concurrency", 1, "--max-tokens", 8]
    assert run(*command, "-o", whole) == 0
    assert run(*command, "-o", out, "--ray", head[1], "--actors", 1) == 0
    assert same(whole / "answers" / "small", out / "answers" / "small").joined[0]["blocks"] > 1
    scores = [json.loads((folder / "scores.json").read_text())["models"] for folder in (whole, out)]
    assert scores[0] == scores[1] and scores[0][0]["suites"]


def test_whoever_is_killed_nothing_is_lost(head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process, address = head
    monkeypatch.chdir(tmp_path)
    whole, out, command = Path("whole"), Path("out"), slow_run()
    assert run(*command, "-o", whole, "--quiet") == 0
    on_ray = [*command, "-o", "out", "--ray", address, "--actors", "2"]

    driver = subprocess.Popen([*SYNTH, *on_ray], stderr=subprocess.PIPE, text=True)
    assert driver.stderr is not None
    until(lambda: journalled(out), driver)
    actors(process)[0].kill()
    said = next((line for line in driver.stderr if "died" in line), "it was done before")
    assert "goes on from its journal" in said
    driver.send_signal(signal.SIGINT)
    said = driver.stderr.read()
    assert driver.wait() == 1 and "stopped; run this again to continue" in said, said
    done = journalled(out)  # nothing, where the blocks under way were done just then

    driver = subprocess.Popen([*SYNTH, *on_ray], stderr=subprocess.PIPE, text=True)
    until(lambda: journalled(out) > done, driver)
    driver.kill()
    driver.communicate()

    done = journalled(out)
    with started("--address", address) as other:
        driver = subprocess.Popen([*SYNTH, *on_ray], stderr=subprocess.PIPE, text=True)
        until(lambda: actors(process) and actors(other), driver)  # one on each
        until(lambda: journalled(out) > done, driver)
        kill_raylet(other)
        said = driver.communicate()[1]
    assert driver.returncode == 0 and "Ray: 2 machines" in said, said
    assert same(whole, out).next == 160


def slow_run() -> list[str]:
    """A command that takes its time, over rows that are written here; not all of them can be read."""
    lines = [json.dumps({"question": f"{n} + 1?", "answer": str(n + 1)}) for n in range(160)]
    lines[7], lines[61] = '{"question": "and?"}', '{"question": 5}'
    Path("rows.jsonl").write_text("\n".join(lines))
    Path("slow_check.py").write_text(
        "import time\ndef check(response, reference):\n    time.sleep(0.1)\n    return int(response) % 3 == 0\n"
    )
    return ["verify", "rows.jsonl", "--verifier", "slow_check:check"]


def test_an_engine_that_does_not_load_is_said_in_one_line(
    head: Head, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: Here
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("no_engine.py").write_text(
        "async def opened(model, tokenizer, options):\n    raise OSError('no such device')\n"
    )
    done = here("magpie", "--model", model, "-n", 4, "--engine", "no_engine:opened", "-o", "out", "--ray", head[1])
    assert done.returncode == 2, done.stderr
    assert "no such device" in done.stderr and "Traceback" not in done.stderr
    assert [*tmp_path.glob("out*")] == []


def test_a_ray_of_another_version(
    head: Head, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: Here
) -> None:
    import ray

    monkeypatch.setattr(ray, "__version__", "2.59.0")
    done = here("magpie", "--model", model, "-n", 4, "-o", tmp_path / "out", "--ray", head[1])
    assert done.returncode == 2 and "2.59.0" in done.stderr and len(done.stderr.splitlines()) == 2, done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-o", "out", "--ray", "rows.jsonl"], "--ray rows.jsonl is no address"),
        (["-o", "out", "--ray", "127.0.0.1:1"], "--ray 127.0.0.1:1 does not answer"),
        (["-o", "out", "--ray", "SOMETHING"], "what answers there is no Ray"),
        (["--ray", "127.0.0.1:1"], "give -o DIR or FILE"),
        (["--preview", "2", "--ray", "127.0.0.1:1"], "leave it out of a preview"),
        (["-o", "out", "--ray", "127.0.0.1:1", "--shard", "1/2"], "--shard does not go with --ray"),
        (["-o", "out", "--actors", "2"], "--actors are of a run on Ray"),
        (["-o", "out", "--ray", "127.0.0.1:1", "--temperature", "0.5", "--template-arg", "tools=1"], "--template-arg"),
    ],
)
def test_what_is_refused_before_anything_starts(
    options: list[str], said: str, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: Here
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_answer, args=[server], daemon=True).start()
        options = [option.replace("SOMETHING", f"127.0.0.1:{server.getsockname()[1]}") for option in options]
        done = here("magpie", "--model", model, "-n", 4, *options)
    assert done.returncode == 2 and said in done.stderr.splitlines()[-1], done.stderr
    assert os.listdir() == []


def _answer(server: socket.socket) -> None:
    try:
        connection, _ = server.accept()
    except OSError:  # nobody came
        return
    with connection:
        connection.recv(64)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.mark.parametrize(("found", "said"), [(None, "not installed"), ("2.9.1", "not 2.9.1"), ("3.0.0", "not 3.0.0")])
def test_a_ray_that_is_missing_or_does_not_fit(
    found: str | None, said: str, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: Here
) -> None:
    def version(_: str) -> str:
        if found is None:
            raise importlib.metadata.PackageNotFoundError
        return found

    monkeypatch.setattr(importlib.metadata, "version", version)
    done = here("magpie", "--model", model, "-n", 4, "-o", tmp_path / "out", "--ray")
    assert done.returncode == 2 and said in done.stderr and "pip install -e '.[ray]'" in done.stderr


@pytest.mark.parametrize(
    ("wanted", "actors_there", "at_once", "rows"),
    [(1_000_000, 4, 256, 4096), (40_000, 4, 256, 1250), (2_000, 4, 256, 500), (3, 8, 256, 1), (None, 4, 256, 1024)],
)
def test_the_size_of_blocks(wanted: int | None, actors_there: int, at_once: int, rows: int) -> None:
    assert block_rows(wanted, actors_there, at_once) == rows


def test_when_ray_itself_ends_one_line_says_so_and_another_one_goes_on(
    head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: Here
) -> None:
    process, address = head
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    whole, out, command = Path("whole"), Path("out"), slow_run()

    def end() -> None:
        while not journalled(out):
            time.sleep(0.02)
        kill_raylet(process)

    threading.Thread(target=end, daemon=True).start()
    done = here(*command, "-o", out, "--ray", address, "--actors", 1)
    last = done.stderr.splitlines()[-1]
    assert (
        done.returncode == 1
        and "Ray on this machine has ended: what was finished is kept" in last
        and "Traceback" not in done.stderr
    ), done.stderr
    process.wait(60)
    assert journalled(out)
    assert run(*command, "-o", out, "--ray", "--quiet") == 0  # which starts one of its own
    assert run(*command, "-o", whole, "--quiet") == 0
    same(whole, out)
