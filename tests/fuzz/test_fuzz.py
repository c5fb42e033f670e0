"""No input of a stranger ends in a defect, a traceback, a hang or all the memory: every command that reads, fuzzed.

Some 80 inputs, always the same ones; `SYNTH_FUZZ_CASES=5000` tries so many, others each time.
"""

import faulthandler
import os
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st

import cli.main
from tests.fuzz.commands import CHEAP, COSTLY, OF_A_FOLDER, OF_A_MANIFEST, OF_A_MODEL, RESUMED
from tests.fuzz.memory import children_peak, forget_peak, peak, peak_of_a_fresh_process
from tests.fuzz.scenes import Scene, Stock, scene
from tests.fuzz.stock import run, stock

__all__ = ["stock"]  # a fixture

SECONDS = 20.0
MEMORY = 2 * 2**30
"""Bytes of one process, its libraries among them."""
LIBRARIES = 700 * 2**20
"""Bytes that a process holds once it has imported them all. This one holds more, of earlier commands and tests: where a
command takes more beside than a process of its own would have left, it is tried again in one, and counted there."""
CASES = int(os.environ.get("SYNTH_FUZZ_CASES", "0"))
STOPPED, ENDED = 40, 90
"""Seconds after which a command is broken off, as Ctrl-C would, and after which the process ends with every thread's
traceback, since code below Python is not broken off by anything."""


class Hung(BaseException):
    """A command that was broken off."""


@contextmanager
def bounded(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Break off what takes too long."""

    def stop(*_: object) -> None:
        raise Hung

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(STOPPED)
    with capfd.disabled():
        faulthandler.dump_traceback_later(ENDED, exit=True, file=os.dup(2))
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        faulthandler.cancel_dump_traceback_later()


def timed(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> tuple[int, BaseException | None, float]:
    """A command's exit status, what it raised besides, and the seconds it took."""
    began = time.monotonic()
    with bounded(capfd):
        status, error = run(arguments)
    return status, error, time.monotonic() - began


def faults(scene: Scene, capfd: pytest.CaptureFixture[str]) -> Iterator[str]:
    """What is wrong with how a command ended."""
    capfd.readouterr()
    forget_peak()
    held, of_children = peak(), children_peak()
    status, error, seconds = timed(scene.arguments, capfd)
    doubtful = peak() - held > MEMORY - LIBRARIES or max(children_peak(), MEMORY) > max(of_children, MEMORY)
    out, err = capfd.readouterr()
    if seconds > SECONDS:  # or the machine was busy: the faster of two
        scene.restore()
        status, error, again = timed(scene.arguments, capfd)
        seconds = min(seconds, again)
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
    if doubtful:
        scene.restore()
        if (taken := peak_of_a_fresh_process(scene.arguments)) > MEMORY:
            yield f"took {taken / 2**30:.1f} GiB"


def where(scene: Scene, capfd: pytest.CaptureFixture[str]) -> str:
    """The places in our code that a defect went through, or where it was broken off."""
    scene.restore()
    os.environ["SYNTH_DEBUG"] = "1"
    try:
        with bounded(capfd):
            _, error = run(["--debug", *scene.arguments])
    finally:
        os.environ.pop("SYNTH_DEBUG", None)
    frames = traceback.extract_tb(error.__traceback__) if error else []
    root = str(Path(cli.main.__file__).parents[1])
    ours = [frame for frame in frames if frame.filename.startswith(root) and ".venv" not in frame.filename]
    last = [f"{Path(frame.filename).relative_to(root)}:{frame.lineno}" for frame in ours[-3:]]
    return f"{type(error).__name__}: {' '.join(str(error).split())[:150]} at {' < '.join(reversed(last))}"


def test_no_command_is_missing() -> None:
    tables = (CHEAP, COSTLY, OF_A_MODEL, OF_A_FOLDER, OF_A_MANIFEST, RESUMED)
    assert {command[0] for table in tables for command in table} == set(cli.main.COMMANDS)


def test_every_command_that_reads(stock: Stock, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found: dict[str, tuple[list[str], int]] = {}
    kept = tmp_path / "kept"
    kept.mkdir()
    tried = 0
    wanted = CASES or 80

    @hypothesis.settings(
        max_examples=wanted,
        derandomize=not CASES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(st.data())
    def one(data: Any) -> None:
        nonlocal tried
        with tempfile.TemporaryDirectory(dir=tmp_path) as name:
            drawn: Scene = data.draw(scene(stock, Path(name) / "scene"))
            tried += 1
            line = f"{tried}: synth {' '.join(drawn.arguments)}"
            (kept / "last.txt").write_text(line, encoding="utf-8", errors="replace")
            drawn.remember()
            wrong = list(faults(drawn, capfd))
            if wrong:
                place = where(drawn, capfd) if "defect" in wrong[0] or "raised" in wrong[0] else wrong[0]
                capfd.readouterr()
                if place not in found:
                    drawn.restore()
                    shutil.move(drawn.folder, kept / str(len(found)))
                    found[place] = (drawn.arguments, tried)
                    with capfd.disabled():
                        print(f"\n[{tried}] {wrong} {place}\n    {' '.join(drawn.arguments)[:300]!r}", flush=True)

    one()
    assert tried >= wanted, f"only {tried} of {wanted} inputs were tried"
    lines = [f"{place}\n    case {number}: synth {' '.join(command)}" for place, (command, number) in found.items()]
    assert not found, f"{len(found)} faults in {tried} inputs, kept in {kept}:\n" + "\n".join(lines)
