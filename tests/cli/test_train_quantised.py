"""`synth train --quantise 4bit`: an adapter around a model in 4 bits, by bitsandbytes, which runs on CPUs, too."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.cli.running import forked

LIBRARIES = Path(sys.prefix, "memory")
FAST = ("--device", "cpu", "--dtype", "float32", "--lora", 4, "--lr", 1e-2, "--batch-tokens", 200, "--steps", 2)
pytestmark = pytest.mark.skipif(not LIBRARIES.is_dir(), reason=f"{LIBRARIES} is not there: samples/install.sh VENV dev")


def train(*arguments: object) -> subprocess.CompletedProcess[str]:
    """`synth train …`, where what the extra `memory` has can be imported."""
    return forked("train", *arguments, variables={"PYTHONPATH": LIBRARIES})


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def in_4_bits(model: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model whose matrices were brought to 4 bits and back, in float32."""
    monkeypatch.syspath_prepend(LIBRARIES)
    from bitsandbytes import functional

    shutil.copytree(model, folder)
    tensors = {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}
    for name, tensor in tensors.items():
        if "layers." in name and tensor.ndim == 2:
            packed = functional.quantize_4bit(tensor, quant_type="nf4", compress_statistics=True)
            tensors[name] = functional.dequantize_4bit(*packed).contiguous()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def test_an_adapter_around_4_bits(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It learns what it learns around the same matrices brought back; merged in are those of the model's files."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"question": f"{n} + 1?", "answer": str(n + 1)}) + "\n" for n in range(40)))
    done = train(rows, "--model", model, *FAST, "--quantise", "4bit", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    back = in_4_bits(model, tmp_path / "back", monkeypatch)
    assert train(rows, "--model", back, *FAST, "-o", tmp_path / "around").returncode == 0
    found = losses(tmp_path / "out")
    assert found == pytest.approx(losses(tmp_path / "around"), abs=1e-3) and found[-1] < found[0]

    import peft
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    merged = peft.PeftModel.from_pretrained(base, tmp_path / "out" / "adapter").merge_and_unload().state_dict()
    saved = load_file(tmp_path / "out" / "model.safetensors")
    assert all((merged[name] - tensor).abs().max() < 1e-6 for name, tensor in saved.items())
    assert json.loads((tmp_path / "out" / "config.json").read_text()).get("quantization_config") is None
