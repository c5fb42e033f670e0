"""`synth train` whose processes share a model of bfloat16 weights (FSDP2), continued from a checkpoint in shards."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

LIBRARIES = Path(sys.prefix, "memory")
pytestmark = pytest.mark.skipif(not LIBRARIES.is_dir(), reason=f"{LIBRARIES} is not there: samples/install.sh VENV dev")


def shared(out: Path, *arguments: object) -> subprocess.Popen[str]:
    """Two processes that train one model."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    options = [*map(str, arguments), "--steps", "2", "--save-every", "1", "-o", str(out)]
    return subprocess.Popen(
        [*torchrun, "-m", "tests.synth.training.sharded", "train", *options],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(LIBRARIES)},
    )


def test_it_goes_on_from_shards_as_if_nothing_had_been(model: str, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"question": "{n} + 1?", "answer": "{n + 1}"}}\n' for n in range(60)))
    options = (rows, "--model", model, "--device", "cpu", "--batch-tokens", 200, "--lr", 1e-3, "--weights", "bfloat16")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    process = shared(whole, *options)
    while process.poll() is None and not (whole / "checkpoints" / "checkpoint-1" / "trainer_state.json").exists():
        time.sleep(0.02)
    if process.poll() is None:
        shutil.copytree(whole, cut)  # what is left of a machine that went down now
    assert process.wait() == 0 and process.stderr is not None, process.stderr
    assert any((cut / "checkpoints" / "checkpoint-1").glob("pytorch_model_fsdp*"))
    process = shared(cut, *options)
    _, said = process.communicate()
    assert process.returncode == 0 and "continuing from checkpoint-1" in said, said[-2000:]
    record = json.loads((whole / "run.json").read_text())
    steps = [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    assert sum(step["tokens"] for step in steps) == record["tokens"]["seen"]  # those of both processes
    ends, found = load_file(whole / "model.safetensors"), load_file(cut / "model.safetensors")
    assert all(tensor.dtype == torch.bfloat16 and torch.equal(tensor, found[name]) for name, tensor in ends.items())
