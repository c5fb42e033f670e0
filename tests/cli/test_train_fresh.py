"""`synth train --replay fresh`: rows of replay that a process beside draws while the model is trained."""

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from samples import skills
from synth.engines.base import Completion, EngineOptions, Sampling
from synth.engines.hf.engine import open_transformers
from synth.errors import RunError
from tests.cli.running import Command, load, synth
from tests.cli.test_train import same

STEPS, ROWS = 10, 32
FAST = ["--device", "cpu", "--dtype", "float32", "--lr", "1e-3", "--batch-tokens", 256, "--quiet"]
FRESH = ["--replay", "fresh", "--replay-length", 8, "--replay-batch-tokens", 8 * ROWS]
"""Three groups of 128 rows, of which the last is not full."""


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("tasks") / "tasks.jsonl"
    pairs = skills.suite("two_step", "train", 80)
    file.write_text("".join(json.dumps({"question": one, "answer": other}) + "\n" for one, other in pairs))
    return file


@pytest.fixture(scope="module")
def options(tasks: Path, model: str) -> list[object]:
    return ["train", tasks, "--model", model, *FAST, *FRESH, "--steps", STEPS, "--save-every", 3]


@pytest.fixture(scope="module")
def whole(options: list[object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted training."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert synth(*options, "-o", out) == 0
    return out


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def beside_of(process: psutil.Process) -> list[psutil.Process]:
    """The processes that draw for one that trains."""
    # Processes of other tests may have ended without being waited for.
    living = [one for one in process.children() if one.status() != psutil.STATUS_ZOMBIE]
    return [one for one in living if "synth.methods.drawing" in " ".join(one.cmdline())]


def test_rows_are_those_of_sample_and_are_kept(whole: Path, model: str, tmp_path: Path) -> None:
    command = ["sample", "--engine", "transformers", "--device", "cpu", "--model", model, "--quiet", "--length", 8]
    assert synth(*command, "-n", STEPS * ROWS, "-o", tmp_path / "samples") == 0
    samples, drawn = load(tmp_path / "samples"), load(whole / "fresh")
    assert len(drawn) == STEPS * ROWS and [row["id"] for row in drawn] == [row["id"] for row in samples]
    assert sum(one != other for one, other in zip(drawn, samples, strict=True)) <= 1  # rounding: a token flips
    log = log_of(whole)
    assert all(entry["waited"] >= 0 and entry["replay_loss"] > 0 for entry in log)
    assert log[0]["waited"] > 0, "the first step waits until the model is loaded"
    record = json.loads((whole / "run.json").read_text())
    assert record["settings"]["replay_length"] == 8 and record["settings"]["replay_engine"] == "transformers"
    [part] = record["parts"]
    assert (part["name"], part["rows"], part["seen"]) == ("fresh", STEPS * ROWS, STEPS * ROWS * 8)


def test_killed_it_leaves_no_process_and_ends_where_it_would_have(
    options: list[object], whole: Path, tmp_path: Path
) -> None:
    out, options = tmp_path / "out", [*options[:-1], 1]
    with Command(*options, "-o", out) as child:
        while child.is_alive() and not list(out.glob("checkpoints/checkpoint-*/trainer_state.json")):
            time.sleep(0.01)
        beside = beside_of(psutil.Process(child.pid))
        assert len(beside) == 1
    _, left = psutil.wait_procs(beside, timeout=300)
    assert not left
    [*_, last] = sorted(int(one.parent.name[11:]) for one in out.glob("checkpoints/*/trainer_state.json"))
    assert last < STEPS - 1 and len((out / "fresh" / "0.jsonl").read_bytes().splitlines()) >= last * ROWS
    assert synth(*options, "-o", out) == 0
    assert same(whole, out) <= 1e-6
    assert load(out / "fresh") == load(whole / "fresh")
    assert [entry["step"] for entry in log_of(out)] == [*range(1, STEPS + 1)]


class Failing:
    """An engine that dies in the second group that it is asked for."""

    def __init__(self, engine: Any) -> None:
        self._engine, self._asked = engine, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def generate(self, token_ids: Any, sampling: Sampling) -> list[Completion]:
        self._asked += 1
        if self._asked > 128:
            raise RunError("the card fell off the bus")
        found: list[Completion] = await self._engine.generate(token_ids, sampling)
        return found


SLEEPS = ["sleep", "98765.4321"]


async def failing(model: str, tokenizer: Any, options: EngineOptions) -> Any:
    subprocess.Popen(SLEEPS)  # as vLLM has processes of its own
    return Failing(await open_transformers(model, tokenizer, options))


def test_an_engine_that_fails_ends_the_training_with_its_checkpoint(
    options: list[object], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, engine = tmp_path / "out", f"{__name__}:failing"
    assert synth(*options, "--replay-engine", engine, "-o", out) == 1
    said = capfd.readouterr().err
    assert "fresh replay cannot be drawn any more: the card fell off the bus. Kept: " in said
    assert (out / "checkpoints" / "checkpoint-3" / "trainer_state.json").exists() and len(log_of(out)) >= 3
    assert len(load(out / "fresh")) >= 3 * ROWS
    assert not beside_of(psutil.Process())
    assert not [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == SLEEPS]
    assert synth(*options, "-o", out) == 2
    assert f'replay_engine: "{engine}", now "transformers"' in capfd.readouterr().err


def test_a_dry_run_draws_nothing(options: list[object], capfd: pytest.CaptureFixture[str]) -> None:
    assert synth(*options, "--dry-run") == 0
    said = capfd.readouterr().out
    assert f"fresh {STEPS * ROWS} " in " ".join(said.split()) and "nll on every token, weight 1" in said
    drawing = re.search(r"^drawing +(\d+) MiB$", said, re.MULTILINE)
    held = 1_967_808 + 1.25 * 128 * 8 * 4 * 2 * 192  # weights; of 128 rows each token's keys and values in four layers
    assert drawing and int(drawing[1]) == round(4 * held / 2**20)
    assert synth(*options, "--replay-engine", "http://127.0.0.1:9/v1", "--dry-run") == 0
    assert "drawing" not in capfd.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--replay-positions", "trained"], "--replay-positions trained: every token of fresh replay was drawn"),
        (["--replay-loss", "kl", "--reference-top-k", 8], "--reference-top-k needs all rows before the training"),
        (["--replay-length", 600, "--replay-batch-tokens", 600], "--replay-length 600: the window of"),
        (["--replay-length", 512], "--replay-length 512: a batch of replay holds 256 tokens"),
        (["--replay-on", "magpie"], "--replay and --replay-on are two ways"),
        (["--replay", "other.jsonl"], "--replay-length is of rows that are drawn meanwhile: --replay fresh"),
        (["--replay-engine", "quantum"], "quantum is unknown"),
    ],
)
def test_what_does_not_go_with_it_is_refused_early(
    options: list[object], more: list[object], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert synth(*options, *more, "-o", tmp_path / "out") == 2
    assert message in capfd.readouterr().err and not (tmp_path / "out").exists()
