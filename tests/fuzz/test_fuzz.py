"""No input of a stranger ends in a defect, a traceback, a hang or all the memory: every command that reads, fuzzed.

Some 200 inputs, always the same ones; `SYNTH_FUZZ_CASES=5000` tries so many, others each time.
"""

import faulthandler
import json
import os
import shutil
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st

import cli.main
from tests.conftest import MODEL
from tests.fuzz.scenes import FORMS, Scene, Stock, scene
from tests.fuzz.values import as_json

SECONDS = 20.0
MEMORY = 5 * 2**28
"""Beyond what the process held before: with the libraries loaded, some 700 MiB, that makes 2 GiB in all."""
CASES = int(os.environ.get("SYNTH_FUZZ_CASES", "0"))
HUNG = 90
"""Seconds after which the process ends with every thread's traceback: Python code cannot stop code below it."""


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Stock:
    """Directories as commands write them."""
    folder = tmp_path_factory.mktemp("stock")
    source = folder / "source.jsonl"
    source.write_bytes(b"".join(as_json(FORMS[3] | {"n": number}) + b"\n" for number in range(6)))
    model = ["--model", MODEL]
    number = ["--verifier", "number"]
    brief = ["--max-tokens", "2", "--engine", "transformers"]
    commands: list[list[str]] = [
        ["verify", str(source), *number, "-o", str(folder / "verified")],
        ["score-tokens", str(source), *model, "-o", str(folder / "scored")],
        ["eval", str(source), *model, *number, *brief, "-o", str(folder / "exam")],
    ]
    for command in commands:
        assert run(command)[0] == 0
    going = folder / "going"
    shutil.copytree(folder / "verified", going)
    (going / "run.json").rename(going / "progress.json")
    (going / "journal.jsonl").write_text("")
    trained = folder / "trained"
    trained.mkdir()
    record = json.loads((folder / "verified" / "run.json").read_text()) | {"command": "train", "shards": []}
    (trained / "run.json").write_text(json.dumps(record))
    log = [{"step": step, "loss": 2.0 / (step + 1), "learning_rate": 1e-4, "tokens": 100} for step in range(4)]
    (trained / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in log))
    return Stock(Path(MODEL), (folder / "verified", folder / "scored", folder / "exam", going, trained))


def run(arguments: list[str]) -> tuple[int, BaseException | None]:
    """A command's exit status, and what it raised besides."""
    try:
        cli.main.main(arguments)
    except SystemExit as stop:
        return (stop.code if isinstance(stop.code, int) else 1), None
    except BaseException as error:
        return 1, error
    raise AssertionError("a command always exits")


def peak() -> int:
    """Bytes this process has held at most since `forget_peak`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    """End a process that hangs below Python, where nothing else can."""
    yield
    faulthandler.cancel_dump_traceback_later()


def faults(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> Iterator[str]:
    """What is wrong with how a command ended."""
    capfd.readouterr()
    forget_peak()
    before = peak()
    with capfd.disabled():
        faulthandler.dump_traceback_later(HUNG, exit=True, file=os.dup(2))
    began = time.monotonic()
    status, error = run(arguments)
    seconds = time.monotonic() - began
    faulthandler.cancel_dump_traceback_later()
    out, err = capfd.readouterr()
    if error is not None:
        yield f"raised {type(error).__name__}: {error}"
    if status not in (0, 1, 2):
        yield f"status {status}"
    if "a defect of synth" in err or "Traceback" in out + err or "Exception ignored" in err:
        yield err.strip().splitlines()[-1][:200] if err.strip() else out[:200]
    if status and error is None and not err.strip():
        yield f"status {status} without a word"
    if status == 2 and err.strip() and not err.strip().splitlines()[-1].startswith(("synth: ", "Error: ", "Warning: ")):
        yield f"no line that says what is wrong: {err.strip().splitlines()[-1][:200]}"
    if seconds > SECONDS:
        yield f"took {seconds:.0f} s"
    if (more := peak() - before) > MEMORY:
        yield f"took {more / 2**30:.1f} GiB more"


def where(arguments: list[str]) -> str:
    """The places in our code that a defect went through."""
    os.environ["SYNTH_DEBUG"] = "1"
    try:
        _, error = run(["--debug", *arguments])
    finally:
        os.environ.pop("SYNTH_DEBUG", None)
    frames = traceback.extract_tb(error.__traceback__) if error else []
    root = str(Path(cli.main.__file__).parents[1])
    ours = [frame for frame in frames if frame.filename.startswith(root) and ".venv" not in frame.filename]
    last = [f"{Path(frame.filename).relative_to(root)}:{frame.lineno}" for frame in ours[-3:]]
    return f"{type(error).__name__}: {' '.join(str(error).split())[:150]} at {' < '.join(reversed(last))}"


def test_every_command_that_reads(stock: Stock, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found: dict[str, tuple[list[str], int]] = {}
    kept = tmp_path / "kept"
    tried = 0

    @hypothesis.settings(
        max_examples=CASES or 200,
        derandomize=not CASES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(st.data())
    def one(data: Any) -> None:
        nonlocal tried
        tried += 1
        with tempfile.TemporaryDirectory(dir=tmp_path) as name:
            drawn: Scene = data.draw(scene(stock, Path(name)))
            kept.mkdir(exist_ok=True)
            (kept / "last.txt").write_text(" ".join(drawn.arguments), encoding="utf-8", errors="replace")
            wrong = list(faults(drawn.arguments, capfd))
            if wrong:
                place = where(drawn.arguments) if "defect" in wrong[0] or "raised" in wrong[0] else wrong[0]
                capfd.readouterr()
                if place not in found:
                    shutil.copytree(name, kept / str(len(found)), symlinks=True, ignore=_no_pipes)
                    found[place] = (drawn.arguments, tried)
                    with capfd.disabled():
                        print(f"\n[{tried}] {wrong} {place}\n    {' '.join(drawn.arguments)[:300]!r}", flush=True)

    one()
    lines = [f"{place}\n    case {number}: synth {' '.join(command)}" for place, (command, number) in found.items()]
    assert not found, f"{len(found)} faults in {tried} inputs, kept in {kept}:\n" + "\n".join(lines)


def _no_pipes(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not (Path(folder, name).is_file() or Path(folder, name).is_dir())]
