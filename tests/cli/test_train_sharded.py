"""`synth train` whose processes share a model of bfloat16 weights (FSDP2), continued from a checkpoint in shards."""

import json
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.synth.training.sharded import launched

LIBRARIES = Path(sys.prefix, "memory")
pytestmark = pytest.mark.skipif(not LIBRARIES.is_dir(), reason=f"{LIBRARIES} is not there: samples/install.sh VENV dev")


def test_it_goes_on_from_shards_as_if_nothing_had_been(model: str, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"question": "{n} + 1?", "answer": "{n + 1}"}}\n' for n in range(60)))
    options = ["train", rows, "--model", model, "--device", "cpu", "--batch-tokens", 200, "--lr", 1e-3]
    options += ["--weights", "bfloat16", "--steps", 2, "--save-every", 1]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    with launched(*options, "-o", whole, PYTHONPATH=LIBRARIES) as processes:
        first, second = processes
        while first.is_alive() and not (whole / "checkpoints" / "checkpoint-1" / "trainer_state.json").exists():
            time.sleep(0.02)
        if first.is_alive():
            for process in processes:
                process.send(signal.SIGSTOP)
            shutil.copytree(whole, cut)  # what is left of a machine that went down now
            for process in processes:
                process.send(signal.SIGCONT)
        assert first.wait() == second.wait() == 0, first.said[-2000:]
    assert any((cut / "checkpoints" / "checkpoint-1").glob("pytorch_model_fsdp*"))
    with launched(*options, "-o", cut, PYTHONPATH=LIBRARIES) as processes:
        first, second = processes
        assert first.wait() == second.wait() == 0, first.said[-2000:]
        assert "continuing from checkpoint-1" in first.said
    record = json.loads((whole / "run.json").read_text())
    steps = [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    assert sum(step["tokens"] for step in steps) == record["tokens"]["seen"]  # those of both processes
    ends, found = load_file(whole / "model.safetensors"), load_file(cut / "model.safetensors")
    assert all(tensor.dtype == torch.bfloat16 and torch.equal(tensor, found[name]) for name, tensor in ends.items())
